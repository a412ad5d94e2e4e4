package audithttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/audithttp"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/sqlite"
)

func middleware(t testing.TB, rec attestlog.Recorder, cfg audithttp.Config) func(http.Handler) http.Handler {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = testlog.Quiet
	}
	m, err := audithttp.New(rec, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// entries returns what the log has, oldest first.
func entries(t *testing.T, l *attestlog.Log) []attestlog.Entry {
	t.Helper()
	return testlog.Entries(t, l, query.Query{})
}

func do(t *testing.T, client *http.Client, method, url string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp
}

func TestARequestBecomesAnEvent(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mail/{id}", func(w http.ResponseWriter, r *http.Request) {
		audithttp.AddTargets(r.Context(), attestlog.Target{Type: "mail", ID: r.PathValue("id")})
		audithttp.AddChanges(r.Context(), attestlog.Change{Path: "/folder", Op: "replace", Old: "inbox", New: "spam"})
		audithttp.Edit(r.Context(), func(e *attestlog.Event) { e.Attributes = map[string]any{"folder": "spam"} })
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusAccepted)
	})
	srv := httptest.NewServer(middleware(t, l, audithttp.Config{
		Actor:   func(r *http.Request) attestlog.Actor { return attestlog.Actor{ID: r.Header.Get("User")} },
		Tenant:  func(*http.Request) string { return "acme" },
		Module:  func(*http.Request) string { return "mail" },
		Service: "webmail",
	})(mux))
	defer srv.Close()
	before := time.Now()
	do(t, srv.Client(), "POST", srv.URL+"/mail/7?x=secret", "User", "alice", "User-Agent", "test/1", "X-Request-Id", "r-1",
		"Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "X-Forwarded-For", "203.0.113.9")
	do(t, srv.Client(), "GET", srv.URL+"/mail/7")
	after := time.Now()
	all := entries(t, l)
	if len(all) != 1 {
		t.Fatalf("%d entries, want that of the POST alone", len(all))
	}
	got := all[0].Event
	if got.Time.Before(before) || got.Time.After(after) || got.Request.DurationUS > after.Sub(before).Microseconds() {
		t.Errorf("time %v, duration %d µs", got.Time, got.Request.DurationUS)
	}
	got.ID, got.Time, got.Request.DurationUS = "", time.Time{}, 0
	want := attestlog.Event{
		Action: "http.post", Operation: "create", Outcome: attestlog.Success, Tenant: "acme", Service: "webmail", Module: "mail",
		Actor:      attestlog.Actor{ID: "alice"},
		Source:     attestlog.Source{IP: "127.0.0.1", UserAgent: "test/1"},
		Targets:    []attestlog.Target{{Type: "mail", ID: "7"}},
		Request:    attestlog.Request{ID: "r-1", Method: "POST", Path: "/mail/7", Route: "POST /mail/{id}", Status: 202},
		Trace:      attestlog.Trace{TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7"},
		Changes:    []attestlog.Change{{Path: "/folder", Op: "replace", Old: "inbox", New: "spam"}},
		Attributes: map[string]any{"folder": "spam"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

func TestTheAnswerDecidesTheOutcome(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	mux := http.NewServeMux()
	mux.HandleFunc("/missing", http.NotFound)
	mux.HandleFunc("/silent", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("broken") })
	mux.HandleFunc("/abort", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x"); panic(http.ErrAbortHandler) })
	mux.HandleFunc("/twice", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(409); w.WriteHeader(200) })
	mux.HandleFunc("/own", func(w http.ResponseWriter, r *http.Request) {
		audithttp.Edit(r.Context(), func(e *attestlog.Event) { e.Outcome, e.Action = attestlog.Unknown, "job.begin" })
	})
	mux.HandleFunc("/veto", func(_ http.ResponseWriter, r *http.Request) { audithttp.Veto(r.Context()) })
	srv := httptest.NewUnstartedServer(middleware(t, l, audithttp.Config{})(mux))
	srv.Config.ErrorLog = slog.NewLogLogger(testlog.Quiet.Handler(), 0)
	srv.Start()
	defer srv.Close()
	for _, path := range []string{"/missing", "/silent", "/panic", "/abort", "/twice", "/own", "/veto"} {
		resp, err := srv.Client().Post(srv.URL+path, "", nil)
		if err == nil {
			resp.Body.Close()
		}
	}
	var got []string
	for _, e := range entries(t, l) {
		got = append(got, fmt.Sprint(e.Request.Path, " ", e.Action, " ", e.Request.Status, " ", e.Outcome, " ", e.Reason, " ", e.Actor.ID))
	}
	want := []string{
		"/missing http.post 404 failure Not Found anonymous", "/silent http.post 200 success  anonymous",
		"/panic http.post 500 failure the handler panicked anonymous", "/abort http.post 200 failure the handler panicked anonymous",
		"/twice http.post 409 failure Conflict anonymous", "/own job.begin 200 unknown  anonymous",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestTheClientsAddressIsNotForged(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
	for _, test := range []struct {
		name, header string
		trusted      []netip.Prefix
		sent         []string
		want         string
	}{
		{"no proxy is trusted", "", nil, []string{"X-Forwarded-For", "203.0.113.9"}, "127.0.0.1"},
		{"one proxy", "", proxies, []string{"X-Forwarded-For", "203.0.113.9"}, "203.0.113.9"},
		{"what the client put before it", "", proxies, []string{"X-Forwarded-For", "198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		{"in a line of its own", "", proxies, []string{"X-Forwarded-For", "198.51.100.1", "X-Forwarded-For", "203.0.113.9"}, "203.0.113.9"},
		{"two proxies", "", proxies, []string{"X-Forwarded-For", "6.6.6.6, 203.0.113.9, 10.1.2.3"}, "203.0.113.9"},
		{"all are proxies", "", proxies, []string{"X-Forwarded-For", "10.0.0.1, 10.1.2.3"}, "10.0.0.1"},
		{"nonsense behind a proxy", "", proxies, []string{"X-Forwarded-For", "203.0.113.9, nonsense, 10.1.2.3"}, "10.1.2.3"},
		{"nonsense at the end", "", proxies, []string{"X-Forwarded-For", "203.0.113.9, nonsense"}, "127.0.0.1"},
		{"empty elements", "", proxies, []string{"X-Forwarded-For", ", 203.0.113.9 ,, "}, "203.0.113.9"},
		{"with ports", "", proxies, []string{"X-Forwarded-For", "203.0.113.9:4711"}, "203.0.113.9"},
		{"mapped", "", proxies, []string{"X-Forwarded-For", "203.0.113.9, ::ffff:10.0.0.1"}, "203.0.113.9"},
		{"the other header", "", proxies, []string{"Forwarded", "for=203.0.113.9"}, "127.0.0.1"},
		{"Forwarded", "forwarded", proxies, []string{"Forwarded", `for=198.51.100.1, proto=https;FOR="[2001:db8::7]:4711";by="a,b"`}, "2001:db8::7"},
		{"Forwarded through two", "Forwarded", proxies, []string{"Forwarded", `for=198.51.100.1;x="\",", for="[2001:db8:1::5]"`, "X-Forwarded-For", "6.6.6.6"}, "198.51.100.1"},
		{"Forwarded, hidden", "Forwarded", proxies, []string{"Forwarded", "for=198.51.100.1, for=_hidden"}, "127.0.0.1"},
		{"Forwarded, unknown", "Forwarded", proxies, []string{"Forwarded", "for=198.51.100.1, for=unknown, for=10.0.0.9"}, "10.0.0.9"},
		{"Forwarded behind a client's open quote", "Forwarded", proxies, []string{"Forwarded", `for=6.6.6.6;x=", for=203.0.113.9`}, "203.0.113.9"},
		{"the same, quoted by the proxy", "Forwarded", proxies, []string{"Forwarded", `for=6.6.6.6;x=", for="203.0.113.9:1234";proto=https`}, "203.0.113.9"},
		{"the same through two", "Forwarded", proxies, []string{"Forwarded", `for=6.6.6.6;x="\", for=203.0.113.9, for=10.1.2.3`}, "203.0.113.9"},
		{"a semicolon in quotes", "Forwarded", proxies, []string{"Forwarded", `by="x;for=6.6.6.6";for=203.0.113.9`}, "203.0.113.9"},
		{"a quote in X-Forwarded-For", "", proxies, []string{"X-Forwarded-For", `", 203.0.113.9`}, "203.0.113.9"},
		{"a network written as IPv6", "", []netip.Prefix{netip.MustParsePrefix("::ffff:127.0.0.0/104")}, []string{"X-Forwarded-For", "203.0.113.9"}, "203.0.113.9"},
		{"Forwarded with an open quote", "Forwarded", proxies, []string{"Forwarded", `for=198.51.100.1, for="203.0.113.9`}, "127.0.0.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := sqlitetest.Log(t, attestlog.Config{})
			srv := httptest.NewServer(middleware(t, l, audithttp.Config{TrustedProxies: test.trusted, ProxyHeader: test.header})(http.NotFoundHandler()))
			defer srv.Close()
			do(t, srv.Client(), "POST", srv.URL, test.sent...)
			if all := entries(t, l); len(all) != 1 || all[0].Source.IP != test.want {
				t.Errorf("source is %+v, want %s", all[0].Source, test.want)
			}
		})
	}
}

func TestNoRequestIsLostForItsContent(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	h := middleware(t, l, audithttp.Config{Action: func(*http.Request) string { return "attestlog.erase" }})(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		audithttp.Edit(r.Context(), func(e *attestlog.Event) {
			e.Actor = attestlog.Actor{}
			e.Message = strings.Repeat("long ", 50_000)
		})
	}))
	r := httptest.NewRequest("POST", "/", nil)
	r.Method = "P\x80ST"
	r.URL.Path = "/\xff\xfe"
	r.RemoteAddr = "@"
	r.Header.Set("User-Agent", strings.Repeat("\x80", 70_000))
	h.ServeHTTP(httptest.NewRecorder(), r)
	all := entries(t, l)
	if len(all) != 1 {
		t.Fatalf("%d entries, want one", len(all))
	}
	e := all[0]
	if e.Action == "attestlog.erase" || e.Actor.ID == "" || e.Source.Host != "@" || e.Source.IP != "" || !strings.Contains(e.Request.Path, "ff") {
		t.Errorf("entry = %+v", e.Event)
	}
}

func TestHandlersMayEditFromGoroutines(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	h := middleware(t, l, audithttp.Config{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() { audithttp.AddTargets(r.Context(), attestlog.Target{ID: fmt.Sprint(n)}) })
		}
		wg.Wait()
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil))
	if all := entries(t, l); len(all) != 1 || len(all[0].Targets) != 20 {
		t.Errorf("entries = %+v, want one with 20 targets", all)
	}
	var late context.Context
	middleware(t, l, audithttp.Config{})(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { late = r.Context() })).
		ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil))
	if audithttp.Veto(late) || audithttp.AddTargets(late, attestlog.Target{ID: "late"}) {
		t.Error("an event was edited after its handler had returned")
	}
	if audithttp.Veto(t.Context()) || audithttp.AddTargets(t.Context()) {
		t.Error("a context without a request has an event")
	}
}

