package inverted

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/attestlog/attestlog"
)

const (
	// A walk by time has to pay: after walkLong entries, at least one of every
	// walkPerHit has to be a match. Otherwise the matches are gathered, unless
	// there are more than maxGathered, with which walking will pay soon.
	walkLong    = 4_096
	walkPerHit  = 100
	maxGathered = 20_000

	readTimes = 256     // gathered matches whose times are read together
	maxPlaces = 1 << 20 // places of unindexed entries that are kept in memory
)

// A place is where an entry is in the order by time.
type place struct {
	time  int64 // in nanoseconds since 1970
	index uint64
}

// maxIndex is the greatest index that a database can store.
const maxIndex = math.MaxInt64

// newestFirst orders places by time and then by index, the newest first.
func newestFirst(p, q place) int {
	return comparePairs(Pair{q.time, q.index}, Pair{p.time, p.index})
}

// newerThan reports whether p is before q in the order newest first.
func (p place) newerThan(q place) bool { return newestFirst(p, q) < 0 }

// wants reports whether a place is within the plan's bounds and was not emitted
// yet.
func (s *search) wants(p place) bool {
	if p.time < s.plan.After || p.time >= s.plan.Before {
		return false
	}
	if p.index < s.lo || p.index >= s.hi {
		return false
	}
	return s.below.newerThan(p)
}

// byTime emits the matches newest first, by time: it merges the timelines of the
// pieces.
func (s *search) byTime(ctx context.Context, segs []Segment) error {
	timelines := s.timelines(segs)
	var places []place
	for {
		t, err := newest(ctx, timelines)
		if err != nil {
			return err
		}
		if t == nil {
			return s.emitPlaces(ctx, places)
		}

		places = append(places, t.matches[0])
		t.matches = t.matches[1:]
		if len(places) < s.group {
			continue
		}

		if err := s.emitPlaces(ctx, places); err != nil {
			return err
		}
		places = places[:0]
	}
}

// emitPlaces emits the entries at these places, and moves the bound past them.
func (s *search) emitPlaces(ctx context.Context, places []place) error {
	if len(places) == 0 {
		return nil
	}

	indexes := make([]uint64, len(places))
	for i, p := range places {
		indexes[i] = p.index
	}
	if err := s.emitEntries(ctx, indexes, places); err != nil {
		return err
	}
	s.below = places[len(places)-1]
	return nil
}

// A timeline gives the matches of one piece by time, the newest first.
//
// The unindexed entries are read and sorted. In a segment, the timeline walks
// down the run of times and asks which of the entries have the terms. If few
// have them, it gathers the matches instead, and reads their times from the log,
// those of the latest spans first.
type timeline struct {
	search *search
	piece  piece
	latest int64 // no entry has a later time

	opened  bool    // it was looked into
	matches []place // that were found and are next, newest first
	below   place   // the places above it, and it, were looked at
	ended   bool    // no matches are to be found any more

	// In a segment.
	set    set // the entries that have the terms
	walk   *timeWalk
	walked int  // entries of the piece that the walk came by
	hits   int  // how many of them were matches
	dense  bool // the matches are too many to gather

	gathered bool       // the walk has ended, and these are set:
	spans    []spanHits // whose matches' times were not read yet, the latest first
	found    []place    // the other matches, newest first
}

// spanHits are the matches of one span.
type spanHits struct {
	latest  int64
	indexes []uint64
}

// timelines returns the timelines that may have matches, the latest first.
func (s *search) timelines(segs []Segment) []*timeline {
	var out []*timeline
	for _, p := range s.pieces(segs) {
		t := &timeline{search: s, piece: p, latest: math.MaxInt64, below: s.below}
		if p.seg != nil {
			if !p.seg.overlaps(s.plan.After, s.plan.Before) {
				continue
			}
			t.latest = p.seg.Latest
		}
		out = append(out, t)
	}
	slices.SortStableFunc(out, func(t, u *timeline) int { return cmp.Compare(u.latest, t.latest) })
	return out
}

// newest returns the timeline whose next match is the newest of all, or nil if
// there are no more matches. The timelines are sorted by their latest time.
func newest(ctx context.Context, timelines []*timeline) (*timeline, error) {
	var best *timeline
	for _, t := range timelines {
		// Timelines that were not opened yet cannot have a newer match than
		// their latest time, and nor can those after them.
		if best != nil && !t.opened && best.matches[0].time > t.latest {
			break
		}

		if err := t.load(ctx); err != nil {
			return nil, err
		}
		if len(t.matches) == 0 {
			continue
		}
		if best == nil || t.matches[0].newerThan(best.matches[0]) {
			best = t
		}
	}
	return best, nil
}

