// Package storetest checks that every store of a log has the behaviour that
// docs/format.md and the comments of attestlog.Store, attestlog.Tx and
// attestlog.Log promise. A store's package calls Run from a test of its own.
package storetest

import (
	"context"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
)

// An Opener opens one log as often as it is asked to: after the log was closed,
// and also while it is open. The first Open creates the log.
type Opener interface {
	Open(ctx context.Context, opts Options) (attestlog.Store, error)
	// Erase deletes one disclosure without the log's knowledge.
	Erase(ctx context.Context, index uint64, pointer string) error
}

// Options say how to open a store.
type Options struct {
	ReadOnly bool
	NoIndex  bool // do not fill or read the search index
}

// Run runs the suite. It calls open for each test, to get a place for a new log.
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

// openStore opens the store. A Log that is made of it closes it.
func openStore(t *testing.T, o Opener, opts Options) attestlog.Store {
	t.Helper()
	s, err := o.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openLog opens the log for reading and writing, with its search index.
func openLog(t *testing.T, o Opener, cfg attestlog.Config) *attestlog.Log {
	t.Helper()
	return testlog.New(t, openStore(t, o, Options{}), cfg)
}