// down is a store that neither takes nor reads anything while it is down.
type down struct {
	attestlog.Store
	mu sync.Mutex
	is bool
}

func (d *down) set(is bool) { d.mu.Lock(); d.is = is; d.mu.Unlock() }

func (d *down) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.is {
		return fmt.Errorf("%w: down", attestlog.ErrUnavailable)
	}
	return nil
}

func (d *down) Write(ctx context.Context, fn func(attestlog.Tx) error) error {
	if err := d.err(); err != nil {
		return err
	}
	return d.Store.Write(ctx, fn)
}

func (d *down) Tree(ctx context.Context) (attestlog.Tree, error) {
	if err := d.err(); err != nil {
		return attestlog.Tree{}, err
	}
	return d.Store.Tree(ctx)
}

func TestARouteThatFailsClosedDoesNothingUnrecorded(t *testing.T) {
	d := &down{}
	d.Store = sqlitetest.Store(t, sqlitetest.Path(t), sqlite.Config{})
	l := testlog.New(t, d, attestlog.Config{})
	ran := map[string]int{}
	h := middleware(t, l, audithttp.Config{FailClosed: func(r *http.Request) bool { return r.URL.Path == "/pay" }})(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ran[r.URL.Path]++
	}))
	post := func(path string) *http.Response {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", path, nil))
		return w.Result()
	}
	if resp := post("/pay"); resp.StatusCode != 200 {
		t.Errorf("while the log takes events: status %d", resp.StatusCode)
	}
	d.set(true)
	if resp := post("/pay"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("while it does not: status %d, %v; want 503", resp.StatusCode, resp.Header)
	}
	if resp := post("/view"); resp.StatusCode != 200 {
		t.Errorf("a route that fails open: status %d", resp.StatusCode)
	}
	d.set(false)
	for range 100 { // the queued event is tried again
		if l.Flush(t.Context()) == nil {
			break
		}
	}
	if resp := post("/pay"); resp.StatusCode != 200 {
		t.Errorf("afterwards: status %d", resp.StatusCode)
	}
	if all := entries(t, l); len(all) != 3 || ran["/pay"] != 2 || ran["/view"] != 1 {
		t.Errorf("%d entries for the runs %v, want one each", len(all), ran)
	}
}

