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

// A rawOutput has a body that is JSON, or another format, already: entries are
// written as the log writes them.
type rawOutput struct {
	ContentType string `header:"Content-Type"`
	ETag        string `header:"ETag"`
	Link        string `header:"Link"`
	Next        string `header:"Attestlog-Next"`
	Size        string `header:"Attestlog-Size"`
	Body        []byte
}

func rawJSON(body []byte) *rawOutput {
	return &rawOutput{ContentType: "application/json", Body: body}
}

// rawLines returns entries in the form of an export.
func rawLines(entries ...attestlog.Entry) *rawOutput {
	var b []byte
	for i := range entries {
		raw := entries[i].Raw()
		b = attestlog.AppendLine(b, &raw)
		b = append(b, '\n')
	}
	return &rawOutput{ContentType: "application/x-ndjson", Body: b}
}

// enterQuery is enter for a search. The query that it returns selects nothing that
// the token may not see.
func (s *Server) enterQuery(ctx context.Context, log, text string) (*visit, query.Query, error) {
	v, err := s.enter(ctx, log, ScopeRead)
	if err != nil {
		return nil, query.Query{}, err
	}
	q, err := v.parseQuery(text)
	if err != nil {
		return nil, query.Query{}, s.problemOf(ctx, err)
	}
	return v, q, nil
}

// parseQuery parses a query, and limits it to what the token may see.
func (v *visit) parseQuery(text string) (query.Query, error) {
	q, err := query.Parse(text)
	if err != nil {
		return query.Query{}, err
	}
	return query.And(q, v.token.visible()), nil
}

// query answers with a page of entries.
func (s *Server) query(ctx context.Context, in *queryInput) (*rawOutput, error) {
	v, q, err := s.enterQuery(ctx, in.Log, in.Q)
	if err != nil {
		return nil, err
	}
	// Later pages are recorded too, because a client can make a cursor up without
	// having asked for the first.
	err = s.recordLook(ctx, v, "audit.query", "read", map[string]any{"query": in.Q})
	if err != nil {
		return nil, err
	}

	page, err := v.log.Query(ctx, q, attestlog.PageOptions{Limit: in.Limit, Cursor: in.Cursor, Bytes: maxPage})
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}
	for i := range page.Entries {
		v.noteDamage(&page.Entries[i])
	}
	out, err := pageOutput(page, in.Lines)
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}

	out.ETag = etagOf(&page)
	if matchesETag(in.Match, out.ETag) {
		return nil, huma.ErrorWithHeaders(huma.Status304NotModified(), http.Header{"ETag": {out.ETag}})
	}
	if page.Next != "" {
		out.Link = nextLink(in, page.Next)
	}
	return out, nil
}

// pageOutput returns a page as JSON or as lines.
func pageOutput(page attestlog.Page, asLines bool) (*rawOutput, error) {
	if asLines {
		out := rawLines(page.Entries...)
		out.Next = page.Next
		out.Size = strconv.FormatUint(page.Size, 10)
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

// nextLink returns a Link header (RFC 8288) to the page after the one that was
// asked for.
func nextLink(in *queryInput, cursor string) string {
	params := url.Values{"q": {in.Q}, "limit": {strconv.Itoa(in.Limit)}, "cursor": {cursor}}
	if in.Lines {
		params.Set("lines", "true")
	}
	return fmt.Sprintf("</api/v1/logs/%s/entries?%s>; rel=\"next\"", in.Log, params.Encode())
}

// etagOf returns a weak ETag of the entries on a page. The log's size is not part
// of it: a page need not be sent again because the log got entries that are not
// on it.
func etagOf(page *attestlog.Page) string {
	h := sha256.New()
	for i := range page.Entries {
		e := &page.Entries[i]
		fmt.Fprintf(h, "%d %s %q %v\n", e.Index, e.LeafHash, e.Erased, e.Err)
	}
	io.WriteString(h, page.Next)
	return `W/"` + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16]) + `"`
}

// matchesETag compares an If-None-Match weakly (RFC 9110, Section 13.1.2).
func matchesETag(given, etag string) bool {
	opaque := strings.TrimPrefix(etag, "W/")
	for tag := range strings.SplitSeq(given, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || tag != "" && strings.TrimPrefix(tag, "W/") == opaque {
			return true
		}
	}
	return false
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
	e, err := s.visibleEntry(ctx, v, in.Index)
	if err != nil {
		return nil, err
	}
	return s.entryOutput(ctx, v, e, in.Lines, map[string]any{"index": in.Index})
}

type idInput struct {
	Log   string `path:"log"`
	ID    string `query:"id" required:"true" doc:"The event's id. If several entries have it, because it is not a UUIDv7, the newest is returned."`
	Lines bool   `query:"lines" doc:"Answer with the entry's exact bytes, as in an export."`
}

func (s *Server) entryByID(ctx context.Context, in *idInput) (*rawOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeRead)
	if err != nil {
		return nil, err
	}

	q := query.And(query.Field("id", in.ID), v.token.visible())
	err = q.Err()
	if err != nil {
		return nil, problem(http.StatusUnprocessableEntity, err.Error())
	}
	page, err := v.log.Query(ctx, q, attestlog.PageOptions{Limit: 1})
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}
	if len(page.Entries) == 0 {
		return nil, noSuchEntry()
	}
	if page.Entries[0].Err != nil {
		return nil, s.problemOf(ctx, page.Entries[0].Err)
	}
	return s.entryOutput(ctx, v, page.Entries[0], in.Lines, map[string]any{"id": in.ID})
}

// visibleEntry returns the entry with an index, or a problem. An entry that the
// token may not see is answered like one that does not exist.
func (s *Server) visibleEntry(ctx context.Context, v *visit, index uint64) (attestlog.Entry, error) {
	e, err := v.log.Entry(ctx, index)
	if errors.Is(err, attestlog.ErrNotFound) {
		return e, noSuchEntry()
	}
	if err != nil {
		return e, s.problemOf(ctx, err)
	}
	if !v.token.sees(&e) {
		return e, noSuchEntry()
	}
	return e, nil
}

// noteDamage raises an alarm if an entry that a listing shows is damaged.
func (v *visit) noteDamage(e *attestlog.Entry) {
	if e.Err != nil {
		v.hosted.alarms.set(AlarmTampered, e.Err)
	}
}

func noSuchEntry() error { return problem(http.StatusNotFound, "the log has no such entry") }

// entryOutput records that an entry is looked at, and answers with it.
func (s *Server) entryOutput(
	ctx context.Context, v *visit, e attestlog.Entry, asLines bool, attributes map[string]any,
) (*rawOutput, error) {
	err := s.recordLook(ctx, v, "audit.show", "read", attributes)
	if err != nil {
		return nil, err
	}

	if asLines {
		return rawLines(e), nil
	}
	body, err := e.MarshalJSON()
	if err != nil {
		return nil, s.problemOf(ctx, err)
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
	v, q, err := s.enterQuery(ctx, in.Log, in.Q)
	if err != nil {
		return nil, err
	}
	err = s.recordLook(ctx, v, "audit.query", "read", map[string]any{"query": in.Q, "count": true})
	if err != nil {
		return nil, err
	}

	n, err := v.log.Count(ctx, q, in.Limit)
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}
	out := &countOutput{}
	out.Body.Count = n
	out.Body.Capped = in.Limit > 0 && n >= in.Limit
	return out, nil
}
