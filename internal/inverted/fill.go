package inverted

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/unindexed"
)

const (
	fillLag   = 20_000                 // entries that an append lets wait
	fillBatch = 20_000                 // entries in one segment at first
	fillPairs = 1 << 20                // of terms and entries in it, about
	fillPause = 50 * time.Millisecond  // between two small segments
	fillPoll  = 200 * time.Millisecond // for what other processes wrote
	fillRetry = 2 * time.Second
	fillLast  = 5 * time.Second // for catching up when the store is closed
	fillQuiet = 5               // polls without an append before segments are merged further
	lastMerge = 100_000         // entries of the largest segment that closing makes
)

// A Writer adds segments to an index and replaces them, as several processes may.
type Writer interface {
	Reader
	// Add indexes the next entries of the log with f.Build, in one transaction.
	// It calls f.Backlog.Settled, and reports whether there is more to index.
	Add(ctx context.Context, f *Filler) (more bool, err error)
	// Merge replaces the segments that choose returns, unless another process
	// is at it. It reports whether it did: choose may return nil.
	Merge(ctx context.Context, choose func(context.Context, Reader) (*Merge, error)) (done bool, err error)
}

// A Filler keeps an index behind the commits: one goroutine adds segments,
// another merges them. Its methods are safe for concurrent use.
type Filler struct {
	Backlog *unindexed.Entries // what this process committed

	w      Writer
	logger *slog.Logger

	building sync.Mutex
	builder  *Builder // guarded by building

	merging atomic.Bool
	quiet   atomic.Bool
	wake    chan struct{}
	merge   chan struct{}
	stop    context.Context
	end     context.CancelFunc
	wg      sync.WaitGroup
}

// Fill starts to fill an index.
func Fill(key Key, w Writer, logger *slog.Logger) *Filler {
	f := &Filler{
		Backlog: unindexed.New(fillLag), builder: NewBuilder(key, 0), w: w, logger: logger,
		wake: make(chan struct{}, 1), merge: make(chan struct{}, 1),
	}
	f.stop, f.end = context.WithCancel(context.Background())
	f.wg.Go(f.fill)
	f.wg.Go(f.mergeAll)
	return f
}

// Offer hands a committed batch over.
func (f *Filler) Offer(b *attestlog.Batch) {
	f.Backlog.Offer(b)
	poke(f.wake)
}

// Merging reports whether there are segments to merge.
func (f *Filler) Merging() bool { return f.merging.Load() }

// Close catches up with what this process committed, within five seconds.
func (f *Filler) Close() {
	f.end()
	f.wg.Wait()
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fill adds segments until close.
func (f *Filler) fill() {
	poll := time.NewTicker(fillPoll)
	defer poll.Stop()
	for still := 0; ; still++ {
		select {
		case <-f.wake:
			still = 0
		case <-poll.C:
		case <-f.stop.Done():
			f.last()
			return
		}
		if f.quiet.Store(still >= fillQuiet); still >= fillQuiet {
			poke(f.merge)
		}
		for more := true; more && f.stop.Err() == nil; {
			began := time.Now()
			var err error
			more, err = f.w.Add(f.stop, f)
			if err != nil && f.stop.Err() == nil {
				f.logger.Error("attestlog: the search index could not be written; queries read what it lacks from the log", "err", err)
				f.Backlog.Settled(0, true)
				more = false
				f.pause(fillRetry)
				continue
			}
			poke(f.merge)
			if f.Backlog.Waiting() < fillBatch/2 {
				f.pause(fillPause - time.Since(began))
			}
		}
	}
}

func (f *Filler) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-f.stop.Done():
	}
}

// last catches up, and merges what a program that appends little and ends
// leaves behind each time.
func (f *Filler) last() {
	ctx, cancel := context.WithTimeout(context.Background(), fillLast)
	defer cancel()
	added := false
	for ; f.Backlog.Waiting() > 0; added = true {
		more, err := f.w.Add(ctx, f)
		if err != nil {
			f.logger.Warn("attestlog: the search index is behind the log; the next process to open it fills it", "err", err)
			return
		}
		if !more { // what remains, another process, or a transaction that was given up, has in hand
			time.Sleep(fillPause / 10)
		}
	}
	for more := added; more; {
		var err error
		if more, err = f.mergeOnce(ctx, mergeMany, lastMerge); err != nil {
			f.warn(err)
			return
		}
	}
}

// Build calls put with a segment of the next entries from lo on: those below
// size that this process committed, or, if it has none, that scan reads.
func (f *Filler) Build(ctx context.Context, lo, size uint64, scan func(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error, put func(*Builder) error) error {
	f.building.Lock()
	defer f.building.Unlock()
	b := f.builder
	b.Reset(lo)
	add := func(r *attestlog.RawEntry) error {
		if len(b.pairs[Terms]) >= fillPairs {
			return errFull
		}
		return b.Add(r)
	}
	_, err := f.Backlog.Records(lo, fillBatch, add)
	if err == nil && b.next == lo {
		err = scan(ctx, lo, min(size, lo+fillBatch), add)
	}
	switch {
	case err != nil && !errors.Is(err, errFull):
		return err
	case b.next == lo:
		return &attestlog.CorruptError{Index: lo, Where: "leaf", Err: errors.New("missing")}
	}
	return put(b)
}

// errFull ends a segment whose entries have many terms.
var errFull = errors.New("the segment is full")

// Refill adds until add reports that nothing is missing, which is for an index
// that was emptied.
func (f *Filler) Refill(ctx context.Context, lag func(context.Context) (missing, size uint64, err error), progress func(done, total uint64)) error {
	for {
		if _, err := f.w.Add(ctx, f); err != nil {
			return err
		}
		missing, size, err := lag(ctx)
		if err != nil {
			return err
		}
		if progress != nil {
			progress(size-min(size, missing), size)
		}
		if missing == 0 {
			return nil
		}
		f.pause(fillPause / 10) // another process may be at it
	}
}

// mergeAll merges segments until close.
func (f *Filler) mergeAll() {
	for {
		select {
		case <-f.merge:
		case <-f.stop.Done():
			return
		}
		for more := true; more && f.stop.Err() == nil; {
			least := mergeMany
			if f.quiet.Load() {
				least = mergeFew
			}
			var err error
			if more, err = f.mergeOnce(f.stop, least, mergeMost); err != nil && f.stop.Err() == nil {
				f.warn(err)
				f.pause(fillRetry)
			}
		}
	}
}

func (f *Filler) warn(err error) {
	f.logger.Warn("attestlog: segments of the search index could not be merged; searching is slower until they are", "err", err)
}

// mergeOnce reports whether there was anything to merge.
func (f *Filler) mergeOnce(ctx context.Context, least int, most uint64) (bool, error) {
	segs, err := f.w.Segments(ctx)
	if err != nil {
		return false, err
	}
	f.merging.Store(mergeable(segs, mergeFew, mergeMost) != nil)
	if mergeable(segs, least, most) == nil {
		return false, nil
	}
	return f.w.Merge(ctx, func(ctx context.Context, r Reader) (*Merge, error) {
		segs, err := r.Segments(ctx)
		if err != nil {
			return nil, err
		}
		chosen := mergeable(segs, least, most)
		if chosen == nil {
			return nil, nil
		}
		return newMerge(ctx, r, chosen)
	})
}
