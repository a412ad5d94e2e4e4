package interop

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/servertest"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/sqlite"
)

// A served log, whose store and tokens can be made to fail.
type served struct {
	t      *testing.T
	url    string
	doc    *openapi3.T
	tokens map[string]string // by what they are for
	fault  atomic.Pointer[error]
	closed chan struct{} // while it is not, nobody verifies
	log    *attestlog.Log
	seen   map[string]bool // operation and status
}

// faultyTokens fail as their log says.
type faultyTokens struct {
	server.TokenStore
	s *served
}

func (f faultyTokens) Token(ctx context.Context, id string) ([]byte, error) {
	if fault := f.s.fault.Load(); fault != nil {
		return nil, *fault
	}
	return f.TokenStore.Token(ctx, id)
}

// slowKeys are those of a store in which a verification waits.
type slowKeys struct {
	attestlog.Store
	s *served
}

func (k slowKeys) Keys(ctx context.Context, fn func(attestlog.IDKey, uint64) error) error {
	select {
	case <-k.s.closed:
	case <-ctx.Done():
	}
	return k.Store.Keys(ctx, fn)
}

func serveLog(t *testing.T) *served {
	t.Helper()
	s := &served{t: t, tokens: map[string]string{}, closed: make(chan struct{}), seen: map[string]bool{}}
	store := sqlitetest.Store(t, sqlitetest.Path(t), sqlite.Config{})
	s.log = testlog.New(t, slowKeys{store, s}, attestlog.Config{})
	for _, scope := range server.Scopes {
		s.tokens[scope] = servertest.Token(t, store, server.Token{Scopes: []string{scope}})
	}
	s.url = servertest.Start(t, server.Config{
		Logs:    []server.Log{{Name: "default", Log: s.log, Tokens: faultyTokens{store, s}}},
		MaxBody: 1 << 20, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}, nil)
	return s
}

// load reads the description, and demands that it is a valid one.
func (s *served) load(path string) *openapi3.T {
	s.t.Helper()
	resp, err := http.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		s.t.Errorf("%s is not valid: %v", path, err)
	}
	return doc
}

func TestTheDescriptionIsValid(t *testing.T) {
	s := serveLog(t)
	if doc := s.load("/openapi.json"); doc.OpenAPI != "3.1.0" || doc.Paths.Len() < 14 {
		t.Errorf("OpenAPI %s with %d paths", doc.OpenAPI, doc.Paths.Len())
	}
	s.load("/openapi-3.0.json")
	s.load("/openapi.yaml")
}

// An exchange provokes one status of an operation.
type exchange struct {
	status              int
	operation           string
	token, params, body string
	headers             []string
}

const logAPI = "/api/v1/logs/{log}"

// paths are of the operations: what is put in the place of their parameters, and
// what their requests need.
var paths = map[string]struct {
	method, path, query, body, scope string
	status                           int
}{
	"list-logs": {"GET", "/api/v1/logs", "", "", "read", 200}, "get-log": {"GET", logAPI, "", "", "read", 200},
	"append-entries": {"POST", logAPI + "/entries", "", anEvent, "append", 201}, "query-entries": {"GET", logAPI + "/entries", "?limit=2&q=action:mail.view", "", "read", 200},
	"get-entry": {"GET", logAPI + "/entries/{index}", "", "", "read", 200}, "get-entry-by-id": {"GET", logAPI + "/entry", "?id=" + anID, "", "read", 200},
	"count-entries": {"GET", logAPI + "/count", "?q=actor:alice&limit=1", "", "read", 200}, "get-facets": {"GET", logAPI + "/facets", "?field=actor", "", "read", 200},
	"get-histogram":  {"GET", logAPI + "/histogram", "?after=2026-01-01T00:00:00Z&before=2030-01-01T00:00:00Z&buckets=3", "", "read", 200},
	"get-checkpoint": {"GET", logAPI + "/checkpoint", "", "", "read", 200}, "publish-checkpoint": {"POST", logAPI + "/checkpoint", "", "", "read", 200},
	"prove-inclusion": {"GET", logAPI + "/proofs/{index}", "", "", "read", 200}, "prove-consistency": {"GET", logAPI + "/consistency", "?from=1&to=2", "", "read", 200},
	"start-verification": {"POST", logAPI + "/verifications", "", "", "verify", 202}, "get-verification": {"GET", logAPI + "/verifications/{id}", "", "", "verify", 200},
	"tail-entries": {"GET", logAPI + "/tail", "?from=0", "", "read", 200}, "export-entries": {"GET", logAPI + "/export", "", "", "read", 200},
}

