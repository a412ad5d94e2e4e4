package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dchest/siphash"
	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/backlog"
)

const (
	indexLag   = 20_000                 // entries that an append lets wait
	indexBatch = 20_000                 // entries in one segment at first
	indexPause = 50 * time.Millisecond  // between two small segments
	indexPoll  = 200 * time.Millisecond // for what other processes wrote
	indexRetry = 2 * time.Second
	indexLast  = 5 * time.Second // for catching up when the store is closed
	indexQuiet = 5               // polls without an append before segments are merged further
)

// An index fills the search index behind the commit: one goroutine adds
// segments, another merges them. Every process that writes does so in turn,
// under locks of their own.
type index struct {
	s      *Store
	k0, k1 uint64 // key the terms' tokens

	backlog *backlog.Backlog // of this process

	spanMu sync.Mutex
	spans  map[int64]spans // by segment; they never change

	runs    bool
	wake    chan struct{}
	merge   chan struct{}
	merging atomic.Bool
	quiet   atomic.Bool
	stop    context.Context
	end     context.CancelFunc
	wg      sync.WaitGroup
}

func (s *Store) openIndex(ctx context.Context) error {
	ix := &s.index
	ix.s, ix.backlog, ix.spans = s, backlog.New(indexLag), map[int64]spans{}
	ix.wake, ix.merge = make(chan struct{}, 1), make(chan struct{}, 1)
	ix.stop, ix.end = context.WithCancel(context.Background())
	var key []byte
	err := s.pool.QueryRow(ctx, s.sql("SELECT value FROM @.meta WHERE name = 'index_key'")).Scan(&key)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && len(key) != 16 {
		err = errors.New("the key of the search index is missing")
	}
	if err != nil {
		return err
	}
	for i, b := range key[:8] {
		ix.k0 |= uint64(b) << (8 * i)
		ix.k1 |= uint64(key[8+i]) << (8 * i)
	}
	if !s.cfg.ReadOnly && !s.cfg.NoIndex {
		ix.runs = true
		ix.wg.Go(ix.fill)
		ix.wg.Go(ix.mergeAll)
	}
	return nil
}

// token is what stands for a term in the index: 63 bits of its SipHash-2-4
// under the log's own key, so that no value is left there in clear.
func (ix *index) token(scratch []byte, field string, value []byte) (int64, []byte) {
	scratch = append(scratch[:0], field...)
	scratch = append(scratch, 0)
	scratch = append(scratch, value...)
	return int64(siphash.Hash(ix.k0, ix.k1, scratch) >> 1), scratch
}

// close catches up with what this process wrote, and ends.
func (ix *index) close() {
	if ix.end != nil {
		ix.end()
		ix.wg.Wait()
	}
}

// offer hands a committed batch over.
func (ix *index) offer(b *attestlog.Batch) {
	if !ix.runs {
		return
	}
	ix.backlog.Offer(b)
	poke(ix.wake)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fill adds segments until close.
func (ix *index) fill() {
	poll := time.NewTicker(indexPoll)
	defer poll.Stop()
	for still := 0; ; still++ {
		select {
		case <-ix.wake:
			still = 0
		case <-poll.C:
		case <-ix.stop.Done():
			ctx, cancel := context.WithTimeout(context.Background(), indexLast)
			defer cancel()
			for more := true; more && ix.backlog.Waiting() > 0; {
				var err error
				if more, err = ix.add(ctx); err != nil {
					ix.s.cfg.Logger.Warn("attestlog: the search index is behind the log; the next process to open it fills it", "log", ix.s.cfg.Log, "err", err)
					return
				}
			}
			return
		}
		if ix.quiet.Store(still >= indexQuiet); still >= indexQuiet {
			poke(ix.merge)
		}
		for more := true; more && ix.stop.Err() == nil; {
			began := time.Now()
			var err error
			if more, err = ix.add(ix.stop); err != nil && ix.stop.Err() == nil {
				ix.s.cfg.Logger.Error("attestlog: the search index could not be written; queries read what it lacks from the log", "log", ix.s.cfg.Log, "err", err)
				ix.backlog.Settled(0, true)
				more = false
				ix.pause(indexRetry)
			} else if ix.backlog.Waiting() < indexBatch/2 {
				ix.pause(indexPause - time.Since(began))
			}
		}
	}
}

func (ix *index) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-ix.stop.Done():
	}
}

// locked runs fn in a transaction, unless another process is at the same work.
// The server ends it if this process hangs, or the others would wait for good.
func (ix *index) locked(ctx context.Context, work int, fn func(pgx.Tx) error) (free bool, err error) {
	err = ix.s.locking(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SELECT set_config('idle_in_transaction_session_timeout', $1, true), set_config('statement_timeout', '0', true)", milliseconds(ix.s.cfg.Timeout))
		if err == nil {
			free, err = ix.s.lockWork(ctx, tx, work, false)
		}
		if err != nil || !free {
			return err
		}
		return fn(tx)
	})
	return free, err
}

