package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dchest/siphash"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
)

// run fills the index until close.
func (ix *index) run() {
	defer close(ix.ended)
	poll := time.NewTicker(indexPoll)
	defer poll.Stop()
	for quiet := 0; ; quiet++ {
		select {
		case <-ix.wake:
			quiet = 0
		case <-poll.C:
		case <-ix.stop.Done():
			ix.last(context.Background())
			return
		}
		if quiet >= indexQuiet {
			ix.tidy()
		}
		for more := true; more && ix.stop.Err() == nil; {
			began := time.Now()
			var err error
			if more, err = ix.fill(ix.stop, true); err != nil && ix.stop.Err() == nil {
				ix.store.cfg.Logger.Error("attestlog: the search index could not be written; queries read what it lacks from the log", "file", ix.path, "err", err)
				ix.backlog.Settled(0, true)
				more = false
				ix.pause(indexRetry)
			} else if ix.backlog.Waiting() < indexBatch/2 {
				ix.pause(indexPause - time.Since(began))
			}
		}
	}
}

// tidy merges the index's segments, of which every search has to look into each,
// until there is nothing to merge or something to index.
func (ix *index) tidy() {
	for ix.untidy.Load() && len(ix.wake) == 0 && ix.stop.Err() == nil {
		more, err := ix.merge()
		if err != nil {
			ix.store.cfg.Logger.Warn("attestlog: the search index could not be tidied and stays as it is", "file", ix.path, "err", err)
		}
		ix.untidy.Store(more && err == nil)
	}
}

// merge does a few milliseconds' work, and reports whether there was any.
func (ix *index) merge() (more bool, err error) {
	before, err := integer(ix.conn, "SELECT total_changes()")
	if err != nil {
		return false, err
	}
	stmt, err := ix.conn.Prepare("INSERT INTO terms (terms, rank) VALUES ('merge', 256)")
	if err != nil {
		return false, err
	}
	if err := exec(stmt); err != nil {
		return false, err
	}
	after, err := integer(ix.conn, "SELECT total_changes()")
	return after-before >= 2, err // FTS5's own sign that it found something to merge
}

func (ix *index) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-ix.stop.Done():
	}
}

// last catches up before the index is closed, unless much is missing: that is
// for whoever opens the log next.
func (ix *index) last(ctx context.Context) {
	fromLog := false
	if tree, err := ix.store.Tree(ctx); err == nil {
		size, err := ix.watermark(ctx)
		fromLog = err == nil && tree.Size-min(tree.Size, size) <= indexLag
	}
	for more := true; more; {
		var err error
		if more, err = ix.fill(ctx, fromLog); err != nil {
			ix.store.cfg.Logger.Warn("attestlog: the search index is behind the log; the next process to open it fills it", "file", ix.path, "err", err)
			return
		}
	}
}

// fill indexes the next entries in one transaction, from memory where they
// were offered and otherwise from the log. It reports whether there may be
// more.
func (ix *index) fill(ctx context.Context, fromLog bool) (more bool, err error) {
	ix.conn.SetInterrupt(ctx.Done())
	defer ix.conn.SetInterrupt(nil)
	tree, err := ix.store.Tree(ctx)
	if err != nil {
		return false, err
	}
	size, count := uint64(0), 0
	err = func() (err error) {
		end, err := sqlitex.ImmediateTransaction(ix.conn)
		if err != nil {
			return err
		}
		defer end(&err)
		st, err := readState(ix.conn)
		if err != nil {
			return err
		}
		size = st.size
		if size >= tree.Size {
			return nil
		}
		w := newIndexWriter(ix, st.high)
		if err := ix.feed(ctx, w, size, tree.Size, fromLog); err != nil {
			return err
		}
		count = w.count
		size += uint64(count)
		return w.finish(size)
	}()
	if err != nil {
		return false, err
	}
	ix.backlog.Settled(size, false)
	if count > 0 {
		ix.untidy.Store(true)
	}
	// Without progress, what comes next was written by another process, and is
	// not for a caller who takes only what was offered.
	return count > 0 && size < tree.Size, nil
}

// feed gives w up to indexBatch entries from an index on.
func (ix *index) feed(ctx context.Context, w *indexWriter, from, to uint64, fromLog bool) error {
	next, err := ix.backlog.Records(from, indexBatch, w.add)
	if err != nil {
		return err
	}
	if next > from || !fromLog {
		return nil
	}
	return ix.store.Scan(ctx, from, min(to, from+indexBatch), w.add)
}

// An indexWriter adds entries within one transaction.
type indexWriter struct {
	ix    *index
	count int
	doc   []byte
	term  []byte
	last  []byte // the last leaf
	times timeline
	emit  func(field string, value []byte)
}

