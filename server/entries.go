package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// maxPage bounds the stored bytes of a page's entries.
const maxPage = 16 << 20

type queryInput struct {
	Log    string `path:"log"`
	Q      string `query:"q" doc:"A query, such as actor:alice -outcome:success after:2026-01-01; docs at /docs." example:"actor:alice"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"Entries on a page."`
	Cursor string `query:"cursor" doc:"The next of the page before."`
	Lines  bool   `query:"lines" doc:"Answer with the entries' exact bytes, one a line as in an export (application/x-ndjson); the next cursor and the size are then in the headers Attestlog-Next and Attestlog-Size."`
	Match  string `header:"If-None-Match"`
}

// A rawOutput's body is JSON already: entries are written as the log writes
// them.
type rawOutput struct {
	ContentType string `header:"Content-Type"`
	ETag        string `header:"ETag"`
	Link        string `header:"Link"`
	Next        string `header:"Attestlog-Next"`
	Size        string `header:"Attestlog-Size"`
	Body        []byte
}

// lines are entries as an export has them.
func lines(entries ...attestlog.Entry) *rawOutput {
	var b []byte
	for i := range entries {
		e := &entries[i]
		b = append(attestlog.AppendLine(b, &attestlog.RawEntry{Index: e.Index, Leaf: e.Leaf, Disclosures: e.Disclosures}), '\n')
	}
	return &rawOutput{ContentType: "application/x-ndjson", Body: b}
}

// query parses a request's query and bounds it to what its token may see.
func (v *visit) query(text string) (query.Query, error) {
	q, err := query.Parse(text)
	if err != nil {
		return q, err
	}
	return query.And(q, v.token.within()), nil
}

// asked is enter for a query, which is bounded to what the token may see.
func (s *Server) asked(ctx context.Context, log, text string) (*visit, query.Query, error) {
	v, err := s.enter(ctx, log, ScopeRead)
	if err != nil {
		return nil, query.Query{}, err
	}
	q, err := v.query(text)
	if err != nil {
		return nil, q, s.failed(ctx, err)
	}
	return v, q, nil
}

func (s *Server) query(ctx context.Context, in *queryInput) (*rawOutput, error) {
	v, q, err := s.asked(ctx, in.Log, in.Q)
	if err != nil {
		return nil, err
	}
	// Later pages too: a client can make a cursor up.
	if err := s.note(ctx, v, "audit.query", "read", map[string]any{"query": in.Q}); err != nil {
		return nil, err
	}
	page, err := v.log.log.Query(ctx, q, attestlog.PageOptions{Limit: in.Limit, Cursor: in.Cursor, Bytes: maxPage})
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	out, err := pageOf(page, in.Lines)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	out.ETag = etag(&page)
	if matches(in.Match, out.ETag) {
		return nil, huma.ErrorWithHeaders(huma.Status304NotModified(), http.Header{"ETag": {out.ETag}})
	}
	if page.Next != "" {
		next := url.Values{"q": {in.Q}, "limit": {strconv.Itoa(in.Limit)}, "cursor": {page.Next}}
		if in.Lines {
			next.Set("lines", "true")
		}
		out.Link = fmt.Sprintf("</api/v1/logs/%s/entries?%s>; rel=\"next\"", in.Log, next.Encode())
	}
	return out, nil
}

// pageOf returns a page as JSON or as lines.
func pageOf(page attestlog.Page, asLines bool) (*rawOutput, error) {
	if asLines {
		out := lines(page.Entries...)
		out.Next, out.Size = page.Next, strconv.FormatUint(page.Size, 10)
		return out, nil
	}
	if page.Entries == nil {
		page.Entries = []attestlog.Entry{}
	}
	body, err := json.Marshal(struct {
		Entries []attestlog.Entry `json:"entries"`
		Next    string            `json:"next,omitempty"`
		Size    uint64            `json:"size"`
	}{page.Entries, page.Next, page.Size})
	return rawJSON(body), err
}

func rawJSON(body []byte) *rawOutput {
	return &rawOutput{ContentType: "application/json", Body: body}
}

