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
	firstGroup = 16 // matches that are read together at first …
	maxGroup   = 64 // … and later

	maxScan      = 2_048   // unindexed entries that are read together …
	maxScanBytes = 4 << 20 // … and about how many bytes of them

	fewInTime = 4_096 // entries of a range of time that become a set of their own
)

// errDone ends a search whose caller wants no more.
var errDone = errors.New("done")

// A search is one call of Search. Its bounds move with what was emitted, so
// that it can go on at any time with other segments.
type search struct {
	ix    *Index
	plan  query.Plan
	fn    func(*attestlog.RawEntry) (bool, error)
	group int // how many matches are read together next

	// What is still to be emitted: the entries lo ≤ index < hi that are, in
	// order of time, below a place.
	lo, hi uint64
	below  place
}

// Search is attestlog.Store's, for a log of size entries. Those that the index
// does not have are read from the log. No connection is held while fn runs.
func (ix *Index) Search(
	ctx context.Context,
	size uint64,
	plan query.Plan,
	below *query.Position,
	fn func(*attestlog.RawEntry) (bool, error),
) error {
	if plan.After >= plan.Before {
		return nil
	}

	s := &search{
		ix:    ix,
		plan:  plan,
		fn:    fn,
		group: firstGroup,
		lo:    plan.From,
		hi:    min(plan.To, size),
		below: place{math.MaxInt64, maxIndex},
	}
	if below != nil && plan.Order == query.ByIndex {
		s.hi = min(s.hi, below.Index)
	}
	if below != nil && plan.Order == query.ByTime {
		s.below = place{below.Time, min(below.Index, maxIndex)}
	}

	// When a segment was merged in the meantime, the search goes on with those that
	// there are now: its bounds have moved past everything that was emitted.
	for {
		err := s.run(ctx)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err == errDone {
			return nil
		}
		return err
	}
}

// run searches the segments as they are now.
func (s *search) run(ctx context.Context) error {
	if s.lo >= s.hi {
		return nil
	}

	// The index is of no use for all entries by index.
	var segs []Segment
	if s.plan.Terms != nil || s.plan.TimeBound() || s.plan.Order == query.ByTime {
		var err error
		segs, err = s.ix.reader.Segments(ctx)
		if err != nil {
			return err
		}
	}

	if s.plan.Order == query.ByTime {
		return s.byTime(ctx, segs)
	}
	return s.byIndex(ctx, segs)
}

// A piece is a range of entries that one segment is about, or that no segment is
// about.
type piece struct {
	from, to uint64   // from ≤ index < to
	seg      *Segment // nil: the entries are unindexed
}

// pieces cuts the rest of the log where segments begin and end.
func (s *search) pieces(segs []Segment) []piece {
	var out []piece
	next := s.lo
	for i := range segs {
		seg := &segs[i]
		from, to := max(next, seg.Lo), min(s.hi, seg.Hi)
		if from >= to {
			continue
		}
		if next < from {
			out = append(out, piece{next, from, nil})
		}
		out = append(out, piece{from, to, seg})
		next = to
	}

	if next < s.hi {
		out = append(out, piece{next, s.hi, nil})
	}
	return out
}

// byIndex emits the matches in order of the index.
func (s *search) byIndex(ctx context.Context, segs []Segment) error {
	pieces := s.pieces(segs)
	if !s.plan.Ascending {
		slices.Reverse(pieces)
	}

	for _, p := range pieces {
		var err error
		switch {
		case p.seg == nil:
			err = s.emitUnindexed(ctx, p)
		case p.seg.overlaps(s.plan.After, s.plan.Before):
			err = s.emitIndexed(ctx, p)
		}
		if err != nil {
			return err
		}
		s.passed(p.from, p.to)
	}
	return nil
}

// passed moves the bounds past a range that was dealt with, by index.
func (s *search) passed(from, to uint64) {
	if s.plan.Ascending {
		s.lo = max(s.lo, to)
	} else {
		s.hi = min(s.hi, from)
	}
}

// emitIndexed emits the matches of a piece that has a segment.
func (s *search) emitIndexed(ctx context.Context, p piece) error {
	parts := []piece{p}
	matches := s.ix.setOf(*p.seg, s.plan.Terms)

	// Spans leave out what is far from the plan's time. Where that is not enough,
	// the run of times says which entries are in it.
	if s.plan.TimeBound() {
		var err error
		parts, err = s.partsInTime(ctx, p)
		if err != nil {
			return err
		}
		inTime, err := s.setInTime(ctx, parts, *p.seg)
		if err != nil {
			return err
		}
		if inTime != nil {
			matches = conjunction{inTime, matches}
		}
	}

	emit := s.emitUp
	if !s.plan.Ascending {
		emit = s.emitDown
		slices.Reverse(parts)
	}
	for _, part := range parts {
		if err := emit(ctx, part, matches); err != nil {
			return err
		}
	}
	return nil
}

// emitDown emits the matches of a part, newest first.
func (s *search) emitDown(ctx context.Context, p piece, matches set) error {
	var indexes []uint64
	for index, err := range members(ctx, matches, p.from, p.to) {
		if err != nil {
			return err
		}
		indexes = append(indexes, index)
		if len(indexes) < s.group {
			continue
		}

		if err := s.emitEntries(ctx, indexes, nil); err != nil {
			return err
		}
		indexes = indexes[:0]
	}
	return s.emitEntries(ctx, indexes, nil)
}

// emitUp emits the matches of a part, oldest first. Sets go downwards only, so
// the matches of a window are collected and then turned around.
func (s *search) emitUp(ctx context.Context, p piece, matches set) error {
	const window = 1 << 16

	for from := p.from; from < p.to; from += window {
		var indexes []uint64
		for index, err := range members(ctx, matches, from, min(p.to, from+window)) {
			if err != nil {
				return err
			}
			indexes = append(indexes, index)
		}

		slices.Reverse(indexes)
		if err := s.emitEntries(ctx, indexes, nil); err != nil {
			return err
		}
	}
	return nil
}

