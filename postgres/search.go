package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/attestlog/attestlog"
)

const (
	emitFirst   = 16    // entries that one query reads at first …
	emitMost    = 64    // … and at most
	fewTimes    = 4_096 // entries of a time range that are looked at one by one
	walkSparse  = 4_096 // entries by time after which walking has to have paid …
	walkDense   = 100   // … with a match for every so many
	fewMatches  = 20_000
	scanBytes   = 4 << 20 // of entries that are read together, about
	spanMatches = 256     // matches whose times are read together
)

// errBehind ends a search on a replica that has not received what another
// connection, to another server then, told of.
var errBehind = fmt.Errorf("%w: the reader's connections are to servers of which one is behind; ask again", attestlog.ErrUnavailable)

// errDone ends a search whose caller wants no more.
var errDone = errors.New("done")

// A search is one Search call. Its bounds move with what was emitted, so that
// it can go on over other segments at any time.
type search struct {
	s        *Store
	plan     attestlog.Plan
	lo, hi   uint64 // lo ≤ index < hi is still to come, by index
	below    at     // what is still to come, by time
	fn       func(*attestlog.Record) (bool, error)
	finished bool
	group    int // entries that the next query reads
}

// Search calls fn with the entries that plan selects, and perhaps others. The
// entries that the index lacks are read themselves. No connection is held
// while fn runs.
func (s *Store) Search(ctx context.Context, plan attestlog.Plan, below *attestlog.Position, fn func(*attestlog.Record) (bool, error)) (uint64, error) {
	if s.replica != nil {
		began := false
		size, err := s.replica.Search(ctx, plan, below, func(r *attestlog.Record) (bool, error) { began = true; return fn(r) })
		if !errors.Is(err, errBehind) || began {
			return size, err
		}
	}
	tree, err := s.Tree(ctx)
	if err != nil {
		return 0, err
	}
	if s.isReplica && below != nil && plan.Order == attestlog.ByIndex && below.Index > tree.Size {
		return 0, errBehind // the page before came from elsewhere
	}
	q := &search{s: s, plan: plan, lo: plan.From, hi: min(plan.To, tree.Size), below: at{math.MaxInt64, math.MaxInt64}, fn: fn, group: emitFirst}
	if below != nil {
		if plan.Order == attestlog.ByIndex {
			q.hi = min(q.hi, below.Index)
		} else {
			q.below = at{below.Time, min(below.Index, math.MaxInt64)}
		}
	}
	if plan.After >= plan.Before {
		return tree.Size, nil
	}
	for {
		err := q.run(ctx)
		switch {
		case q.finished:
			return tree.Size, nil
		case !errors.Is(err, errGone):
			return tree.Size, err
		}
	}
}

// run searches the segments as they are now.
func (q *search) run(ctx context.Context) error {
	if q.lo >= q.hi {
		return nil
	}
	var segs []segment
	if !q.s.cfg.NoIndex && (q.plan.Terms != nil || q.plan.TimeBound() || q.plan.Order == attestlog.ByTime) {
		var err error
		if segs, err = q.s.segments(ctx, q.s.pool); err != nil {
			return q.s.clarify(ctx, err)
		}
	}
	if q.plan.Order == attestlog.ByTime {
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
	seg      *segment
}

// pieces cuts what is left to search along the segments, in order.
func (q *search) pieces(segs []segment) []piece {
	var out []piece
	at := q.lo
	for i := range segs {
		seg := &segs[i]
		from, to := max(at, seg.lo), min(q.hi, seg.hi)
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
	case p.seg.latest < q.plan.After || p.seg.earliest >= q.plan.Before:
		q.passed(p.from, p.to)
		return nil
	}
	parts := []piece{p}
	matches := q.s.setOf(*p.seg, q.plan.Terms)
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
	sp, err := q.s.spansOf(ctx, q.s.pool, *p.seg)
	if err != nil {
		return nil, err
	}
	var out []piece
	for n := p.from / spanWidth; n*spanWidth < p.to; n++ {
		if v := sp[n-p.seg.lo/spanWidth]; v.latest < q.plan.After || v.earliest >= q.plan.Before {
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
func (q *search) fewInTime(ctx context.Context, parts []piece, seg segment) (list, error) {
	entries := uint64(0)
	for _, p := range parts {
		entries += p.to - p.from
	}
	if entries <= fewTimes {
		return nil, nil
	}
	ids := list{}
	for t := q.s.timesBelow(seg, at{q.plan.Before, 0}); ; {
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
		records := make([]attestlog.Record, 0, now.to-now.from)
		bytes := 0
		err := q.s.Scan(ctx, now.from, now.to, func(rec *attestlog.Record) error {
			records = append(records, rec.Clone())
			bytes += len(rec.Leaf)
			for i := range rec.Disclosures {
				bytes += len(rec.Disclosures[i].Value)
			}
			return nil
		})
		if step = min(2*step, chunk); bytes > scanBytes {
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
func (q *search) emit(r *attestlog.Record) error {
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
		records, err := q.s.recordsOf(ctx, group)
		if err != nil {
			return err
		}
		for _, id := range group {
			if r, ok := records[id]; ok {
				if err := q.emit(&r); err != nil {
					return err
				}
			} else if q.s.isReplica { // otherwise verify tells
				return errBehind
			}
			if q.plan.Order == attestlog.ByIndex {
				q.passed(id, id+1)
			}
		}
	}
	return nil
}

// recordsOf reads entries by index.
func (s *Store) recordsOf(ctx context.Context, ids []uint64) (map[uint64]attestlog.Record, error) {
	out := make(map[uint64]attestlog.Record, len(ids))
	for part, ids := range byPartition(ids) {
		_, err := s.records(ctx, s.pool, part, "idx = ANY($1)", func(r *attestlog.Record) error {
			out[r.Index] = r.Clone()
			return nil
		}, ids)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func byPartition(ids []uint64) map[uint64][]int64 {
	out := map[uint64][]int64{}
	for _, id := range ids {
		out[id/partWidth] = append(out[id/partWidth], int64(id))
	}
	return out
}