// add indexes the next entries as a segment, from memory where this process
// wrote them and otherwise from the log. It reports whether there are more.
func (ix *index) add(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, ix.s.limit()) // appends wait for an index that hangs
	defer cancel()
	var indexed, size uint64
	var old, newer bool
	read := func(db queryer) error {
		return db.QueryRow(ctx, ix.s.sql(`SELECT (SELECT coalesce(max(hi), 0) FROM @.segments), size,
			EXISTS (SELECT 1 FROM @.segments WHERE terms < $1), EXISTS (SELECT 1 FROM @.segments WHERE terms > $1) FROM @.tree`),
			attestlog.TermsVersion).Scan(&indexed, &size, &old, &newer)
	}
	err = read(ix.s.pool)
	if err == nil && newer { // a newer program keeps the index, which this one cannot read
		ix.backlog.Settled(0, true)
		return false, nil
	}
	if err != nil || indexed >= size && !old {
		if err == nil {
			ix.backlog.Settled(indexed, false)
		}
		return false, err
	}
	free, err := ix.locked(ctx, workIndex, func(tx pgx.Tx) error {
		if err := read(tx); err != nil || newer {
			return err
		}
		if old {
			indexed = 0
			if err := ix.empty(ctx, tx); err != nil {
				return err
			}
		}
		if indexed >= size {
			return nil
		}
		b := newBuilder(ix, indexed)
		if err := ix.feed(ctx, tx, b, indexed, size); err != nil {
			return err
		}
		indexed += uint64(b.count)
		return b.write(ctx, tx)
	})
	if err != nil {
		return false, err
	}
	ix.backlog.Settled(indexed, false)
	poke(ix.merge)
	return free && indexed < size, nil
}

// empty empties the index, within a transaction.
func (ix *index) empty(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, ix.s.sql("DELETE FROM @.segments"))
	if err == nil {
		_, err = tx.Exec(ctx, ix.s.sql("DELETE FROM @.runs"))
	}
	return err
}

// feed gives b up to indexBatch entries from an index on.
func (ix *index) feed(ctx context.Context, tx pgx.Tx, b *builder, from, to uint64) error {
	if _, err := ix.backlog.Records(from, indexBatch, b.add); err != nil {
		return err
	}
	if b.count > 0 {
		return nil
	}
	end := min(to, from+indexBatch, (from/partWidth+1)*partWidth)
	n, err := ix.s.scanChunk(ctx, tx, from, end, b.add)
	if err == nil && uint64(n) != end-from {
		err = &attestlog.CorruptError{Index: from, Where: "leaf", Err: errors.New("entries are missing")}
	}
	return err
}

// A builder makes a segment of entries.
type builder struct {
	ix    *index
	lo    uint64
	count int
	pairs [2][]pair // by kind
	spans spans
	term  []byte
	next  uint64 // the entry that comes next
	emit  func(field string, value []byte)
}

func newBuilder(ix *index, lo uint64) *builder {
	b := &builder{ix: ix, lo: lo, next: lo}
	b.emit = func(field string, value []byte) {
		var token int64
		token, b.term = ix.token(b.term, field, value)
		b.pairs[kindTerm] = append(b.pairs[kindTerm], pair{token, b.next})
	}
	return b
}

func (b *builder) add(r *attestlog.Record) error {
	if r.Index != b.next {
		return &attestlog.CorruptError{Index: b.next, Where: "leaf", Err: errors.New("missing")}
	}
	if err := attestlog.Terms(r.Leaf, r.Disclosures, b.emit); err != nil {
		return &attestlog.CorruptError{Index: r.Index, Where: "leaf", Err: err}
	}
	at, ok := attestlog.LeafTime(r.Leaf)
	if !ok {
		return &attestlog.CorruptError{Index: r.Index, Where: "leaf", Err: errors.New("has no time")}
	}
	b.pairs[kindTime] = append(b.pairs[kindTime], pair{at, r.Index})
	b.spans.add(b.lo, r.Index, span{at, at})
	b.count++
	b.next++
	return nil
}

// write stores the segment.
func (b *builder) write(ctx context.Context, tx pgx.Tx) error {
	w, err := b.ix.newSegment(ctx, tx, segment{lo: b.lo, hi: b.lo + uint64(b.count)}, b.spans)
	if err != nil {
		return err
	}
	for kind, pairs := range b.pairs {
		sortPairs(pairs)
		for _, p := range slices.Compact(pairs) {
			if err := w.add(int16(kind), p); err != nil {
				return err
			}
		}
	}
	return w.end()
}

// Reindex empties the search index and fills it again, while the log is in use.
// progress, if not nil, is called with the number of entries done.
func (s *Store) Reindex(ctx context.Context, progress func(done, total uint64)) error {
	if !s.index.runs {
		return fmt.Errorf("postgres: reindex: %w", attestlog.ErrReadOnly)
	}
	err := s.locking(ctx, func(tx pgx.Tx) error {
		for _, work := range []int{workIndex, workMerge} { // waits for whoever adds or merges
			if _, err := s.lockWork(ctx, tx, work, true); err != nil {
				return err
			}
		}
		return s.index.empty(ctx, tx)
	})
	for done := false; err == nil && !done; {
		if _, err = s.index.add(ctx); err != nil {
			break
		}
		var st attestlog.StoreStats
		var tree attestlog.Tree
		if st, err = s.Stats(ctx); err == nil {
			tree, err = s.Tree(ctx)
		}
		if done = st.IndexLag == 0; !done {
			s.index.pause(indexPause / 10) // another process may be at it
		}
		if progress != nil && err == nil {
			progress(tree.Size-min(tree.Size, st.IndexLag), tree.Size)
		}
	}
	return s.clarify(ctx, err)
}
