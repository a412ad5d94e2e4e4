package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog"
)

const (
	mergeMany  = 16      // adjacent segments of a size that are merged …
	mergeFew   = 3       // … while nothing is appended
	mergeMost  = 4 << 20 // entries of the largest segment
	mergeRows  = 64      // rows of a segment that are read together
	copyBytes  = 1 << 20 // of rows that are written together
	knownSpans = 512     // segments whose spans are kept in memory
)

// A segment is the part of the index about the entries lo ≤ idx < hi.
type segment struct {
	id     int64
	lo, hi uint64
	span
}

// segments returns those of the current terms, by lo.
func (s *Store) segments(ctx context.Context, db queryer) ([]segment, error) {
	result, err := db.Query(ctx, s.sql("SELECT id, lo, hi, earliest, latest FROM @.segments WHERE terms = $1 ORDER BY lo"), attestlog.TermsVersion)
	if err != nil {
		return nil, err
	}
	var out []segment
	var seg segment
	_, err = pgx.ForEachRow(result, []any{&seg.id, &seg.lo, &seg.hi, &seg.earliest, &seg.latest}, func() error {
		out = append(out, seg)
		return nil
	})
	return out, err
}

// A segmentWriter writes a new segment within a transaction.
type segmentWriter struct {
	ctx  context.Context
	conn *pgconn.PgConn
	s    *Store
	id   int64
	kind int16
	run  runWriter
	rows copier
}

func (ix *index) newSegment(ctx context.Context, tx pgx.Tx, seg segment, sp spans) (*segmentWriter, error) {
	all := sp.all()
	w := &segmentWriter{ctx: ctx, conn: tx.Conn().PgConn(), s: ix.s}
	err := tx.QueryRow(ctx, ix.s.sql("INSERT INTO @.segments (lo, hi, earliest, latest, terms, spans) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id"),
		int64(seg.lo), int64(seg.hi), all.earliest, all.latest, attestlog.TermsVersion, sp.encode()).Scan(&w.id)
	w.run = runWriter{lo: seg.lo, emit: w.row}
	w.rows.reset()
	return w, err
}

// add adds a pair; they come sorted, by kind first.
func (w *segmentWriter) add(kind int16, p pair) error {
	if err := w.begin(kind); err != nil {
		return err
	}
	return w.run.add(p)
}

// begin ends the run of the kind before.
func (w *segmentWriter) begin(kind int16) error {
	if kind == w.kind {
		return nil
	}
	err := w.run.end()
	w.kind = kind
	return err
}

func (w *segmentWriter) addPiece(kind int16, g *groupPiece) error {
	if err := w.begin(kind); err != nil {
		return err
	}
	return w.run.addPiece(g)
}

func (w *segmentWriter) row(first pair, data []byte) error {
	w.rows.row(5)
	w.rows.int8(w.id)
	w.rows.int2(w.kind)
	w.rows.int8(first.a)
	w.rows.int8(int64(first.b))
	w.rows.bytes(data)
	if len(w.rows.buf) < copyBytes {
		return nil
	}
	return w.flush()
}

func (w *segmentWriter) flush() error {
	err := w.rows.send(w.ctx, w.conn, w.s.sql("COPY @.runs (segment, kind, a, b, data) FROM STDIN BINARY"))
	w.rows.reset()
	return err
}

func (w *segmentWriter) end() error {
	if err := w.run.end(); err != nil {
		return err
	}
	return w.flush()
}

// mergeAll merges segments until close.
func (ix *index) mergeAll() {
	for {
		select {
		case <-ix.merge:
		case <-ix.stop.Done():
			return
		}
		for more := true; more && ix.stop.Err() == nil; {
			var err error
			if more, err = ix.mergeSome(ix.stop); err != nil && ix.stop.Err() == nil {
				ix.s.cfg.Logger.Warn("attestlog: segments of the search index could not be merged; searching is slower until they are", "log", ix.s.cfg.Log, "err", err)
				ix.pause(indexRetry)
			}
		}
	}
}

// sizeClass grows by one for each eightfold of entries.
func sizeClass(entries uint64) int { return bits.Len64(entries/1024) / 3 }

