package sqlite

import (
	"cmp"
	"context"
	"math"
	"slices"

	"zombiezen.com/go/sqlite"

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

// top is where the search begins: everything below it, by newer, is wanted.
func (q *search) top() at {
	if q.below != nil {
		return at{q.below.Time, q.below.Index}
	}
	return at{math.MaxInt64, math.MaxInt64}
}

// byTime emits entries newest first by time. The few entries that the index
// lacks are merged in.
func (q *search) byTime(ctx context.Context) error {
	tail, err := q.tailByTime(ctx)
	if err != nil {
		return err
	}
	merged := &merger{q: q, tail: tail}
	if q.mark > 0 {
		if q.match != "" {
			err = q.termsByTime(ctx, merged)
		} else {
			_, err = q.walkTimes(ctx, q.top(), merged, false)
		}
	}
	if err == nil {
		err = merged.rest(ctx)
	}
	return q.done(err)
}

// tailByTime returns the places of the entries behind the watermark.
func (q *search) tailByTime(ctx context.Context) ([]at, error) {
	var tail []at
	err := q.s.Scan(ctx, max(q.lo, q.mark), q.hi, func(r *attestlog.Record) error {
		t, ok := attestlog.LeafTime(r.Leaf)
		if p := (at{t, r.Index}); ok && q.wants(p) {
			tail = append(tail, p)
		}
		return nil
	})
	slices.SortFunc(tail, newer)
	return tail, err
}

// wants reports whether a place is within the bounds and below the cursor.
func (q *search) wants(p at) bool {
	return p.time >= q.plan.After && p.time < q.plan.Before && p.idx >= q.lo && p.idx < q.hi && newer(p, q.top()) > 0
}

// A merger emits places in order, with those of the tail in between.
type merger struct {
	q    *search
	tail []at
	ids  []uint64
}

// take emits the places, which come in order, after what lies before them.
func (m *merger) take(ctx context.Context, places []at) error {
	m.ids = m.ids[:0]
	for _, p := range places {
		for len(m.tail) > 0 && newer(m.tail[0], p) < 0 {
			m.ids = append(m.ids, m.tail[0].idx)
			m.tail = m.tail[1:]
		}
		m.ids = append(m.ids, p.idx)
	}
	return m.q.emitIDs(ctx, m.ids)
}

func (m *merger) rest(ctx context.Context) error {
	tail := m.tail
	m.tail = nil
	return m.take(ctx, tail)
}

// walkTimes emits the indexed entries below a place. With sparing set it stops
// once matches are rare, and returns where.
func (q *search) walkTimes(ctx context.Context, from at, m *merger, sparing bool) (at, error) {
	w, err := q.newWalker(ctx, from)
	if err != nil {
		return from, err
	}
	seen, hits := 0, 0
	for limit := firstIDs; ; limit = min(2*limit, mostIDs) {
		places, err := w.next(ctx, limit)
		if err != nil {
			return from, err
		}
		last := len(places) < limit
		from = w.from
		if sparing {
			seen += len(places)
			if places, err = q.withTerms(ctx, places); err != nil {
				return from, err
			}
			hits += len(places)
		}
		if err := m.take(ctx, places); err != nil {
			return from, err
		}
		if last {
			return at{math.MinInt64, 0}, nil
		}
		if sparing && seen > 1000 && hits*rarely < seen {
			return from, nil
		}
	}
}

// withTerms keeps the places that the index has for the terms. The entries of
// one page lie close together in most logs, so one range of row ids serves.
func (q *search) withTerms(ctx context.Context, places []at) ([]at, error) {
	if len(places) == 0 {
		return nil, nil
	}
	lo, hi := uint64(math.MaxUint64), uint64(0)
	for _, p := range places {
		lo, hi = min(lo, p.idx), max(hi, p.idx)
	}
	if hi-lo > 16*uint64(len(places)) {
		return places, nil // spread out: the entries themselves are compared
	}
	ids, err := q.termIDs(ctx, lo, hi+1, math.MaxInt32, true)
	if err != nil {
		return nil, err
	}
	kept := places[:0]
	for _, p := range places {
		if _, ok := slices.BinarySearch(ids, p.idx); ok {
			kept = append(kept, p)
		}
	}
	return kept, nil
}

// termsByTime emits the entries with the terms by time: few matches are
// sorted; frequent ones are met soon by walking through time; those in between
// are looked up block by block, the newest blocks first.
func (q *search) termsByTime(ctx context.Context, m *merger) error {
	hi := min(q.hi, q.mark)
	spans, err := q.s.index.summary(ctx, q.mark)
	if err != nil {
		return err
	}
	few := collectIDs
	if nearlyOrdered(spans) {
		few = collectFew
	}
	ids, err := q.termIDs(ctx, q.lo, hi, few+1, false)
	if err != nil {
		return err
	}
	if len(ids) <= few {
		places, err := q.places(ctx, ids)
		if err != nil {
			return err
		}
		slices.SortFunc(places, newer)
		return m.take(ctx, places)
	}
	from := q.top()
	if hi-ids[few] < rarely*uint64(len(ids)) {
		if from, err = q.walkTimes(ctx, from, m, true); err != nil || from.time == math.MinInt64 {
			return err
		}
	}
	return q.blocksByTime(ctx, spans, from, hi, m)
}

// nearlyOrdered reports whether blocks overlap in time with few others, so that
// the newest matches are in the newest blocks.
func nearlyOrdered(spans []block) bool {
	const overlap = 8
	lo, hi, sum := int64(math.MaxInt64), int64(math.MinInt64), 0.0
	for i := range spans {
		lo, hi = min(lo, spans[i].lo), max(hi, spans[i].hi)
		sum += float64(spans[i].hi - spans[i].lo)
	}
	return sum <= overlap*(float64(hi)-float64(lo))
}

// places reads the times of entries, dropping those that are not wanted.
func (q *search) places(ctx context.Context, ids []uint64) ([]at, error) {
	places := make([]at, 0, len(ids))
	err := q.s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT leaf FROM entries WHERE idx = ?")
		if err != nil {
			return err
		}
		var leaf []byte
		for _, id := range ids {
			stmt.BindInt64(1, int64(id))
			err := rows(stmt, func() error {
				leaf = readInto(stmt, 0, leaf)
				if t, ok := attestlog.LeafTime(leaf); ok && q.wants(at{t, id}) {
					places = append(places, at{t, id})
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return places, err
}

// blocksByTime looks the terms up in blocks, those with the newest entries
// first, and emits a match once no block that is left can hold a newer one.
func (q *search) blocksByTime(ctx context.Context, spans []block, from at, hi uint64, m *merger) error {
	order := make([]int, 0, len(spans))
	for n := range spans {
		if uint64(n+1)*blockSize > q.lo && uint64(n)*blockSize < hi && spans[n].lo <= from.time && spans[n].hi >= q.plan.After && spans[n].lo < q.plan.Before {
			order = append(order, n)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(spans[b].hi, spans[a].hi) })
	done := make([]bool, len(spans))
	var found []at
	width := 1
	for i, n := range order {
		if done[n] {
			continue
		}
		first := n
		for first > 0 && n-first < width && !done[first-1] {
			first--
		}
		width = min(2*width, 64)
		for k := first; k <= n; k++ {
			done[k] = true
		}
		ids, err := q.termIDs(ctx, max(q.lo, uint64(first)*blockSize), min(hi, uint64(n+1)*blockSize), math.MaxInt32, true)
		if err != nil {
			return err
		}
		places, err := q.places(ctx, ids)
		if err != nil {
			return err
		}
		for _, p := range places {
			if newer(p, from) > 0 {
				found = append(found, p)
			}
		}
		slices.SortFunc(found, newer)
		left := int64(math.MinInt64)
		for _, k := range order[i+1:] {
			if !done[k] {
				left = spans[k].hi
				break
			}
		}
		ready := 0
		for ready < len(found) && found[ready].time > left {
			ready++
		}
		if err := m.take(ctx, found[:ready]); err != nil {
			return err
		}
		found = found[ready:]
	}
	return m.take(ctx, found)
}