// No null in it: kin-openapi takes an empty schema, below a reference, by the rules of
// OpenAPI 3.0.
const (
	anID    = "019a9f0c-2f5e-7cc1-9c1e-5d6f3a1b2c3d"
	anEvent = `{"id":"` + anID + `","action":"mail.view","actor":{"id":"alice","type":"user"},"source":{"ip":"192.0.2.7"},"targets":[{"id":"1"}],"changes":[{"path":"a","old":"x","new":{"b":[1]}}],"attributes":{"n":1.5},"outcome":"success","original":"x","request":{"status":200,"duration_us":7}}`
)

// special are the exchanges beside those that every operation has.
var special = []exchange{
	{200, "query-entries", "", "?lines=true", "", nil}, {200, "get-entry", "", "?lines=true", "", nil}, {200, "get-entry-by-id", "", "?lines=true&id=" + anID, "", nil},
	{200, "export-entries", "", "?format=csv", "", nil}, {200, "tail-entries", "", "?from=0&lines=true", "", nil},
	{304, "query-entries", "", "?q=action:mail.view", "", []string{"If-None-Match", "*"}},
	{400, "append-entries", "", "", "{", nil}, {400, "query-entries", "", "?q=colour:red", "", nil}, {400, "count-entries", "", "?q=colour:red", "", nil},
	{400, "get-facets", "", "?field=colour", "", nil}, {400, "get-histogram", "", "?after=2026-01-01T00:00:00Z&before=2026-01-01T00:00:00Z", "", nil},
	{400, "tail-entries", "", "?from=x", "", nil}, {400, "export-entries", "", "?format=xml", "", nil},
	{404, "get-entry", "", "", "", []string{"index", "99999"}}, {404, "get-entry-by-id", "", "?id=none", "", nil}, {404, "prove-inclusion", "", "", "", []string{"index", "99999"}},
	{404, "prove-consistency", "", "?from=1&to=99999", "", nil}, {404, "get-verification", "", "", "", []string{"id", "none"}},
	{409, "append-entries", "", "", strings.Replace(anEvent, "alice", "bob", 1), nil}, {409, "start-verification", "", "?index=true", "", nil},
	{413, "append-entries", "", "", strings.Repeat(" ", 2<<20), nil}, {415, "append-entries", "", "", anEvent, []string{"Content-Encoding", "br"}},
	{422, "append-entries", "", "", `{"action":"x","actor":{}}`, nil}, {422, "query-entries", "", "?limit=0", "", nil}, {422, "get-entry", "", "", "", []string{"index", "x"}},
	{422, "get-entry-by-id", "", "", "", nil}, {422, "count-entries", "", "?limit=x", "", nil}, {422, "get-facets", "", "", "", nil}, {422, "get-histogram", "", "", "", nil},
	{422, "prove-consistency", "", "", "", nil}, {422, "prove-inclusion", "", "", "", []string{"index", "x"}}, {422, "start-verification", "", "?index=x", "", nil},
	{201, "append-entries", "", "", zip(anEvent + "\n" + strings.Replace(anEvent, anID, "", 1)), []string{"Content-Encoding", "gzip"}},
}

func zip(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return b.String()
}

// Every answer is one that is described, and every described one is given.
func TestAnswersAreThoseOfTheDescription(t *testing.T) {
	for _, kind := range []string{"text/event-stream", "application/x-ndjson"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.FileBodyDecoder) // as text
	}
	s := serveLog(t)
	s.doc = s.load("/openapi.json")
	s.exchange(exchange{status: 201, operation: "append-entries"})
	s.exchange(exchange{status: 200, operation: "publish-checkpoint"})
	s.exchange(exchange{status: 202, operation: "start-verification"}) // which waits, so that another conflicts
	for _, x := range special {
		s.exchange(x)
	}
	close(s.closed)
	for name, p := range paths {
		s.exchange(exchange{status: p.status, operation: name})
		s.exchange(exchange{status: 401, operation: name, token: "none"})
		s.exchange(exchange{status: 401, operation: name, token: "wrong"})
		other := "verify"
		if p.scope == other {
			other = "read"
		}
		s.exchange(exchange{status: 403, operation: name, token: other})
		s.exchange(exchange{status: 429, operation: name, token: "guessed"})
		for status, fault := range map[int]error{500: errors.New("broken"), 503: attestlog.ErrUnavailable} {
			s.fault.Store(&fault)
			s.exchange(exchange{status: status, operation: name, token: "admin"})
			s.fault.Store(nil)
		}
	}
	for path, item := range s.doc.Paths.Map() {
		for method, o := range item.Operations() {
			if paths[o.OperationID].path != path || paths[o.OperationID].method != method {
				t.Errorf("no test knows the operation %s: %s %s", o.OperationID, method, path)
			}
			for status := range o.Responses.Map() {
				if !s.seen[o.OperationID+" "+status] {
					t.Errorf("%s: no request was answered with the described %s", o.OperationID, status)
				}
			}
		}
	}
}

