package inverted

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/attestlog/attestlog"
)

// A brokenWriter cannot be written.
type brokenWriter struct{ oneRow }

func (brokenWriter) Add(context.Context, *Filler) (bool, error) {
	return false, errors.New("the disk is full")
}

func (brokenWriter) Merge(context.Context, func(context.Context, Reader) (*Merge, error)) (bool, error) {
	return false, nil
}

// An append that waits for the index while the store is closed learns from the
// store that it is closed.
func TestCloseEndsTheWaitForAnIndexThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := Fill(Key{}, brokenWriter{}, slog.New(slog.DiscardHandler))
		f.Unindexed.Add(&attestlog.Batch{
			Entries: make([]attestlog.RawEntry, maxUnindexed+1),
			Tree:    attestlog.Tree{Size: maxUnindexed + 1},
		})
		waited := make(chan error)
		go func() { waited <- f.Unindexed.Wait(t.Context()) }()
		synctest.Wait()

		f.Close()
		if err := <-waited; err != nil {
			t.Errorf("Wait = %v", err)
		}
		f.Unindexed.Add(&attestlog.Batch{Entries: make([]attestlog.RawEntry, maxUnindexed+1)})
		if err := f.Unindexed.Wait(t.Context()); err != nil {
			t.Errorf("Wait after Close = %v", err)
		}
	})
}
