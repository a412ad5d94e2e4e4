package audithttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// A Querier answers queries: an *attestlog.Log.
type Querier interface {
	Query(ctx context.Context, q query.Query, opts attestlog.PageOptions) (attestlog.Page, error)
}

// ListConfig configures Handler. The zero ListConfig is useful.
type ListConfig struct {
	// Within returns what a request may see, such as query.Field("tenant", …):
	// it is ANDed onto the request's own query. An error is answered with status
	// 403. Defaults to everything.
	Within func(*http.Request) (query.Query, error)
	// MaxLimit bounds the entries of a page. Defaults to 1,000.
	MaxLimit int
	// Logger receives queries that failed. Defaults to slog.Default().
	Logger *slog.Logger
}

const (
	defaultLimit    = 50
	defaultMaxLimit = 1000
)

// Handler answers GET with a page of entries as JSON, newest first. It has no
// authentication of its own: mount it behind the application's.
//
// Parameters are q, a query as query.Parse reads it, limit (50 by default) and
// cursor. The answer is
//
//	{"entries":[{"index":7,"leaf_hash":"…","logged_time":"…","action":"…",…}],
//	 "next":"…","size":1234}
//
// where next is the cursor of the page after this one, absent on the last, and
// size is how many entries the log had. A Link header (RFC 8288) has the address
// of the next page. Errors are problems (RFC 9457).
func Handler(log Querier, cfg ListConfig) http.Handler {
	if cfg.MaxLimit <= 0 {
		cfg.MaxLimit = defaultMaxLimit
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &list{log, cfg}
}

type list struct {
	log Querier
	cfg ListConfig
}

func (l *list) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeProblem(w, http.StatusMethodNotAllowed, "entries are only read here")
		return
	}

	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		writeProblem(w, http.StatusBadRequest, "the parameters: "+err.Error())
		return
	}
	limit, err := l.parseLimit(params.Get("limit"))
	if err != nil {
		writeProblem(w, http.StatusBadRequest, err.Error())
		return
	}
	q, err := query.Parse(params.Get("q"))
	if err != nil {
		writeProblem(w, http.StatusBadRequest, err.Error())
		return
	}

	if l.cfg.Within != nil {
		within, err := l.cfg.Within(r)
		if err != nil {
			writeProblem(w, http.StatusForbidden, err.Error())
			return
		}
		q = query.And(q, within)
	}

	page, err := l.log.Query(r.Context(), q, attestlog.PageOptions{Limit: limit, Cursor: params.Get("cursor")})
	var badQuery *query.Error
	switch {
	case errors.Is(err, attestlog.ErrCursor), errors.As(err, &badQuery):
		writeProblem(w, http.StatusBadRequest, err.Error())
	case r.Context().Err() != nil: // the client is gone
	case err != nil:
		l.cfg.Logger.Error("audithttp: query", "q", params.Get("q"), "err", err)
		writeProblem(w, http.StatusInternalServerError, "the query failed; the program's log says why")
	default:
		l.writePage(w, params, page)
	}
}

// parseLimit reads how many entries a page is to have, and bounds it.
func (l *list) parseLimit(text string) (int, error) {
	if text == "" {
		return min(defaultLimit, l.cfg.MaxLimit), nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 {
		return 0, fmt.Errorf("limit: want a number from 1 to %d", l.cfg.MaxLimit)
	}
	return min(limit, l.cfg.MaxLimit), nil
}

func (l *list) writePage(w http.ResponseWriter, params url.Values, page attestlog.Page) {
	if page.Entries == nil {
		page.Entries = []attestlog.Entry{} // in JSON an array, not null
	}
	body, err := json.Marshal(struct {
		Entries []attestlog.Entry `json:"entries"`
		Next    string            `json:"next,omitempty"`
		Size    uint64            `json:"size"`
	}{page.Entries, page.Next, page.Size})
	if err != nil {
		l.cfg.Logger.Error("audithttp: query", "err", err)
		writeProblem(w, http.StatusInternalServerError, "an entry could not be written as JSON")
		return
	}

	if page.Next != "" {
		params.Set("cursor", page.Next)
		w.Header().Set("Link", "<?"+params.Encode()+`>; rel="next"`)
	}
	setHeader(w, "application/json")
	w.Write(body)
}

func setHeader(w http.ResponseWriter, contentType string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

// writeProblem answers with an error (RFC 9457).
func writeProblem(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{http.StatusText(status), status, detail})
	if err != nil {
		http.Error(w, http.StatusText(status), status)
		return
	}

	setHeader(w, "application/problem+json")
	w.WriteHeader(status)
	w.Write(body)
}
