package inverted

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

const (
	emitFirst   = 16    // entries that one query reads at first …
	emitMost    = 64    // … and at most
	fewTimes    = 4_096 // entries of a time range that are looked at one by one
	walkSparse  = 4_096 // entries by time after which walking has to have paid …
	walkDense   = 100   // … with a match for every so many
	fewMatches  = 20_000
	scanMost    = 2_048   // entries that are read together …
	scanBytes   = 4 << 20 // … and about how many bytes of them
	spanMatches = 256     // matches whose times are read together
	scanPlaces  = 1 << 20 // places by time of entries that the index lacks, in memory
)

// errDone ends a search whose caller wants no more.
var errDone = errors.New("done")

// A search is one Search call. Its bounds move with what was emitted, so that
// it can go on over other segments at any time.
type search struct {
	ix       *Index
	plan     query.Plan
	lo, hi   uint64 // lo ≤ index < hi is still to come, by index
	below    at     // what is still to come, by time
	fn       func(*attestlog.RawEntry) (bool, error)
	finished bool
	group    int // entries that the next query reads
}

// Search is attestlog.Store's, over a log of size entries. The entries that the
// index lacks are read themselves. No connection is held while fn runs.
func (ix *Index) Search(ctx context.Context, size uint64, plan query.Plan, below *query.Position, fn func(*attestlog.RawEntry) (bool, error)) error {
	q := &search{ix: ix, plan: plan, lo: plan.From, hi: min(plan.To, size), below: at{math.MaxInt64, math.MaxInt64}, fn: fn, group: emitFirst}
	if below != nil {
		if plan.Order == query.ByIndex {
			q.hi = min(q.hi, below.Index)
		} else {
			q.below = at{below.Time, min(below.Index, math.MaxInt64)}
		}
	}
	if plan.After >= plan.Before {
		return nil
	}
	for {
		err := q.run(ctx)
		switch {
		case q.finished:
			return nil
		case !errors.Is(err, ErrGone):
			return err
		}
	}
}