// partsInTime returns the parts of a piece whose spans overlap the plan's time,
// by index.
func (s *search) partsInTime(ctx context.Context, p piece) ([]piece, error) {
	all, err := s.ix.spansOf(ctx, *p.seg)
	if err != nil {
		return nil, err
	}

	var out []piece
	for from := p.from; from < p.to; {
		to := min(p.to, (from/spanWidth+1)*spanWidth)
		if all.of(*p.seg, from).overlaps(s.plan.After, s.plan.Before) {
			last := len(out) - 1
			if last >= 0 && out[last].to == from {
				out[last].to = to
			} else {
				out = append(out, piece{from, to, p.seg})
			}
		}
		from = to
	}
	return out, nil
}

// setInTime returns the entries of a segment within the plan's time, or nil: if
// the parts have so few entries that looking at the time of each costs less, and
// if more than fewInTime are in time.
func (s *search) setInTime(ctx context.Context, parts []piece, seg Segment) (list, error) {
	entries := uint64(0)
	for _, p := range parts {
		entries += p.to - p.from
	}
	if entries <= fewInTime {
		return nil, nil
	}

	indexes := list{}
	walk := s.ix.walkTimes(seg, place{s.plan.Before, 0})
	for {
		p, ok, err := walk.next(ctx)
		if err != nil {
			return nil, err
		}
		if !ok || p.time < s.plan.After {
			slices.Sort(indexes)
			return indexes, nil
		}
		if len(indexes) == fewInTime {
			return nil, nil
		}
		indexes = append(indexes, p.index)
	}
}

// emitUnindexed emits the entries of a piece that has no segment.
func (s *search) emitUnindexed(ctx context.Context, p piece) error {
	step := uint64(maxGroup)
	for p.from < p.to {
		var part piece
		if s.plan.Ascending {
			part = piece{p.from, min(p.to, p.from+step), nil}
			p.from = part.to
		} else {
			part = piece{max(p.from, p.to-min(p.to, step)), p.to, nil}
			p.to = part.from
		}

		entries, bytes, err := s.read(ctx, part)
		if err != nil {
			return err
		}
		if !s.plan.Ascending {
			slices.Reverse(entries)
		}
		for i := range entries {
			if err := s.emit(&entries[i]); err != nil {
				return err
			}
		}
		s.passed(part.from, part.to)

		// Many small entries cost less together; large ones would take memory.
		step = min(2*step, maxScan)
		if bytes > maxScanBytes {
			step = max(step/8, 1)
		}
	}
	return nil
}

// read reads the entries of a piece, and counts their bytes.
func (s *search) read(ctx context.Context, p piece) (entries []attestlog.RawEntry, bytes int, err error) {
	entries = make([]attestlog.RawEntry, 0, p.to-p.from)
	err = attestlog.ScanPast(ctx, s.ix.log.Scan, p.from, p.to, func(r *attestlog.RawEntry) error {
		entries = append(entries, r.Clone())
		bytes += len(r.Leaf)
		for i := range r.Disclosures {
			bytes += len(r.Disclosures[i].Value)
		}
		return nil
	})
	return entries, bytes, err
}

// emitEntries reads entries and emits them, in the order of the list. places, unless it
// is nil, has where each is in the order by time.
func (s *search) emitEntries(ctx context.Context, indexes []uint64, places []place) error {
	for len(indexes) > 0 {
		group := indexes[:min(len(indexes), s.group)]
		indexes = indexes[len(group):]
		s.group = min(2*s.group, maxGroup)

		entries, err := s.readList(ctx, group)
		if err != nil {
			return err
		}
		for i := range entries {
			entry := &entries[i]
			if places != nil {
				entry.FoundAt = places[i].time
			}
			if err := s.emit(entry); err != nil {
				return err
			}
			if s.plan.Order == query.ByIndex {
				s.passed(entry.Index, entry.Index+1)
			}
		}
		if places != nil {
			places = places[len(group):]
		}
	}
	return nil
}

// readList reads entries in the order of a list. In the place of one that is missing,
// or cannot be read, there is one with an Err.
func (s *search) readList(ctx context.Context, indexes []uint64) ([]attestlog.RawEntry, error) {
	entries := make([]attestlog.RawEntry, len(indexes))
	at := make(map[uint64]int, len(indexes))
	for i, index := range indexes {
		entries[i] = attestlog.RawEntry{Index: index, Err: errLeaf(index, errMissing)}
		at[index] = i
	}
	keep := func(r *attestlog.RawEntry) error {
		i, isWanted := at[r.Index]
		if isWanted {
			entries[i] = r.Clone()
		}
		return nil
	}

	err := s.ix.log.Entries(ctx, indexes, keep)
	if !isCorrupt(err) {
		return entries, err
	}

	// One of them cannot be read: each is read alone.
	for i, index := range indexes {
		err := s.ix.log.Entries(ctx, indexes[i:i+1], keep)
		if isCorrupt(err) {
			entries[i] = attestlog.RawEntry{Index: index, Err: err}
			err = nil
		}
		if err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func isCorrupt(err error) bool {
	var corrupt *attestlog.CorruptError
	return errors.As(err, &corrupt)
}

// emit gives an entry to the caller. It returns errDone if the caller wants no more. What
// the leaf says is not looked at: the caller knows first whether it is the true one.
func (s *search) emit(r *attestlog.RawEntry) error {
	more, err := s.fn(r)
	if err != nil {
		return err
	}
	if !more {
		return errDone
	}
	return nil
}
