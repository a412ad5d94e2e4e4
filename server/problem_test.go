package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/server"
)

// Every answer that is an error is a problem (RFC 9457), and names the request.
func TestErrorsAreProblems(t *testing.T) {
	s := serve(t, func(s *service) { s.config.MaxBody = 1 << 20 })
	all, reading, appending := s.token(server.ScopeAdmin), s.token(server.ScopeRead), s.token(server.ScopeAppend)
	part := s.make(server.Token{Scopes: []string{server.ScopeRead, server.ScopeAppend}, Tenant: "acme"})
	s.append(events(0, 3)...)
	const good = `{"action":"x","actor":{"id":"a"}}`
	const conflict = `{"id":"019a9f0c-2f5e-7cc1-9c1e-5d6f3a1b2c3d","action":"x","actor":{"id":"a"}}`
	s.post(api+"/entries", all, conflict)
	for _, test := range []struct {
		c      call
		status int
		says   string // in the detail
	}{
		{call{"GET", "/nowhere", "", "", nil}, 404, "/docs"},
		{call{"POST", "/healthz", "", "", nil}, 404, ""},
		{call{"DELETE", api + "/entries/1", all, "", nil}, 404, ""},
		{call{"GET", "/api/v1/logs", "", "", nil}, 401, "token"},
		{call{"GET", api, "al_wrong", "", nil}, 401, "not valid"},
		{call{"GET", "/api/v1/logs/nowhere", all, "", nil}, 401, "not valid"},
		{call{"GET", api, appending, "", nil}, 403, "read"},
		{call{"POST", api + "/entries", reading, good, nil}, 403, "append"},
		{call{"POST", api + "/entries", part, `{"action":"x","actor":{"id":"a"},"tenant":"other"}`, nil}, 403, "tenant"},
		{call{"POST", api + "/verifications", reading, "", nil}, 403, "verify"},
		{call{"GET", "/checkpoint", part, "", nil}, 403, "part of the log"},
		{call{"GET", "/metrics", reading, "", nil}, 403, "admin"},
		{call{"POST", api + "/entries", all, "{", nil}, 400, "event 0"},
		{call{"POST", api + "/entries", all, good + "\n{", nil}, 400, "event 1"},
		{call{"POST", api + "/entries", all, strings.Replace(conflict, `"x"`, `"y"`, 1), nil}, 409, "019a9f0c-2f5e-7cc1-9c1e-5d6f3a1b2c3d"},
		{call{"POST", api + "/entries", all, strings.Repeat(" ", 1<<20+1), nil}, 413, ""},
		{call{"POST", api + "/entries", all, `{"action":"x","actor":{"id":"a"},"attributes":{"a":"` + strings.Repeat("a", 70_000) + `"}}`, nil}, 413, "too large"},
		{call{"POST", api + "/entries", all, "[" + strings.Repeat(good+",", 10_000) + good + "]", nil}, 413, "10000"},
		{call{"POST", api + "/entries", all, zipped(strings.Repeat(" ", 1<<20+1)), []string{"Content-Encoding", "gzip"}}, 413, ""},
		{call{"POST", api + "/entries", all, good, []string{"Content-Encoding", "gzip"}}, 400, "gzip"},
		{call{"POST", api + "/entries", all, zipped(good)[:20], []string{"Content-Encoding", "gzip"}}, 400, "gzip"},
		{call{"POST", api + "/entries", all, good, []string{"Content-Encoding", "br"}}, 415, "gzip"},
		{call{"POST", api + "/entries", all, good + `{"action":"x","actor":{}}`, nil}, 422, "actor.id"},
	} {
		wantProblem(t, s.do(test.c), test.status, test.says)
	}
}

