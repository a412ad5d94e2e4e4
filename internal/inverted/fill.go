package inverted

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/lasting"
	"github.com/attestlog/attestlog/internal/retry"
	"github.com/attestlog/attestlog/internal/unindexed"
	"github.com/attestlog/attestlog/internal/wake"
)

const (
	maxUnindexed = 20_000  // entries with which appends do not wait
	fillEntries  = 20_000  // about how many entries a segment has at first …
	fillTerms    = 1 << 20 // … and about how many terms at most

	fillPause  = 50 * time.Millisecond  // from one small segment to the next
	fillPoll   = 200 * time.Millisecond // how often to look for what other processes committed
	fillRetry  = 2 * time.Second        // from an error to the next try
	quietPolls = 5                      // polls without a commit after which mergeFew segments are merged

	finishTime  = 5 * time.Second // for catching up when the store is closed
	finishMerge = 100_000         // entries of the largest segment that is made then
)

// A Writer adds segments to an index and merges them, also while other
// processes do so. Its methods are safe for concurrent use.
type Writer interface {
	Reader
	// Add indexes the entries after the watermark with f.Build, in one
	// transaction. It calls f.Unindexed.Indexed with the new watermark, and
	// reports whether there are more entries to index.
	Add(ctx context.Context, f *Filler) (more bool, err error)
	// Merge replaces the segments that choose returns, unless another process
	// is merging some. Choose may return nil if there are none to merge. Merge
	// reports whether it replaced any.
	Merge(ctx context.Context, choose func(context.Context, Reader) (*Merge, error)) (done bool, err error)
}

// A Filler keeps an index up with the commits, from Fill until Close. It has two
// goroutines: one adds segments, the other merges them. The methods are safe for
// concurrent use.
type Filler struct {
	// Unindexed are the entries that this process committed and that are not in
	// the index yet. A store calls its Wait before it writes.
	Unindexed *unindexed.Entries

	w      Writer
	logger *slog.Logger

	building sync.Mutex // locked during Build
	builder  *Builder   // guarded by building

	committed wake.Bell   // rung by Committed
	added     wake.Bell   // rung when there may be segments to merge
	quiet     atomic.Bool // nothing was committed for a while
	merging   atomic.Bool // there are segments to merge

	notAdding, notMerging lasting.State // which fail for a while

	ctx     context.Context // ends when Close is called
	cancel  context.CancelFunc
	running sync.WaitGroup // the two goroutines
}