// mergeable returns adjacent segments that are to be merged: at least least
// many, and balanced.
func mergeable(segs []segment, least int) []segment {
	for class := 0; class <= sizeClass(mergeMost); class++ {
		from := 0
		for i := 0; i <= len(segs); i++ {
			fits := i < len(segs) && sizeClass(segs[i].hi-segs[i].lo) <= class && (i == from || segs[i].lo == segs[i-1].hi && segs[i].hi-segs[from].lo <= mergeMost)
			if fits {
				continue
			}
			if i-from >= least && balanced(segs[from:i]) {
				return segs[from:i]
			}
			from = i
			if i < len(segs) && sizeClass(segs[i].hi-segs[i].lo) > class {
				from = i + 1
			}
		}
	}
	return nil
}

// balanced reports whether none of the segments is of a larger class than the
// others together. A large one is not written anew for a few small ones: each
// entry is merged a bounded number of times in each class.
func balanced(segs []segment) bool {
	var largest, all uint64
	for _, seg := range segs {
		largest = max(largest, seg.hi-seg.lo)
		all += seg.hi - seg.lo
	}
	return sizeClass(largest) <= sizeClass(all-largest)
}

// mergeSome merges segments once, and reports whether there was anything to.
func (ix *index) mergeSome(ctx context.Context) (more bool, err error) {
	least := mergeMany
	if ix.quiet.Load() {
		least = mergeFew
	}
	segs, err := ix.s.segments(ctx, ix.s.pool)
	if err != nil {
		return false, err
	}
	ix.merging.Store(mergeable(segs, mergeFew) != nil)
	if mergeable(segs, least) == nil {
		return false, nil
	}
	_, err = ix.locked(ctx, workMerge, func(tx pgx.Tx) error {
		segs, err := ix.s.segments(ctx, tx)
		if err != nil {
			return err
		}
		chosen := mergeable(segs, least)
		if chosen == nil {
			return nil
		}
		more = true
		return ix.mergeSegments(ctx, tx, chosen)
	})
	return more && err == nil, err
}

func (ix *index) mergeSegments(ctx context.Context, tx pgx.Tx, segs []segment) error {
	ids := make([]int64, len(segs))
	var sp spans
	for i, seg := range segs {
		ids[i] = seg.id
		part, err := ix.s.spansOf(ctx, tx, seg)
		if err != nil {
			return err
		}
		for n, v := range part {
			sp.add(segs[0].lo, (seg.lo/spanWidth+uint64(n))*spanWidth, v)
		}
	}
	w, err := ix.newSegment(ctx, tx, segment{lo: segs[0].lo, hi: segs[len(segs)-1].hi}, sp)
	if err != nil {
		return err
	}
	for kind := range int16(2) {
		if err := ix.mergeRuns(ctx, tx, segs, kind, w); err != nil {
			return err
		}
	}
	if err := w.end(); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, ix.s.sql("DELETE FROM @.runs WHERE segment = ANY($1)"), ids); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, ix.s.sql("DELETE FROM @.segments WHERE id = ANY($1)"), ids)
	return err
}

// mergeRuns writes the pairs of one kind of all segments in order.
func (ix *index) mergeRuns(ctx context.Context, tx pgx.Tx, segs []segment, kind int16, w *segmentWriter) error {
	readers := make([]*runReader, len(segs))
	for i, seg := range segs {
		readers[i] = &runReader{s: ix.s, db: tx, seg: seg, kind: kind}
	}
	for {
		var best *runReader
		for _, r := range readers {
			if err := r.load(ctx); err != nil {
				return err
			}
			if len(r.groups) > 0 && (best == nil || r.groups[0].first.a < best.groups[0].first.a) {
				best = r // of equal a the segment with the lower indexes
			}
		}
		if best == nil {
			return nil
		}
		a := best.groups[0].first.a
		for len(best.groups) > 0 && best.groups[0].first.a == a {
			if err := w.addPiece(kind, &best.groups[0]); err != nil {
				return err
			}
			if best.groups = best.groups[1:]; len(best.groups) == 0 {
				if err := best.load(ctx); err != nil {
					return err
				}
			}
		}
	}
}

