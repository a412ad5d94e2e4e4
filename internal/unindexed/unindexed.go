// Package unindexed holds the entries that were committed and are not known to
// be in the search index yet. It bounds how far an index that follows the
// commits may fall behind the log.
package unindexed

import (
	"context"
	"slices"
	"sync"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/wake"
)

// Entries are the unindexed entries that this process committed, in batches.
// The methods are safe for concurrent use.
type Entries struct {
	limit   int
	changed wake.Signal // fired when count shrinks, or givenUp is set

	mu      sync.Mutex
	batches []*attestlog.Batch // guarded by mu, in the order of the commits
	count   int                // guarded by mu: entries in batches
	givenUp bool               // guarded by mu: the last attempt to index failed
}

// New returns a collection in which more than limit entries make appends wait.
func New(limit int) *Entries { return &Entries{limit: limit} }

// Add adds a batch that was committed.
func (e *Entries) Add(batch *attestlog.Batch) {
	e.mu.Lock()
	defer e.mu.Unlock()

	e.batches = append(e.batches, batch)
	e.count += len(batch.Entries)
}

// Wait waits while more entries than the limit are unindexed, except after
// GiveUp: an index that cannot be written does not hold up the log. It returns
// ctx's error if that ends first.
func (e *Entries) Wait(ctx context.Context) error {
	for {
		changed := e.changed.Next()
		if e.mayAppend() {
			return nil
		}

		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *Entries) mayAppend() bool {
	e.mu.Lock()
	defer e.mu.Unlock()

	return e.count <= e.limit || e.givenUp
}

// Indexed drops the batches that lie within the first size entries of the log,
// which are in the index now.
func (e *Entries) Indexed(size uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()

	for len(e.batches) > 0 && e.batches[0].Tree.Size <= size {
		e.count -= len(e.batches[0].Entries)
		e.batches[0] = nil // so that it can be freed before the slice grows again
		e.batches = e.batches[1:]
	}
	e.givenUp = false
	e.changed.Fire()
}

// GiveUp drops all batches, because the index could not be written, and lets
// appends go on until Indexed is called. The entries are read from the log when
// the index can be written again.
func (e *Entries) GiveUp() {
	e.mu.Lock()
	defer e.mu.Unlock()

	e.batches = nil
	e.count = 0
	e.givenUp = true
	e.changed.Fire()
}

// Len returns how many entries are unindexed.
func (e *Entries) Len() int {
	e.mu.Lock()
	defer e.mu.Unlock()

	return e.count
}

// Scan calls fn with the entries from the index from on, in order, as far as
// they follow it without a gap. It ends after the batch with which at least
// limit entries were given, or when fn returns an error, which it returns. Next
// is the index of the entry to go on with.
func (e *Entries) Scan(from uint64, limit int, fn func(*attestlog.RawEntry) error) (next uint64, err error) {
	// fn runs without the lock, so that commits do not wait for it.
	e.mu.Lock()
	batches := slices.Clone(e.batches)
	e.mu.Unlock()

	next = from
	for _, batch := range batches {
		if batch.Tree.Size <= next {
			continue
		}
		first := batch.Entries[0].Index
		if first > next || next-from >= uint64(limit) {
			break
		}

		for i := next - first; i < uint64(len(batch.Entries)); i++ {
			if err := fn(&batch.Entries[i]); err != nil {
				return next, err
			}
		}
		next = batch.Tree.Size
	}
	return next, nil
}