// run searches the segments as they are now.
func (q *search) run(ctx context.Context) error {
	if q.lo >= q.hi {
		return nil
	}
	var segs []Segment
	if q.plan.Terms != nil || q.plan.TimeBound() || q.plan.Order == query.ByTime {
		var err error
		if segs, err = q.ix.reader.Segments(ctx); err != nil {
			return err
		}
	}
	if q.plan.Order == query.ByTime {
		return q.byTime(ctx, segs)
	}
	pieces := q.pieces(segs)
	if !q.plan.Ascending {
		slices.Reverse(pieces)
	}
	for _, p := range pieces {
		if err := q.visit(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// A piece is a range of entries within one segment, or, where seg is nil, of
// entries that the index lacks.
type piece struct {
	from, to uint64
	seg      *Segment
}

// pieces cuts what is left to search along the segments, in order.
func (q *search) pieces(segs []Segment) []piece {
	var out []piece
	at := q.lo
	for i := range segs {
		seg := &segs[i]
		from, to := max(at, seg.Lo), min(q.hi, seg.Hi)
		if from >= to {
			continue
		}
		if at < from {
			out = append(out, piece{at, from, nil})
		}
		out = append(out, piece{from, to, seg})
		at = to
	}
	if at < q.hi {
		out = append(out, piece{at, q.hi, nil})
	}
	return out
}

// visit emits the matches of a piece, by index.
func (q *search) visit(ctx context.Context, p piece) error {
	switch {
	case p.seg == nil:
		return q.scan(ctx, p)
	case p.seg.Latest < q.plan.After || p.seg.Earliest >= q.plan.Before:
		q.passed(p.from, p.to)
		return nil
	}
	parts := []piece{p}
	matches := q.ix.setOf(*p.seg, q.plan.Terms)
	if q.plan.TimeBound() {
		var err error
		if parts, err = q.stretches(ctx, p); err != nil {
			return err
		}
		if ids, err := q.fewInTime(ctx, parts, *p.seg); err != nil {
			return err
		} else if ids != nil {
			matches = conjunction{ids, matches}
		}
	}
	if q.plan.Ascending {
		for _, part := range parts {
			if err := q.up(ctx, part, matches); err != nil {
				return err
			}
		}
	} else {
		for _, part := range slices.Backward(parts) {
			if err := q.down(ctx, part, matches); err != nil {
				return err
			}
		}
	}
	q.passed(p.from, p.to)
	return nil
}

// passed notes that nothing is left to emit in a range at the search's front.
func (q *search) passed(from, to uint64) {
	if q.plan.Ascending {
		q.lo = max(q.lo, to)
	} else {
		q.hi = min(q.hi, from)
	}
}

// down emits the matches of a part, newest first.
func (q *search) down(ctx context.Context, p piece, matches set) error {
	var ids []uint64
	for x := p.to; x > p.from; {
		y, ok, err := matches.upTo(ctx, x-1)
		if err != nil {
			return err
		}
		if !ok || y < p.from {
			break
		}
		ids, x = append(ids, y), y
		if len(ids) == q.group {
			if err := q.emitIDs(ctx, ids); err != nil {
				return err
			}
			ids = ids[:0]
		}
	}
	return q.emitIDs(ctx, ids)
}

// up emits the matches of a part, oldest first.
func (q *search) up(ctx context.Context, p piece, matches set) error {
	const window = 1 << 16
	for from := p.from; from < p.to; from = min(p.to, from+window) {
		var ids []uint64
		for x := min(p.to, from+window); x > from; {
			y, ok, err := matches.upTo(ctx, x-1)
			if err != nil {
				return err
			}
			if !ok || y < from {
				break
			}
			ids, x = append(ids, y), y
		}
		slices.Reverse(ids)
		if err := q.emitIDs(ctx, ids); err != nil {
			return err
		}
	}
	return nil
}

// stretches returns the parts of a piece that may hold an entry within the time
// bounds, in order.
func (q *search) stretches(ctx context.Context, p piece) ([]piece, error) {
	sp, err := q.ix.spansOf(ctx, *p.seg)
	if err != nil {
		return nil, err
	}
	var out []piece
	for n := p.from / spanWidth; n*spanWidth < p.to; n++ {
		if v := sp[n-p.seg.Lo/spanWidth]; v.Latest < q.plan.After || v.Earliest >= q.plan.Before {
			continue
		}
		from, to := max(p.from, n*spanWidth), min(p.to, (n+1)*spanWidth)
		if last := len(out) - 1; last >= 0 && out[last].to == from {
			out[last].to = to
		} else {
			out = append(out, piece{from, to, p.seg})
		}
	}
	return out, nil
}

// fewInTime returns the entries of a segment within the time bounds, if they
// are few and the parts that may hold them are not.
func (q *search) fewInTime(ctx context.Context, parts []piece, seg Segment) (list, error) {
	entries := uint64(0)
	for _, p := range parts {
		entries += p.to - p.from
	}
	if entries <= fewTimes {
		return nil, nil
	}
	ids := list{}
	for t := q.ix.timesBelow(seg, at{q.plan.Before, 0}); ; {
		p, ok, err := t.take(ctx)
		if err != nil {
			return nil, err
		}
		if !ok || p.time < q.plan.After {
			slices.Sort(ids)
			return ids, nil
		}
		if len(ids) == fewTimes {
			return nil, nil
		}
		ids = append(ids, p.idx)
	}
}

// scan emits the entries of a piece.
func (q *search) scan(ctx context.Context, p piece) error {
	for step := uint64(emitMost); p.from < p.to; {
		now := piece{max(p.from, p.to-min(p.to, step)), p.to, nil}
		if q.plan.Ascending {
			now = piece{p.from, min(p.to, p.from+step), nil}
		}
		records := make([]attestlog.RawEntry, 0, now.to-now.from)
		bytes := 0
		err := q.ix.entries.Scan(ctx, now.from, now.to, func(rec *attestlog.RawEntry) error {
			records = append(records, rec.Clone())
			bytes += len(rec.Leaf)
			for i := range rec.Disclosures {
				bytes += len(rec.Disclosures[i].Value)
			}
			return nil
		})
		if step = min(2*step, scanMost); bytes > scanBytes {
			step = max(step/8, 1)
		}
		if err != nil {
			return err
		}
		if !q.plan.Ascending {
			slices.Reverse(records)
		}
		for i := range records {
			if err := q.emit(&records[i]); err != nil {
				return err
			}
		}
		if q.plan.Ascending {
			p.from = now.to
		} else {
			p.to = now.from
		}
		q.passed(now.from, now.to)
	}
	return nil
}

// emit gives an entry to the caller unless its time is out of bounds.
func (q *search) emit(r *attestlog.RawEntry) error {
	if q.plan.TimeBound() {
		if at, ok := attestlog.LeafTime(r.Leaf); ok && (at < q.plan.After || at >= q.plan.Before) {
			return nil
		}
	}
	more, err := q.fn(r)
	if err == nil && !more {
		q.finished = true
		err = errDone
	}
	return err
}

// emitIDs emits entries in the order of the list.
func (q *search) emitIDs(ctx context.Context, ids []uint64) error {
	for len(ids) > 0 {
		group := ids[:min(len(ids), q.group)]
		ids = ids[len(group):]
		q.group = min(2*q.group, emitMost)
		records := make(map[uint64]attestlog.RawEntry, len(group))
		err := q.ix.entries.Records(ctx, group, func(r *attestlog.RawEntry) error {
			records[r.Index] = r.Clone()
			return nil
		})
		if err != nil {
			return err
		}
		for _, id := range group {
			if r, ok := records[id]; ok { // if not, verify tells
				if err := q.emit(&r); err != nil {
					return err
				}
			}
			if q.plan.Order == query.ByIndex {
				q.passed(id, id+1)
			}
		}
	}
	return nil
}
