package inverted

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/attestlog/attestlog"
)

// at is an entry's place in the order by time.
type at struct {
	time int64
	idx  uint64
}

// newer sorts by time, then by index, newest first.
func newer(a, b at) int {
	if c := cmp.Compare(b.time, a.time); c != 0 {
		return c
	}
	return cmp.Compare(b.idx, a.idx)
}

// wants reports whether a place is within the bounds and still to come.
func (q *search) wants(p at) bool {
	return p.time >= q.plan.After && p.time < q.plan.Before && p.idx >= q.lo && p.idx < q.hi && newer(p, q.below) > 0
}

// byTime emits entries newest first by time: a merge of the pieces, each of
// which is opened once it may hold what comes next.
func (q *search) byTime(ctx context.Context, segs []Segment) error {
	var lanes []*lane
	for _, p := range q.pieces(segs) {
		l := &lane{q: q, p: p, latest: math.MaxInt64, from: q.below}
		if p.seg != nil {
			l.latest = p.seg.Latest
			if p.seg.Latest < q.plan.After || p.seg.Earliest >= q.plan.Before {
				continue
			}
		}
		lanes = append(lanes, l)
	}
	slices.SortStableFunc(lanes, func(a, b *lane) int { return cmp.Compare(b.latest, a.latest) })
	var places []at
	flush := func() error {
		ids := make([]uint64, len(places))
		for i, p := range places {
			ids[i] = p.idx
		}
		err := q.emitIDs(ctx, ids)
		if err == nil && len(places) > 0 {
			q.below = places[len(places)-1]
		}
		places = places[:0]
		return err
	}
	for {
		best, err := newest(ctx, lanes)
		if err != nil {
			return err
		}
		if best == nil {
			return flush()
		}
		places = append(places, best.places[0])
		best.places = best.places[1:]
		if len(places) == q.group {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

// newest returns the lane whose next place is the newest of all, or nil at the
// end. Lanes are sorted by their latest time.
func newest(ctx context.Context, lanes []*lane) (*lane, error) {
	var best *lane
	for _, l := range lanes {
		if best != nil && !l.opened && best.places[0].time > l.latest {
			return best, nil // nor can the lanes behind it
		}
		if err := l.load(ctx); err != nil {
			return nil, err
		}
		if len(l.places) > 0 && (best == nil || newer(l.places[0], best.places[0]) < 0) {
			best = l
		}
	}
	return best, nil
}

// A lane gives the matches of one piece by time. It walks through the times and
// asks which entries have the terms; where few have, it takes the matches, and
// reads their times span by span, the latest spans first.
type lane struct {
	q      *search
	p      piece
	latest int64 // no time in it is later
	from   at    // what is still to be looked at lies below
	places []at  // matches, newest first
	opened bool
	ended  bool

	matches      set
	times        *times
	walked, hits int

	spans []spanOf // that are still to be looked into, the latest first
	found []at     // matches that may still come behind those of other spans
}

type spanOf struct {
	latest int64
	ids    []uint64
}

// load sees to it that the lane knows its next match.
func (l *lane) load(ctx context.Context) error {
	if !l.opened && l.p.seg != nil {
		l.matches = l.q.ix.setOf(*l.p.seg, l.q.plan.Terms)
		top := l.from
		if l.q.plan.Before <= top.time {
			top = at{l.q.plan.Before, 0}
		}
		l.times = l.q.ix.timesBelow(*l.p.seg, top)
	}
	l.opened = true
	for len(l.places) == 0 && !l.ended {
		var err error
		switch {
		case l.p.seg == nil:
			err = l.scan(ctx)
		case l.spans != nil:
			err = l.nextSpan(ctx)
		case l.walked >= walkSparse && l.hits*walkDense < l.walked:
			err = l.gather(ctx)
		default:
			err = l.walk(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// scan reads a piece that the index lacks, for the newest of its places that are
// still to come: a log without an index is read again for every scanPlaces.
func (l *lane) scan(ctx context.Context) error {
	var places []at
	l.ended = true
	keepNewest := func() {
		slices.SortFunc(places, newer)
		if len(places) > scanPlaces {
			places, l.ended = places[:scanPlaces], false
		}
	}
	err := l.q.ix.entries.Scan(ctx, l.p.from, l.p.to, func(r *attestlog.RawEntry) error {
		t, ok := attestlog.LeafTime(r.Leaf)
		if p := (at{t, r.Index}); ok && l.q.wants(p) && newer(p, l.from) > 0 {
			if places = append(places, p); len(places) == 2*scanPlaces {
				keepNewest()
			}
		}
		return nil
	})
	keepNewest()
	if l.places = places; len(places) > 0 {
		l.from = places[len(places)-1]
	}
	return err
}

// walk goes on by time until it meets a match, or has gone on for long.
func (l *lane) walk(ctx context.Context) error {
	for range walkSparse {
		p, ok, err := l.times.take(ctx)
		if err != nil {
			return err
		}
		if !ok || p.time < l.q.plan.After {
			l.ended = true
			return nil
		}
		l.from = p
		if p.idx < l.p.from || p.idx >= l.p.to {
			continue
		}
		l.walked++
		y, ok, err := l.matches.upTo(ctx, p.idx)
		if err != nil {
			return err
		}
		if ok && y == p.idx {
			l.hits++
			l.places = append(l.places, p)
			return nil
		}
	}
	return nil
}

// gather takes the matches in, unless they are many: then walking pays soon.
func (l *lane) gather(ctx context.Context) error {
	sp, err := l.q.ix.spansOf(ctx, *l.p.seg)
	if err != nil {
		return err
	}
	l.spans = []spanOf{}
	n := 0
	for x := l.p.to; x > l.p.from; n++ {
		y, ok, err := l.matches.upTo(ctx, x-1)
		if err != nil {
			return err
		}
		if !ok || y < l.p.from {
			break
		}
		if n == fewMatches {
			l.spans, l.walked = nil, math.MinInt32
			return nil
		}
		x = y
		v := sp[y/spanWidth-l.p.seg.Lo/spanWidth]
		if v.Earliest > l.from.time || v.Latest < l.q.plan.After || v.Earliest >= l.q.plan.Before {
			continue
		}
		if last := len(l.spans) - 1; last >= 0 && l.spans[last].ids[0]/spanWidth == y/spanWidth {
			l.spans[last].ids = append(l.spans[last].ids, y)
		} else {
			l.spans = append(l.spans, spanOf{v.Latest, []uint64{y}})
		}
	}
	slices.SortStableFunc(l.spans, func(a, b spanOf) int { return cmp.Compare(b.latest, a.latest) })
	return nil
}

// nextSpan reads the times of the matches in the next spans. A match comes once
// no span that is left can hold a newer one.
func (l *lane) nextSpan(ctx context.Context) error {
	var ids []uint64
	for len(l.spans) > 0 && len(ids) < spanMatches {
		ids = append(ids, l.spans[0].ids...)
		l.spans = l.spans[1:]
	}
	if len(ids) > 0 {
		places, err := l.q.ix.timesOf(ctx, ids)
		if err != nil {
			return err
		}
		for _, p := range places {
			if l.q.wants(p) && newer(p, l.from) > 0 {
				l.found = append(l.found, p)
			}
		}
		slices.SortFunc(l.found, newer)
	}
	ready := len(l.found)
	if len(l.spans) > 0 {
		ready = 0
		for ready < len(l.found) && l.found[ready].time > l.spans[0].latest {
			ready++
		}
	}
	l.places, l.found = l.found[:ready:ready], l.found[ready:]
	l.ended = len(l.spans) == 0 && len(l.found) == 0
	return nil
}

// timesOf returns the places of entries.
func (ix *Index) timesOf(ctx context.Context, ids []uint64) ([]at, error) {
	out := make([]at, 0, len(ids))
	for group := range slices.Chunk(ids, spanMatches) {
		err := ix.entries.Leaves(ctx, group, func(index uint64, leaf []byte) error {
			if t, ok := attestlog.LeafTime(leaf); ok {
				out = append(out, at{t, index})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