// etag is of what a page selects. It is weak, because the log's size is not of it:
// a page need not be sent again because entries came that it does not select.
func etag(page *attestlog.Page) string {
	h := sha256.New()
	for i := range page.Entries {
		fmt.Fprintf(h, "%d %s %q\n", page.Entries[i].Index, page.Entries[i].LeafHash, page.Entries[i].Erased)
	}
	io.WriteString(h, page.Next)
	return `W/"` + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16]) + `"`
}

// matches compares an If-None-Match weakly (RFC 9110, Section 13.1.2).
func matches(given, etag string) bool {
	for tag := range strings.SplitSeq(given, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag != "" && strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(etag, "W/") {
			return true
		}
	}
	return false
}

// noteWait bounds how long a look into the log waits to be recorded.
const noteWait = 5 * time.Second

// note records that a log was looked into. A log that cannot be written can
// still be read.
func (s *Server) note(ctx context.Context, v *visit, action, operation string, attributes map[string]any) error {
	if why := v.log.log.ReadOnly(); why != nil {
		s.cfg.Logger.Warn("server: a look into a log that cannot be written is not recorded in it", "log", v.log.name, "action", action, "token", v.token.ID, "request", v.id)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, noteWait)
	defer cancel()
	if err := v.noted(ctx, action, operation, attributes); err != nil {
		return s.failed(ctx, err)
	}
	return nil
}

type entryInput struct {
	Log   string `path:"log"`
	Index uint64 `path:"index" doc:"The entry's place, from 0."`
	Lines bool   `query:"lines" doc:"Answer with the entry's exact bytes, as in an export."`
}

func (s *Server) entry(ctx context.Context, in *entryInput) (*rawOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeRead)
	if err != nil {
		return nil, err
	}
	e, err := v.log.log.Entry(ctx, in.Index)
	return s.oneEntry(ctx, v, e, err, in.Lines, map[string]any{"index": in.Index})
}

type idInput struct {
	Log   string `path:"log"`
	ID    string `query:"id" required:"true" doc:"The event's id. Of several with an id that is no UUIDv7, the newest is returned."`
	Lines bool   `query:"lines" doc:"Answer with the entry's exact bytes, as in an export."`
}

func (s *Server) entryByID(ctx context.Context, in *idInput) (*rawOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeRead)
	if err != nil {
		return nil, err
	}
	q := query.And(query.Field("id", in.ID), v.token.within())
	if err := q.Err(); err != nil {
		return nil, problem(http.StatusUnprocessableEntity, err.Error())
	}
	page, err := v.log.log.Query(ctx, q, attestlog.PageOptions{Limit: 1})
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	if len(page.Entries) == 0 {
		return nil, problem(http.StatusNotFound, "the log has no such entry")
	}
	return s.oneEntry(ctx, v, page.Entries[0], nil, in.Lines, map[string]any{"id": in.ID})
}

// oneEntry answers with an entry. One that the token may not see is not there.
func (s *Server) oneEntry(ctx context.Context, v *visit, e attestlog.Entry, err error, asLines bool, attributes map[string]any) (*rawOutput, error) {
	if errors.Is(err, attestlog.ErrNotFound) || err == nil && !v.token.sees(&e) {
		return nil, problem(http.StatusNotFound, "the log has no such entry")
	}
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	if err := s.note(ctx, v, "audit.show", "read", attributes); err != nil {
		return nil, err
	}
	if asLines {
		return lines(e), nil
	}
	body, err := e.MarshalJSON()
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return rawJSON(body), nil
}

type countInput struct {
	Log   string `path:"log"`
	Q     string `query:"q" doc:"A query."`
	Limit uint64 `query:"limit" doc:"Count no further than this. Defaults to no limit."`
}

type countOutput struct {
	Body struct {
		Count  uint64 `json:"count"`
		Capped bool   `json:"capped" doc:"There may be more: the limit was reached."`
	}
}

func (s *Server) count(ctx context.Context, in *countInput) (*countOutput, error) {
	v, q, err := s.asked(ctx, in.Log, in.Q)
	if err != nil {
		return nil, err
	}
	if err := s.note(ctx, v, "audit.query", "read", map[string]any{"query": in.Q, "count": true}); err != nil {
		return nil, err
	}
	n, err := v.log.log.Count(ctx, q, in.Limit)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	out := &countOutput{}
	out.Body.Count, out.Body.Capped = n, in.Limit > 0 && n >= in.Limit
	return out, nil
}