func newIndexWriter(ix *index, high int64) *indexWriter {
	w := &indexWriter{ix: ix, times: timeline{high: high, blocks: map[uint64]block{}}}
	w.emit = func(field string, value []byte) {
		if len(w.doc) > 0 {
			w.doc = append(w.doc, ' ')
		}
		w.doc, w.term = ix.appendToken(w.doc, w.term, field, value)
	}
	return w
}

// appendToken appends the token that stands for a term: 63 bits of its
// SipHash-2-4 under the log's index key, seven to a byte with the high bit
// set. Such bytes are token characters to FTS5's ascii tokenizer, which leaves
// them as they are.
func (ix *index) appendToken(dst, scratch []byte, field string, value []byte) (token, newScratch []byte) {
	scratch = append(scratch[:0], field...)
	scratch = append(scratch, 0)
	scratch = append(scratch, value...)
	h := siphash.Hash(ix.k0, ix.k1, scratch)
	for range 9 {
		dst = append(dst, byte(h)|0x80)
		h >>= 7
	}
	return dst, scratch
}

func (w *indexWriter) add(r *attestlog.Record) error {
	w.doc = w.doc[:0]
	if err := attestlog.Terms(r.Leaf, r.Disclosures, w.emit); err != nil {
		return &attestlog.CorruptError{Index: r.Index, Where: "leaf", Err: err}
	}
	at, ok := attestlog.LeafTime(r.Leaf)
	if !ok {
		return &attestlog.CorruptError{Index: r.Index, Where: "leaf", Err: errors.New("has no time")}
	}
	conn := w.ix.conn
	terms, err := conn.Prepare("INSERT OR ROLLBACK INTO terms (rowid, t) VALUES (?, ?)")
	if err != nil {
		return err
	}
	terms.BindInt64(1, int64(r.Index))
	terms.BindText(2, string(w.doc))
	if err := exec(terms); err != nil {
		return err
	}
	if late := w.times.add(r.Index, at); late {
		stmt, err := conn.Prepare("INSERT OR ROLLBACK INTO late (time, idx) VALUES (?, ?)")
		if err != nil {
			return err
		}
		stmt.BindInt64(1, at)
		stmt.BindInt64(2, int64(r.Index))
		if err := exec(stmt); err != nil {
			return err
		}
	}
	w.count++
	w.last = append(w.last[:0], r.Leaf...)
	return nil
}

// finish writes the blocks and the watermark.
func (w *indexWriter) finish(size uint64) error {
	if w.count == 0 {
		return nil
	}
	conn := w.ix.conn
	stmt, err := conn.Prepare(`INSERT INTO blocks (n, lo, hi, high, spine) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (n) DO UPDATE SET lo = min(lo, excluded.lo), hi = max(hi, excluded.hi), spine = spine + excluded.spine`)
	if err != nil {
		return err
	}
	for n, b := range w.times.blocks {
		for i, v := range [...]int64{int64(n), b.lo, b.hi, b.high, b.spine} {
			stmt.BindInt64(i+1, v)
		}
		if err := exec(stmt); err != nil {
			return err
		}
	}
	state, err := conn.Prepare("UPDATE state SET size = ?, last = ?, high = ?")
	if err != nil {
		return err
	}
	state.BindInt64(1, int64(size))
	last := attestlog.LeafHash(w.last)
	state.BindBytes(2, last[:])
	state.BindInt64(3, w.times.high)
	return exec(state)
}

// Reindex empties the search index and fills it again. progress, if not nil,
// is called with the number of entries done.
func (s *Store) Reindex(ctx context.Context, progress func(done, total uint64)) error {
	if s.writer == nil || s.cfg.NoIndex {
		return fmt.Errorf("sqlite: reindex: %w", attestlog.ErrReadOnly)
	}
	ix := s.index
	ix.end()
	<-ix.ended
	ix.stop, ix.end = context.WithCancel(context.Background())
	ix.ended = make(chan struct{})
	defer func() { go ix.run() }()
	err := func() (err error) {
		end, err := sqlitex.ImmediateTransaction(ix.conn)
		if err != nil {
			return err
		}
		defer end(&err)
		return ix.clear()
	}()
	for more := true; err == nil && more; {
		if more, err = ix.fill(ctx, true); err == nil && progress != nil {
			var tree attestlog.Tree
			if tree, err = s.Tree(ctx); err == nil {
				var size uint64
				size, err = ix.watermark(ctx)
				progress(size, tree.Size)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("sqlite: reindex: %w", err)
	}
	return nil
}