var addresses int

// request makes the request of an exchange, and the route that it takes.
func (s *served) request(x exchange) (*http.Request, *routers.Route, map[string]string) {
	p := paths[x.operation]
	params := map[string]string{"log": "default", "index": "0", "id": s.tokens["job"]}
	path, query, body := p.path, p.query, p.body
	if x.params != "" || x.status == 422 {
		query = x.params
	}
	if x.body != "" {
		body = x.body
	}
	for i := 0; i < len(x.headers); i += 2 {
		if _, ok := params[x.headers[i]]; ok {
			params[x.headers[i]] = x.headers[i+1]
		}
	}
	for name, value := range params {
		path = strings.ReplaceAll(path, "{"+name+"}", value)
	}
	r, err := http.NewRequest(p.method, s.url+path+query, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(x.headers); i += 2 {
		r.Header.Set(x.headers[i], x.headers[i+1])
	}
	addresses++
	r.Header.Set("X-Forwarded-For", "198.18."+strconv.Itoa(addresses/256)+"."+strconv.Itoa(addresses%256))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	switch x.token {
	case "none":
	case "wrong":
		r.Header.Set("Authorization", "Bearer al_wrong")
	case "":
		r.Header.Set("Authorization", "Bearer "+s.tokens[p.scope])
	case "guessed":
		s.guess(r)
	default:
		r.Header.Set("Authorization", "Bearer "+s.tokens[x.token])
	}
	item := s.doc.Paths.Find(p.path)
	return r, &routers.Route{Spec: s.doc, Path: p.path, PathItem: item, Method: p.method, Operation: item.GetOperation(p.method)}, params
}

// guess spends the guesses of a request's address.
func (s *served) guess(r *http.Request) {
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	r.Header.Set("Authorization", "Bearer al_wrong")
	for refused := false; !refused; { // on a slow machine one more is allowed meanwhile
		resp, err := http.DefaultClient.Do(r.Clone(context.Background()))
		if err != nil {
			s.t.Fatal(err)
		}
		resp.Body.Close()
		refused = resp.StatusCode == http.StatusTooManyRequests
		if r.GetBody != nil {
			r.Body, _ = r.GetBody()
		}
	}
	r.Header.Set("Authorization", "Bearer "+s.tokens["admin"])
}

// exchange sends a request and checks its answer against the description.
func (s *served) exchange(x exchange) {
	s.t.Helper()
	r, route, params := s.request(x)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body := make([]byte, 64<<10)
	var n int
	if resp.Header.Get("Content-Type") == "text/event-stream" {
		n, err = resp.Body.Read(body) // it has no end
	} else {
		n, err = io.ReadFull(resp.Body, body)
	}
	if body = body[:n]; err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		s.t.Fatal(err)
	}
	where := fmt.Sprintf("%s %s (%s)", r.Method, strings.TrimPrefix(r.URL.String(), s.url), x.operation)
	if resp.StatusCode != x.status {
		s.t.Errorf("%s = %d %.300s, want %d", where, resp.StatusCode, body, x.status)
	}
	s.seen[x.operation+" "+strconv.Itoa(resp.StatusCode)] = true
	if x.operation == "start-verification" && resp.StatusCode == 202 {
		s.tokens["job"] = resp.Header.Get("Location")[strings.LastIndex(resp.Header.Get("Location"), "/")+1:]
	}
	err = openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, QueryParams: r.URL.Query(), Route: route},
		Status:                 resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
	if err != nil {
		s.t.Errorf("%s = %d %.500s, which the description does not have: %v", where, resp.StatusCode, body, err)
	}
}
