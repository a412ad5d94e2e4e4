// Package storetest holds every store of a log to the same behaviour: what
// docs/format.md and the comments of attestlog.Store, attestlog.Tx and
// attestlog.Log promise. A store's package calls Run from a test of its own.
package storetest

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/verify"
)

// An Opener opens one log, as often as it is asked to: again after it was
// closed, and a second time while it is open. The first Open creates it.
type Opener interface {
	Open(ctx context.Context, opts Options) (attestlog.Store, error)
	// Erase deletes one disclosure behind the log's back.
	Erase(ctx context.Context, index uint64, pointer string) error
}

// Options say how to open a store.
type Options struct {
	ReadOnly bool
	NoIndex  bool // nothing fills or reads the search index
}

// Run runs the suite. open makes a place for a new log; it is called for each
// test anew.
func Run(t *testing.T, open func(t *testing.T) Opener) {
	for _, group := range []struct {
		name  string
		tests []namedTest
	}{
		{"Append", appendTests},
		{"Idempotence", idempotenceTests},
		{"Record", recordTests},
		{"Faults", faultTests},
		{"Spool", spoolTests},
		{"Clock", clockTests},
		{"Input", inputTests},
		{"Proof", proofTests},
		{"Keys", keyTests},
		{"Read", readTests},
		{"Page", pageTests},
		{"Search", searchTests},
		{"Tokens", tokenTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					test.run(t, open(t))
				})
			}
		})
	}
	t.Run("Search/AnyQueryFindsWhatAScanFinds", func(t *testing.T) {
		t.Parallel()
		anyQueryFindsWhatAScanFinds(t, open)
	})
}

type namedTest struct {
	name string
	run  func(t *testing.T, o Opener)
}

// openStore opens the store; whoever makes a Log of it closes it.
func openStore(t *testing.T, o Opener, opts Options) attestlog.Store {
	t.Helper()
	s, err := o.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openLog opens the log, and closes it at the end of the test.
func openLog(t *testing.T, s attestlog.Store, cfg attestlog.Config) *attestlog.Log {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	l, err := attestlog.New(t.Context(), s, cfg)
	if err != nil {
		s.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	return l
}

// began is the time of the tests' first events.
var began = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// event returns a plain event; its id is a UUIDv7.
func event(n int) attestlog.Event {
	return attestlog.Event{
		ID: fmt.Sprintf("019a9f0c-2f5e-7cc1-9c1e-%012x", n), Time: began.Add(time.Duration(n) * time.Second),
		Action: "mail.view", Outcome: attestlog.Success,
		Actor:   attestlog.Actor{ID: "alice", Type: "user", Name: "Alice Adams"},
		Source:  attestlog.Source{IP: "192.0.2.7"},
		Targets: []attestlog.Target{{ID: fmt.Sprint(n), Type: "mail"}},
	}
}

func events(from, to int) []attestlog.Event {
	var out []attestlog.Event
	for n := from; n < to; n++ {
		out = append(out, event(n))
	}
	return out
}

// mustAppend appends in calls of at most 1,000 events.
func mustAppend(t *testing.T, l *attestlog.Log, events ...attestlog.Event) []attestlog.Receipt {
	t.Helper()
	var out []attestlog.Receipt
	for len(events) > 0 {
		n := min(len(events), 1000)
		receipts, err := l.Append(t.Context(), events[:n]...)
		if err != nil {
			t.Fatal(err)
		}
		out, events = append(out, receipts...), events[n:]
	}
	return out
}

func mustVerify(t *testing.T, l *attestlog.Log) verify.Report {
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
