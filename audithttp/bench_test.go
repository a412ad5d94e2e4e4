package audithttp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/audithttp"
	"github.com/attestlog/attestlog/internal/sqlitetest"
)

// BenchmarkOverhead measures a request with the middleware and a log, as the
// request's goroutine sees it: it never waits for the log, which works in
// goroutines of its own. BenchmarkHandler is the time of the handler alone.
func BenchmarkOverhead(b *testing.B) {
	l := sqlitetest.Log(b, attestlog.Config{})
	h := middleware(b, l, audithttp.Config{Actor: func(*http.Request) attestlog.Actor { return attestlog.Actor{ID: "alice"} }})(handler)
	const queue = 10_000 // half of it
	b.ReportAllocs()
	b.StopTimer()
	for done := 0; done < b.N; done += queue {
		b.StartTimer()
		run(b, h, min(queue, b.N-done))
		b.StopTimer()
		if err := l.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMiddleware is without a log.
func BenchmarkMiddleware(b *testing.B) {
	b.ReportAllocs()
	run(b, middleware(b, discard{}, audithttp.Config{Actor: func(*http.Request) attestlog.Actor { return attestlog.Actor{ID: "alice"} }})(handler), b.N)
}

func BenchmarkHandler(b *testing.B) { run(b, handler, b.N) }

type discard struct{}

func (discard) Record(context.Context, attestlog.Event) error { return nil }

var handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

func run(b *testing.B, h http.Handler, n int) {
	r := httptest.NewRequest("POST", "/mail/7", nil)
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	w := nothing{http.Header{}}
	for range n {
		h.ServeHTTP(w, r)
	}
}

type nothing struct{ h http.Header }

func (n nothing) Header() http.Header       { return n.h }
func (nothing) Write(p []byte) (int, error) { return len(p), nil }
func (nothing) WriteHeader(int)             {}