// load finds the next match, unless it is known, or the timeline has ended.
func (t *timeline) load(ctx context.Context) error {
	if !t.opened {
		t.open()
	}

	for len(t.matches) == 0 && !t.ended {
		var err error
		switch {
		case t.piece.seg == nil:
			err = t.scan(ctx)
		case t.gathered:
			err = t.readSpans(ctx)
		case t.sparse():
			err = t.gather(ctx)
		default:
			err = t.walkOn(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *timeline) open() {
	t.opened = true
	if t.piece.seg == nil {
		return
	}

	plan := &t.search.plan
	t.set = t.search.ix.setOf(*t.piece.seg, plan.Terms)
	top := t.below
	if plan.Before <= top.time {
		top = place{plan.Before, 0}
	}
	t.walk = t.search.ix.walkTimes(*t.piece.seg, top)
}

// scan reads a piece that is unindexed, and keeps the newest places that are
// next. A log without an index is read once for every maxPlaces matches.
func (t *timeline) scan(ctx context.Context) error {
	var places []place
	complete := true
	dropOldest := func() {
		slices.SortFunc(places, newestFirst)
		if len(places) > maxPlaces {
			places = places[:maxPlaces]
			complete = false
		}
	}

	// Terms are not looked at: the log compares what is emitted with the query
	// anyway. An entry without a time, which is damaged, is put next to the one before it.
	last := t.search.plan.After
	err := attestlog.ScanPast(ctx, t.search.ix.log.Scan, t.piece.from, t.piece.to, func(r *attestlog.RawEntry) error {
		when, ok := attestlog.LeafTime(r.Leaf)
		if !ok {
			when = last
		}
		last = when
		p := place{when, r.Index}
		if !t.search.wants(p) || !t.below.newerThan(p) {
			return nil
		}
		places = append(places, p)
		if len(places) == 2*maxPlaces { // not sooner, or each place would be sorted often
			dropOldest()
		}
		return nil
	})
	if err != nil {
		return err
	}

	// The next scan begins below the oldest place that is kept, and so finds
	// those that were dropped.
	dropOldest()
	t.matches = places
	t.ended = complete
	if len(places) > 0 {
		t.below = places[len(places)-1]
	}
	return nil
}

// sparse reports whether the walk has found too few matches to pay.
func (t *timeline) sparse() bool {
	return !t.dense && t.walked >= walkLong && t.hits*walkPerHit < t.walked
}

// walkOn goes on by time until it finds a match, or has gone on for so long that
// it is worth asking again whether the walk pays.
func (t *timeline) walkOn(ctx context.Context) error {
	for range walkLong {
		p, ok, err := t.walk.next(ctx)
		if err != nil {
			return err
		}
		if !ok || p.time < t.search.plan.After {
			t.ended = true
			return nil
		}
		t.below = p
		if p.index < t.piece.from || p.index >= t.piece.to {
			continue // the piece may be a part of the segment
		}

		// An entry is in the set if the greatest member up to it is the entry
		// itself.
		t.walked++
		index, found, err := t.set.upTo(ctx, p.index)
		if err != nil {
			return err
		}
		if found && index == p.index {
			t.hits++
			t.matches = append(t.matches, p)
			return nil
		}
	}
	return nil
}

// gather collects the matches by span, unless there are too many.
func (t *timeline) gather(ctx context.Context) error {
	all, err := t.search.ix.spansOf(ctx, *t.piece.seg)
	if err != nil {
		return err
	}

	var spans []spanHits
	n := 0
	for index, err := range members(ctx, t.set, t.piece.from, t.piece.to) {
		if err != nil {
			return err
		}
		if n == maxGathered {
			t.dense = true
			return nil
		}
		n++

		// The walk has come by all entries of a span that begins after t.below.
		span := all.of(*t.piece.seg, index)
		passed := span.Earliest > t.below.time
		if passed || !span.overlaps(t.search.plan.After, t.search.plan.Before) {
			continue
		}

		// The indexes descend, so those of one span come one after another.
		last := len(spans) - 1
		if last >= 0 && spans[last].indexes[0]/spanWidth == index/spanWidth {
			spans[last].indexes = append(spans[last].indexes, index)
		} else {
			spans = append(spans, spanHits{span.Latest, []uint64{index}})
		}
	}

	slices.SortStableFunc(spans, func(a, b spanHits) int { return cmp.Compare(b.latest, a.latest) })
	t.spans = spans
	t.gathered = true
	return nil
}

// readSpans reads the times of the matches of the next spans. A match is next
// once none of the other spans can have a newer one.
func (t *timeline) readSpans(ctx context.Context) error {
	var indexes []uint64
	latest := int64(math.MinInt64)
	for len(t.spans) > 0 && len(indexes) < readTimes {
		indexes = append(indexes, t.spans[0].indexes...)
		latest = max(latest, t.spans[0].latest)
		t.spans = t.spans[1:]
	}
	places, err := t.search.ix.placesOf(ctx, indexes, latest)
	if err != nil {
		return err
	}

	// Some of these the walk found before the matches were gathered.
	for _, p := range places {
		if t.search.wants(p) && t.below.newerThan(p) {
			t.found = append(t.found, p)
		}
	}
	slices.SortFunc(t.found, newestFirst)

	// At the same time as a span's latest entry, a match may have a lower index
	// than that entry, and so come after it.
	ready := len(t.found)
	if len(t.spans) > 0 {
		ready = 0
		for ready < len(t.found) && t.found[ready].time > t.spans[0].latest {
			ready++
		}
	}
	t.matches = t.found[:ready:ready]
	t.found = t.found[ready:]
	t.ended = len(t.spans) == 0
	return nil
}

// placesOf reads the times of entries, none of which should be after latest. One whose
// time cannot be read is put there, so that it is not left out.
func (ix *Index) placesOf(ctx context.Context, indexes []uint64, latest int64) ([]place, error) {
	places := make([]place, 0, len(indexes))
	for group := range slices.Chunk(indexes, readTimes) {
		times, err := ix.timesOf(ctx, group)
		if isCorrupt(err) { // one of them cannot be read: each is read alone
			times, err = ix.timesOneByOne(ctx, group)
		}
		if err != nil {
			return nil, err
		}

		for _, index := range group {
			when, ok := times[index]
			if !ok {
				when = latest
			}
			places = append(places, place{when, index})
		}
	}
	return places, nil
}

func (ix *Index) timesOf(ctx context.Context, indexes []uint64) (map[uint64]int64, error) {
	times := make(map[uint64]int64, len(indexes))
	err := ix.log.Leaves(ctx, indexes, func(index uint64, leaf []byte) error {
		when, ok := attestlog.LeafTime(leaf)
		if ok {
			times[index] = when
		}
		return nil
	})
	return times, err
}

// timesOneByOne is timesOf without the entries that cannot be read.
func (ix *Index) timesOneByOne(ctx context.Context, indexes []uint64) (map[uint64]int64, error) {
	times := make(map[uint64]int64, len(indexes))
	for i, index := range indexes {
		one, err := ix.timesOf(ctx, indexes[i:i+1])
		if err != nil && !isCorrupt(err) {
			return nil, err
		}
		when, ok := one[index]
		if ok {
			times[index] = when
		}
	}
	return times, nil
}

// A timeWalk goes down the run of times of a segment, the newest entry first.
type timeWalk struct {
	ix  *Index
	seg Segment

	pairs []Pair // that were read and are next, ascending
	rest  *Pair  // the pairs up to it were not read yet; nil: all were
	limit int    // of rows that are read next
}

// walkTimes returns a walk that begins with the place next below another.
func (ix *Index) walkTimes(seg Segment, below place) *timeWalk {
	return &timeWalk{ix: ix, seg: seg, rest: pairBelow(Pair{below.time, below.index}), limit: 1}
}

// pairBelow returns the greatest pair that is below p, or nil if there is none.
func pairBelow(p Pair) *Pair {
	switch {
	case p.Index > 0:
		return &Pair{p.Value, min(p.Index-1, maxIndex)}
	case p.Value > math.MinInt64:
		return &Pair{p.Value - 1, maxIndex}
	}
	return nil
}

// next returns the next place, or false at the end.
func (w *timeWalk) next(ctx context.Context) (p place, ok bool, err error) {
	for len(w.pairs) == 0 {
		if w.rest == nil {
			return place{}, false, nil
		}
		if err := w.load(ctx); err != nil {
			return place{}, false, err
		}
	}

	last := w.pairs[len(w.pairs)-1]
	w.pairs = w.pairs[:len(w.pairs)-1]
	return place{last.Value, last.Index}, true, nil
}

// load reads the next rows.
func (w *timeWalk) load(ctx context.Context) error {
	upTo := *w.rest
	rows, err := w.ix.reader.RowsBefore(ctx, w.seg.ID, Times, upTo, w.limit)
	if err != nil {
		return err
	}

	// Rows come last first. The one that holds upTo may go on above it.
	for _, row := range slices.Backward(rows) {
		err := eachGroup(row, w.seg, func(when int64, indexes []uint64) bool {
			for _, index := range indexes {
				p := Pair{when, index}
				if comparePairs(p, upTo) <= 0 {
					w.pairs = append(w.pairs, p)
				}
			}
			return true
		})
		if err != nil {
			return Corrupt(w.seg.Lo, err.Error())
		}
	}

	w.rest = nil
	if len(rows) == w.limit {
		// A negative index in the database is a very large one here. The walk
		// would go back up to where it came from.
		first := rows[len(rows)-1].First
		if first.Index > maxIndex {
			return Corrupt(w.seg.Lo, errRow.Error())
		}
		w.rest = pairBelow(first)
	}
	w.limit = min(4*w.limit, maxRows)
	return nil
}