func TestErrorsOfReadingAreProblems(t *testing.T) {
	s := serve(t, func(s *service) { s.config.MaxBody = 1 << 20 })
	all := s.token(server.ScopeAdmin)
	part := s.make(server.Token{Scopes: []string{server.ScopeRead, server.ScopeAppend}, Tenant: "acme"})
	s.append(events(0, 3)...)
	for _, test := range []struct {
		c      call
		status int
		says   string
	}{
		{call{"GET", api + "/entries?q=colour:red", all, "", nil}, 400, "column 1"},
		{call{"GET", api + "/entries?q=actor:%22", all, "", nil}, 400, "quote"},
		{call{"GET", api + "/entries?cursor=AAAA", all, "", nil}, 400, "cursor"},
		{call{"GET", api + "/entries?limit=0", all, "", nil}, 422, ""},
		{call{"GET", api + "/entries?limit=x", all, "", nil}, 422, ""},
		{call{"GET", api + "/entries/99", all, "", nil}, 404, "no such entry"},
		{call{"GET", api + "/entries/9223372036854775807", all, "", nil}, 404, "no such entry"},
		{call{"GET", api + "/entries/9223372036854775808", all, "", nil}, 404, "no such entry"},
		{call{"GET", api + "/entries/18446744073709551615", all, "", nil}, 404, "no such entry"},
		{call{"GET", api + "/entries/-1", all, "", nil}, 422, ""},
		{call{"GET", api + "/entry?id=nobody", all, "", nil}, 404, "no such entry"},
		{call{"GET", api + "/entry", all, "", nil}, 422, ""},
		{call{"GET", api + "/entry?id=", all, "", nil}, 422, ""},
		{call{"GET", api + "/proofs/99", all, "", nil}, 404, ""},
		{call{"GET", api + "/proofs/18446744073709551615", all, "", nil}, 404, ""},
		{call{"GET", api + "/proofs/18446744073709551615", part, "", nil}, 404, ""},
		{call{"GET", api + "/consistency?from=1&to=99", all, "", nil}, 404, ""},
		{call{"GET", api + "/consistency?from=3&to=2", all, "", nil}, 404, ""},
		{call{"GET", api + "/consistency?from=18446744073709551615&to=18446744073709551615", all, "", nil}, 404, ""},
		{call{"GET", api + "/facets?field=colour", all, "", nil}, 400, "colour"},
		{call{"GET", api + "/facets?field=actor&limit=101", all, "", nil}, 422, ""},
		{call{"GET", api + "/histogram?after=2026-01-02T00:00:00Z&before=2026-01-01T00:00:00Z", all, "", nil}, 400, "before"},
		{call{"GET", api + "/histogram?after=x&before=2026-01-01T00:00:00Z", all, "", nil}, 422, ""},
		{call{"GET", api + "/verifications/nothing", all, "", nil}, 404, ""},
		{call{"GET", api + "/export?format=xml", all, "", nil}, 400, "jsonl or csv"},
		{call{"GET", api + "/export?format=csv&fields=index,colour", all, "", nil}, 400, "colour"},
		{call{"GET", api + "/export?from=x", all, "", nil}, 400, "index"},
		{call{"GET", api + "/tail?from=99", all, "", nil}, 400, "entries"},
		{call{"GET", api + "/tail", all, "", []string{"Last-Event-ID", "x"}}, 400, "indexes"},
		{call{"GET", api + "/tail", all, "", []string{"Last-Event-ID", "9223372036854775807"}}, 400, ""},
		{call{"GET", "/tile/0/999", all, "", nil}, 404, ""},
		{call{"GET", "/tile/9/000", all, "", nil}, 404, "tlog-tiles"},
		{call{"POST", "/ingest/default/nothing", all, "{}", nil}, 404, ""},
		{call{"POST", "/ingest/default/json?map=colour:x", all, "{}", nil}, 400, "colour"},
		{call{"POST", "/ingest/default/cloudevents", all, "{}", nil}, 400, "CloudEvent"},
		{call{"POST", "/ingest/default/json", all, strings.Repeat(" ", 1<<20+1), nil}, 413, ""},
		{call{"POST", "/ingest/default/json", all, "{}", []string{"Content-Encoding", "zstd"}}, 415, ""},
		{call{"POST", "/add", all, strings.Repeat("a", attestlog.MaxOriginal+1), nil}, 413, ""},
	} {
		wantProblem(t, s.do(test.c), test.status, test.says)
	}
}