// A runReader reads all pairs of a kind of a segment, as they stand.
type runReader struct {
	s      *Store
	db     queryer
	seg    segment
	kind   int16
	groups []groupPiece
	all    []groupPiece // groups, with those that were taken
	data   []byte       // of all
	last   *pair        // the key of the row read last
	ended  bool
}

// load sees to it that there are groups, unless there are no more. Groups taken
// before are overwritten.
func (r *runReader) load(ctx context.Context) error {
	if len(r.groups) > 0 || r.ended {
		return nil
	}
	args := []any{r.seg.id, r.kind, mergeRows}
	sql := "SELECT a, b, data FROM @.runs WHERE segment = $1 AND kind = $2 ORDER BY a, b LIMIT $3"
	if r.last != nil {
		sql = "SELECT a, b, data FROM @.runs WHERE segment = $1 AND kind = $2 AND (a, b) > ($4, $5) ORDER BY a, b LIMIT $3"
		args = append(args, r.last.a, int64(r.last.b))
	}
	result, err := r.db.Query(ctx, r.s.sql(sql), append([]any{pgx.QueryResultFormats{pgx.BinaryFormatCode}}, args...)...)
	if err != nil {
		return err
	}
	defer result.Close()
	r.all, r.data = r.all[:0], slices.Grow(r.data[:0], mergeRows*2*rowBytes)
	n := 0
	for result.Next() {
		n++
		v := result.RawValues()
		r.last = &pair{int64(binary.BigEndian.Uint64(v[0])), binary.BigEndian.Uint64(v[1])}
		at := len(r.data)
		r.data = append(r.data, v[2]...)
		if err := pieces(*r.last, r.seg.lo, r.data[at:len(r.data):len(r.data)], func(g *groupPiece) { r.all = append(r.all, *g) }); err != nil {
			return err
		}
	}
	r.groups, r.ended = r.all, n < mergeRows
	return result.Err()
}

// errGone is met when a segment was merged, or the index emptied, since the
// segments were listed: they are listed again.
var errGone = errors.New("the segment is gone")

// spansOf returns a segment's spans.
func (s *Store) spansOf(ctx context.Context, db queryer, seg segment) (spans, error) {
	ix := &s.index
	ix.spanMu.Lock()
	known, ok := ix.spans[seg.id]
	ix.spanMu.Unlock()
	if ok {
		return known, nil
	}
	var data []byte
	err := db.QueryRow(ctx, s.sql("SELECT spans FROM @.segments WHERE id = $1"), seg.id).Scan(&data)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	sp := decodeSpans(data, seg)
	if sp == nil {
		return nil, badIndex(seg.lo, "has a segment whose spans are not those of its entries")
	}
	ix.spanMu.Lock()
	if len(ix.spans) >= knownSpans {
		clear(ix.spans)
	}
	ix.spans[seg.id] = sp
	ix.spanMu.Unlock()
	return sp, nil
}

// rowsBefore returns up to limit rows of a segment's run, from the one that
// holds the last pair up to p on, downwards.
func (s *Store) rowsBefore(ctx context.Context, seg segment, kind int16, p pair, limit int) ([]runRow, error) {
	// The join tells a segment without such rows from one that is gone.
	result, err := s.pool.Query(ctx, s.sql(`SELECT r.a, r.b, r.data FROM @.segments s LEFT JOIN LATERAL (
		SELECT a, b, data FROM @.runs WHERE segment = $1 AND kind = $2 AND (a, b) <= ($3, $4) ORDER BY a DESC, b DESC LIMIT $5) r ON true
		WHERE s.id = $1`), seg.id, kind, p.a, int64(p.b), limit)
	if err != nil {
		return nil, s.clarify(ctx, err)
	}
	var out []runRow
	var a, b *int64
	var data []byte
	found := false
	_, err = pgx.ForEachRow(result, []any{&a, &b, &data}, func() error {
		if found = true; a != nil {
			out = append(out, runRow{pair{*a, uint64(*b)}, slices.Clone(data)})
		}
		return nil
	})
	if err == nil && !found {
		return nil, errGone
	}
	return out, s.clarify(ctx, err)
}

type runRow struct {
	first pair
	data  []byte
}
