// Package unindexed holds what was committed and is not known to be indexed yet. It
// bounds how far a search index that follows the commits may be behind.
package unindexed

import (
	"context"
	"slices"
	"sync"

	"github.com/attestlog/attestlog"
)

// A Entries's methods are safe for concurrent use.
type Entries struct {
	most int

	mu      sync.Mutex
	pending []*attestlog.Batch
	waiting int           // entries in pending
	broken  bool          // the last attempt failed: nobody waits
	room    chan struct{} // closed and renewed when waiting shrinks
}

// New returns a backlog beyond which appends wait: at most entries, and one
// batch.
func New(most int) *Entries { return &Entries{most: most, room: make(chan struct{})} }

// Offer adds a committed batch.
func (b *Entries) Offer(batch *attestlog.Batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = append(b.pending, batch)
	b.waiting += len(batch.Entries)
}

// WaitForRoom waits while too much is waiting, but not for an index that cannot
// be written. It returns ctx's error if that ends first.
func (b *Entries) WaitForRoom(ctx context.Context) error {
	for {
		b.mu.Lock()
		room := b.room
		free := b.waiting <= b.most || b.broken
		b.mu.Unlock()
		if free {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Settled drops the batches among the first size entries, which are indexed,
// and lets appends go on. With broken set it drops all of them: they are to be
// read from the log again.
func (b *Entries) Settled(size uint64, broken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.pending) > 0 && b.pending[0].Tree.Size <= size {
		b.waiting -= len(b.pending[0].Entries)
		b.pending[0] = nil
		b.pending = b.pending[1:]
	}
	if b.broken = broken; broken {
		b.pending, b.waiting = nil, 0
	}
	close(b.room)
	b.room = make(chan struct{})
}

// Waiting returns how many entries are waiting.
func (b *Entries) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting
}

// Records calls fn with the records from an index on that follow it without a
// gap, until whole batches of at least most have been given. It returns the
// index behind the last.
func (b *Entries) Records(from uint64, most int, fn func(*attestlog.RawEntry) error) (uint64, error) {
	b.mu.Lock()
	pending := slices.Clone(b.pending)
	b.mu.Unlock()
	next := from
	for _, batch := range pending {
		first := batch.Entries[0].Index
		if batch.Tree.Size <= next {
			continue
		}
		if first > next || next-from >= uint64(most) {
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