// Fill starts to fill an index. Close ends it.
func Fill(key Key, w Writer, logger *slog.Logger) *Filler {
	f := &Filler{
		Unindexed: unindexed.New(maxUnindexed),
		w:         w,
		logger:    logger,
		builder:   NewBuilder(key, 0),
		committed: wake.NewBell(),
		added:     wake.NewBell(),
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.running.Go(f.addSegments)
	f.running.Go(f.mergeSegments)
	return f
}

// Committed tells the filler about a batch that this process committed.
func (f *Filler) Committed(b *attestlog.Batch) {
	f.Unindexed.Add(b)
	f.committed.Ring()
}

// Merging reports whether there are segments to merge.
func (f *Filler) Merging() bool { return f.merging.Load() }

// Close indexes what this process committed, for at most five seconds, and waits
// for the goroutines to end. Nobody waits for Unindexed afterwards.
func (f *Filler) Close() {
	f.cancel()
	f.running.Wait()
}

// addSegments runs until Close is called. It then catches up.
func (f *Filler) addSegments() {
	poll := time.NewTicker(fillPoll)
	defer poll.Stop()

	for polls := 0; ; polls++ {
		select {
		case <-f.committed:
			polls = 0
		case <-poll.C:
		case <-f.ctx.Done():
			f.finish()
			return
		}

		quiet := polls >= quietPolls
		f.quiet.Store(quiet)
		if quiet {
			f.added.Ring()
		}
		f.catchUp()
	}
}

// catchUp adds segments until the index has all entries, or cannot be written.
func (f *Filler) catchUp() {
	for more := true; more && f.ctx.Err() == nil; {
		began := time.Now()
		var err error
		more, err = f.w.Add(f.ctx, f)
		if f.ctx.Err() != nil {
			return
		}
		f.notAdding.Note(err, f.logger, slog.LevelError,
			"attestlog: the search index could not be written; queries read what it lacks from the log",
			"attestlog: the search index is written again")
		if err != nil {
			f.Unindexed.GiveUp()
			retry.Sleep(f.ctx, fillRetry)
			return
		}
		f.added.Ring()

		// Entries that come one by one do not make a segment each.
		if f.Unindexed.Len() < fillEntries/2 {
			retry.Sleep(f.ctx, fillPause-time.Since(began))
		}
	}
}

// finish indexes what this process committed. A program that appends little and
// ends would leave a small segment each time, so it merges them as well.
func (f *Filler) finish() {
	// Nothing is indexed after this, so appends that wait must not wait on.
	defer f.Unindexed.GiveUp()

	ctx, cancel := context.WithTimeout(context.Background(), finishTime)
	defer cancel()

	added := false
	for f.Unindexed.Len() > 0 {
		more, err := f.w.Add(ctx, f)
		if err != nil {
			f.logger.Warn("attestlog: the search index is behind the log; the next process to open it fills it", "err", err)
			return
		}
		added = true

		// The rest is being added by another process, or by a transaction that
		// was cancelled and has not ended yet.
		if !more {
			retry.Sleep(ctx, fillPause/10)
		}
	}

	for more := added; more; {
		var err error
		more, err = f.mergeOnce(ctx, mergeMany, finishMerge)
		if err != nil {
			f.noteMerge(err)
			return
		}
	}
}

// Build calls put with a builder that has the entries from lo on: those that
// this process committed, or, if it did not commit the entry lo, those that scan
// reads, below size. The builder is valid only during the call.
func (f *Filler) Build(ctx context.Context, lo, size uint64, scan attestlog.ScanFunc, put func(*Builder) error) error {
	f.building.Lock()
	defer f.building.Unlock()

	b := f.builder
	b.Reset(lo)
	damaged := 0
	add := func(r *attestlog.RawEntry) error {
		if len(b.pairs[Terms]) >= fillTerms {
			return errFull
		}
		err := r.Err
		if err == nil {
			err = b.Add(r)
		}
		if isCorrupt(err) { // it is for its readers to see; the index goes on
			b.Skip()
			damaged++
			err = nil
		}
		return err
	}

	_, err := f.Unindexed.Scan(lo, fillEntries, add)
	if err == nil && b.next == lo {
		err = attestlog.ScanPast(ctx, scan, lo, min(size, lo+fillEntries), add)
	}
	if err != nil && !errors.Is(err, errFull) {
		return err
	}
	if damaged > 0 {
		f.logger.Error("attestlog: damaged entries cannot be searched for by what they say; attestlog verify names them",
			"entries", damaged, "from", lo, "to", b.next)
	}
	if b.next == lo {
		return errLeaf(lo, errMissing)
	}
	return put(b)
}

// errFull ends the scan for a segment whose entries have many terms.
var errFull = errors.New("the segment is full")

// Refill fills an index that was emptied. It adds segments until lag reports
// that no entries are missing. It calls progress, if that is not nil, after each.
func (f *Filler) Refill(
	ctx context.Context,
	lag func(context.Context) (missing, size uint64, err error),
	progress func(done, total uint64),
) error {
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
		retry.Sleep(f.ctx, fillPause/10) // another process may be adding them
	}
}

// mergeSegments runs until Close is called.
func (f *Filler) mergeSegments() {
	for {
		select {
		case <-f.added:
		case <-f.ctx.Done():
			return
		}

		for more := true; more && f.ctx.Err() == nil; {
			minSegs := mergeMany
			if f.quiet.Load() {
				minSegs = mergeFew
			}
			var err error
			more, err = f.mergeOnce(f.ctx, minSegs, maxSegment)
			if f.ctx.Err() != nil {
				return
			}
			f.noteMerge(err)
			if err != nil {
				retry.Sleep(f.ctx, fillRetry)
			}
		}
	}
}

func (f *Filler) noteMerge(err error) {
	f.notMerging.Note(err, f.logger, slog.LevelWarn,
		"attestlog: segments of the search index could not be merged; searching is slower until they are",
		"attestlog: segments of the search index are merged again")
}

// mergeOnce merges segments if there are any to merge, and reports whether it
// did. See mergeable.
func (f *Filler) mergeOnce(ctx context.Context, minSegs int, maxEntries uint64) (bool, error) {
	// Most of the time there are none, and no lock is needed to find that out.
	segs, err := f.w.Segments(ctx)
	if err != nil {
		return false, err
	}
	f.merging.Store(mergeable(segs, mergeFew, maxSegment) != nil)
	if mergeable(segs, minSegs, maxEntries) == nil {
		return false, nil
	}

	return f.w.Merge(ctx, func(ctx context.Context, r Reader) (*Merge, error) {
		segs, err := r.Segments(ctx)
		if err != nil {
			return nil, err
		}
		chosen := mergeable(segs, minSegs, maxEntries)
		if chosen == nil {
			return nil, nil
		}
		return newMerge(ctx, r, chosen)
	})
}