func TestAWrongConfigurationIsRefused(t *testing.T) {
	var rec recorder
	always := func(*http.Request) bool { return true }
	for _, cfg := range []audithttp.Config{{FailClosed: always}, {ProxyHeader: "X-Real-Ip"}} {
		if _, err := audithttp.New(rec, cfg); err == nil {
			t.Errorf("New(%+v) succeeded", cfg)
		}
	}
}

type recorder struct{}

func (recorder) Record(context.Context, attestlog.Event) error { return errors.New("full") }

func TestWhatCannotBeRecordedIsLogged(t *testing.T) {
	var text strings.Builder
	h := middleware(t, recorder{}, audithttp.Config{Logger: slog.New(slog.NewJSONHandler(&text, nil))})(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		audithttp.Edit(r.Context(), func(e *attestlog.Event) { e.Attributes = map[string]any{"password": "hunter2"} })
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("DELETE", "/mail/7", nil))
	if !strings.Contains(text.String(), `"path":"/mail/7"`) || !strings.Contains(text.String(), "full") || strings.Contains(text.String(), "hunter2") {
		t.Errorf("logged %s, want who did what and the error, without the content", text.String())
	}
}

func TestClientAddressIsInItsShortestForm(t *testing.T) {
	for _, remote := range []string{
		"192.0.2.7", "192.0.2.7:80", "[192.0.2.7]:80", "[::ffff:192.0.2.7]:80", "::ffff:192.0.2.7", "0:0:0:0:0:ffff:192.0.2.7",
	} {
		if ip, host := audithttp.ClientAddress(remote, nil, nil, "X-Forwarded-For"); ip != "192.0.2.7" || host != "" {
			t.Errorf("ClientAddress(%q) = %q, %q", remote, ip, host)
		}
	}
}
