package server_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/servertest"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/sqlite"
)

func TestLogsAreListedForTheirTokens(t *testing.T) {
	otherStore := sqlitetest.Store(t, sqlitetest.Path(t), sqlite.Config{})
	other := testlog.New(t, otherStore, attestlog.Config{})
	s := serve(t, func(s *service) { s.config.Logs = []server.Log{{Name: "other", Log: other, Tokens: otherStore}} })
	s.append(events(0, 3)...)
	mine := s.make(server.Token{Scopes: []string{server.ScopeRead, server.ScopeAppend}, Tenant: "acme", Actor: "alice"})
	theirs := servertest.Token(t, otherStore, server.Token{Scopes: []string{server.ScopeAdmin}})
	type info struct {
		Name, Origin  string
		Size          uint64
		Scopes        []string
		Tenant, Actor string
	}
	for token, want := range map[string]info{
		mine:   {"default", "example.com/log", 3, []string{"read", "append"}, "acme", "alice"},
		theirs: {"other", other.Origin(), 0, []string{"admin"}, "", ""},
	} {
		for range 100 { // a valid token is no guess at the other logs'
			var got struct{ Logs []info }
			s.get("/api/v1/logs", token).into(t, 200, &got)
			if diff := cmp.Diff([]info{want}, got.Logs); diff != "" {
				t.Fatalf("logs (-want +got):\n%s", diff)
			}
		}
		var got info
		s.get("/api/v1/logs/"+want.Name, token).into(t, 200, &got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	}
	wantProblem(t, s.get("/api/v1/logs", s.token(server.ScopeAppend)), http.StatusForbidden, "read")
	wantProblem(t, s.get("/api/v1/logs", "al_nonsense"), http.StatusUnauthorized, "")
}

func TestAddAnswersWithAnIndex(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAppend)
	for i, body := range []string{"one", "", "\xff\x00", "one"} {
		a := s.post("/add", token, body)
		if a.StatusCode != 200 || string(a.body) != strconv.Itoa(i) {
			t.Fatalf("POST /add = %d %q, want %d", a.StatusCode, a.body, i)
		}
		e, err := s.log.Entry(t.Context(), uint64(i))
		if err != nil || string(e.Original) != body {
			t.Errorf("entry %d has the original %q, %v; want %q", i, e.Original, err, body)
		}
	}
	var wg sync.WaitGroup
	for range 8 { // as hammer does
		wg.Go(func() {
			for i := range 20 {
				body := fmt.Sprint("leaf ", i)
				a := s.post("/add", token, body)
				index, err := strconv.ParseUint(string(a.body), 10, 64)
				if err != nil {
					t.Errorf("POST /add = %d %q", a.StatusCode, a.body)
					return
				}
				if e, err := s.log.Entry(context.Background(), index); err != nil || string(e.Original) != body {
					t.Errorf("entry %d has the original %q, %v; want %q", index, e.Original, err, body)
				}
			}
		})
	}
	wg.Wait()
	if n := s.size(); n != 164 {
		t.Errorf("%d entries, want 164", n)
	}
}

func TestHealthIsForAnybody(t *testing.T) {
	s := serve(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := s.get(path, ""); a.StatusCode != 200 || string(a.body) != "ok\n" {
			t.Errorf("GET %s = %d %q", path, a.StatusCode, a.body)
		}
	}
	s.srv.Stop()
	if a := s.get("/healthz", ""); a.StatusCode != 200 {
		t.Errorf("/healthz of a server that stops = %d", a.StatusCode)
	}
	if a := s.get("/readyz", ""); a.StatusCode != 503 || string(a.body) != "stopping\n" {
		t.Errorf("/readyz of a server that stops = %d %q", a.StatusCode, a.body)
	}
}

func TestFiguresAreThoseOfTheLog(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAdmin)
	s.post(api+"/entries", token, `{"action":"x","actor":{"id":"a"}}`)
	s.get("/api/v1/logs/default/entries/0", "al_wrong")
	for _, path := range []string{"/no/such/path", "/another", api + "/entries/0", api + "/entries/99"} {
		s.get(path, token)
	}
	s.do(call{method: "BREW", path: "/coffee"})
	if err := s.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wanted := []string{
		`attestlog_entries{log="default"} 2`, // and the look at entry 0
		`attestlog_events_appended_total{log="default"} 2`,
		`attestlog_http_tokens_refused_total 1`, `attestlog_http_tails 0`,
		`attestlog_http_request_duration_seconds_count{method="GET",route="/",status="404"} 2`,
		`attestlog_http_request_duration_seconds_count{method="other",route="/",status="404"} 1`,
		`attestlog_http_request_duration_seconds_count{method="GET",route="GET /api/v1/logs/{log}/entries/{index}",status="200"} 1`,
		`attestlog_http_request_duration_seconds_count{method="POST",route="POST /api/v1/logs/{log}/entries",status="201"} 1`,
	}
	// A request is counted once its answer is written.
	var a answer
	for _, want := range wanted {
		testwait.Until(t, "GET /metrics has "+want, func() bool {
			a = s.get("/metrics", token)
			return a.StatusCode == 200 && strings.Contains(string(a.body), want+"\n")
		})
	}
	for _, name := range regexp.MustCompile(`(?m)^[a-z_]+`).FindAllString(string(a.body), -1) {
		if !strings.HasPrefix(name, "attestlog_") {
			t.Errorf("figure %s", name)
		}
	}
}

func TestPagesOfTheServerAreSelfContained(t *testing.T) {
	s := serve(t)
	a := s.get("/docs", "")
	if a.StatusCode != 200 || strings.Contains(string(a.body), "<script") || regexp.MustCompile(`(src|href)="(https?:)?//`).Match(a.body) {
		t.Errorf("/docs = %d with scripts or links to elsewhere", a.StatusCode)
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if csp := a.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "script-src") {
		t.Errorf("Content-Security-Policy: %q", csp)
	}
}