// wantProblem checks the form of a problem.
func wantProblem(t *testing.T, a answer, status int, says string) {
	t.Helper()
	where := a.Request.Method + " " + a.Request.URL.String()
	var p struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}
	err := json.Unmarshal(a.body, &p)
	if a.StatusCode != status || err != nil || p.Status != status || p.Title != http.StatusText(status) || !strings.Contains(p.Detail, says) {
		t.Errorf("%.200s = %d %.300s, %v; want %d and a detail with %q", where, a.StatusCode, a.body, err, status, says)
	}
	if kind := a.Header.Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("%.200s: Content-Type %q, want application/problem+json", where, kind)
	}
	if id := a.Header.Get("X-Request-Id"); len(id) < 8 {
		t.Errorf("%.200s: X-Request-Id %q", where, id)
	}
	if challenge := a.Header.Get("WWW-Authenticate"); (status == http.StatusUnauthorized) != (challenge == "Bearer") {
		t.Errorf("%.200s: WWW-Authenticate %q with a %d", where, challenge, status)
	}
	if a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%.200s: Cache-Control %q, want no-store", where, a.Header.Get("Cache-Control"))
	}
}

func TestALogThatIsClosedIsAskedAgainLater(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAdmin)
	if err := s.log.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	// The token is read from the store, which is closed too.
	a := s.post(api+"/entries", token, `{"action":"x","actor":{"id":"a"}}`)
	wantProblem(t, a, http.StatusServiceUnavailable, "same ids")
	if a.Header.Get("Retry-After") == "" {
		t.Errorf("a 503 without Retry-After")
	}
	if a := s.get("/readyz", ""); a.StatusCode != http.StatusServiceUnavailable || strings.Contains(string(a.body), "closed") {
		t.Errorf("/readyz = %d %s, want 503 without a reason", a.StatusCode, a.body)
	}
}

// A faultyStore fails, or panics, when it is asked for a token.
type faultyStore struct {
	server.TokenStore
	fault atomic.Pointer[func() error]
}

func (f *faultyStore) Token(ctx context.Context, id string) ([]byte, error) {
	if fault := f.fault.Load(); fault != nil {
		return nil, (*fault)()
	}
	return f.TokenStore.Token(ctx, id)
}

func (f *faultyStore) fail(fault func() error) { f.fault.Store(&fault) }

func TestFaultsAreNotToldToClients(t *testing.T) {
	faults := &faultyStore{}
	s := serve(t, func(s *service) {
		s.tokens = func(store server.TokenStore) server.TokenStore { faults.TokenStore = store; return faults }
	})
	token := s.token(server.ScopeAdmin)
	for _, path := range []string{"/api/v1/logs", api, api + "/entries", api + "/tail", api + "/export", "/checkpoint", "/metrics"} {
		for _, fault := range []func() error{
			func() error { return errors.New("disk sda1 has a secret") },
			func() error { panic("the secret token store\nis broken") },
		} {
			faults.fail(fault)
			a := s.get(path, token)
			wantProblem(t, a, http.StatusInternalServerError, a.Header.Get("X-Request-Id"))
			if strings.Contains(string(a.body), "secret") {
				t.Errorf("GET %s tells a client %s", path, a.body)
			}
		}
		faults.fail(func() error { return attestlog.ErrUnavailable })
		wantProblem(t, s.get(path, token), http.StatusServiceUnavailable, "")
	}
	faults.fault.Store(nil)
	if a := s.get(api, token); a.StatusCode != http.StatusOK {
		t.Errorf("after the faults: %d %s", a.StatusCode, a.body)
	}
}

func TestRequestIdsAreAProxysOrNew(t *testing.T) {
	s := serve(t)
	for given, kept := range map[string]bool{
		"01J-proxy.id_7": true, "12345678": true, strings.Repeat("a", 64): true,
		"short": false, strings.Repeat("a", 65): false, "with space here": false, `quote"quote`: false, "<script>alert": false, "": false,
	} {
		got := s.do(call{method: "GET", path: "/healthz", headers: []string{"X-Request-Id", given}}).Header["X-Request-Id"]
		if len(got) != 1 || (got[0] == given) != kept || len(got[0]) < 8 {
			t.Errorf("X-Request-Id %q is answered with %q", given, got)
		}
	}
}
