// Package testlog makes logs for tests, of any store, and fills and reads them.
// Packages sqlitetest and pgtest have the stores.
package testlog

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

// Quiet is a logger that writes nothing.
var Quiet = slog.New(slog.DiscardHandler)

// New makes a log of a store, and closes both at the end of the test unless the
// test does it before. Config.Logger defaults to Quiet.
func New(t testing.TB, s attestlog.Store, cfg attestlog.Config) *attestlog.Log {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = Quiet
	}

	l, err := attestlog.New(t.Context(), s, cfg)
	if err != nil {
		s.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context has ended by now. Tests leave logs behind that
		// cannot close; one for which that matters calls Close itself.
		ctx, cancel := context.WithTimeout(context.Background(), testwait.Patience())
		defer cancel()
		l.Close(ctx)
	})
	return l
}

// Close closes a log, which must succeed.
func Close(t testing.TB, l *attestlog.Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testwait.Patience())
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// Append appends events in calls of at most a thousand.
func Append(t testing.TB, l *attestlog.Log, events ...attestlog.Event) []attestlog.Receipt {
	t.Helper()
	const most = 1000
	var out []attestlog.Receipt
	for len(events) > 0 {
		n := min(len(events), most)
		receipts, err := l.Append(t.Context(), events[:n]...)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, receipts...)
		events = events[n:]
	}
	return out
}

// Flush waits until everything that was recorded is in the log.
func Flush(t testing.TB, l *attestlog.Log) {
	t.Helper()
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Entries returns the entries that a query selects, in its order, after those
// that were recorded before are in the log.
func Entries(t testing.TB, l *attestlog.Log, q query.Query) []attestlog.Entry {
	t.Helper()
	Flush(t, l)
	var out []attestlog.Entry
	for e, err := range l.Entries(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// Size returns how many entries a log has.
func Size(t testing.TB, l *attestlog.Log) uint64 {
	t.Helper()
	n, err := l.Size(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Stats returns a log's figures.
func Stats(t testing.TB, l *attestlog.Log) attestlog.Stats {
	t.Helper()
	st, err := l.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// Verify signs what a log has and verifies all of it, which must succeed.
func Verify(t testing.TB, l *attestlog.Log) verify.Report {
	t.Helper()
	if _, err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := verify.Log(t.Context(), l, verify.Options{})
	if err != nil {
		t.Fatalf("Verify = %+v, %v", r, err)
	}
	return r
}

// Indexed waits until a log's search index has taken every entry.
func Indexed(t testing.TB, l *attestlog.Log) {
	t.Helper()
	testwait.Until(t, "a search index over all entries", func() bool {
		return Stats(t, l).Store.IndexLag == 0
	})
}

// Began is the time of Event(0). Each event is a second after the one before.
var Began = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// Event returns a plain event, always the same for a number. Its id is a
// UUIDv7; the actor's name and the address are among the fields that a log
// seals unless it is told otherwise.
func Event(n int) attestlog.Event {
	return attestlog.Event{
		ID:      fmt.Sprintf("019a9f0c-2f5e-7cc1-9c1e-%012x", n),
		Time:    Began.Add(time.Duration(n) * time.Second),
		Action:  "mail.view",
		Outcome: attestlog.Success,
		Actor:   attestlog.Actor{ID: "alice", Type: "user", Name: "Alice Adams"},
		Source:  attestlog.Source{IP: "192.0.2.7"},
		Targets: []attestlog.Target{{ID: fmt.Sprint(n), Type: "mail"}},
	}
}

// Events returns the events of the numbers from from up to, and without, to.
func Events(from, to int) []attestlog.Event {
	var out []attestlog.Event
	for n := from; n < to; n++ {
		out = append(out, Event(n))
	}
	return out
}
