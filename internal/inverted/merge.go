package inverted

import (
	"context"
	"math/bits"
	"slices"
)

const (
	mergeMany  = 16      // adjacent segments of about a size that are merged …
	mergeFew   = 3       // … and while nothing is appended
	maxMerge   = 64      // segments that are merged into one
	maxSegment = 4 << 20 // entries of the largest segment
)

// mergeable returns adjacent segments to merge into one, smallest classes first,
// or nil if there are none: at least minSegs segments of about the same size,
// with at most maxEntries entries together.
func mergeable(segs []Segment, minSegs int, maxEntries uint64) []Segment {
	for class := 0; class <= sizeClass(maxEntries); class++ {
		for rest := segs; len(rest) > 0; {
			n := 0
			for n < len(rest) && fits(rest[:n], rest[n], class, maxEntries) {
				n++
			}
			if n >= minSegs && balanced(rest[:n]) {
				return rest[:n]
			}

			if n == 0 {
				n = 1 // the segment is of a larger class
			}
			rest = rest[n:]
		}
	}
	return nil
}

// fits reports whether a segment of at most the class may be merged with those
// before it.
func fits(before []Segment, seg Segment, class int, maxEntries uint64) bool {
	if sizeClass(seg.Hi-seg.Lo) > class || len(before) == maxMerge {
		return false
	}
	if len(before) == 0 {
		return true
	}

	adjacent := seg.Lo == before[len(before)-1].Hi
	return adjacent && seg.Hi-before[0].Lo <= maxEntries
}

// balanced reports whether no segment is of a larger class than the others
// together. A large one is not written again for the sake of a few small ones,
// so that each entry is merged a bounded number of times in each class.
func balanced(segs []Segment) bool {
	var largest, all uint64
	for _, seg := range segs {
		largest = max(largest, seg.Hi-seg.Lo)
		all += seg.Hi - seg.Lo
	}
	return sizeClass(largest) <= sizeClass(all-largest)
}

// sizeClass grows by one with each factor of eight from 4,096 entries on.
func sizeClass(entries uint64) int { return bits.Len64(entries/1024) / 3 }

// A Merge makes one segment of adjacent ones.
type Merge struct {
	Old   []Segment
	New   Segment // without an ID
	Spans []byte  // of New

	reader Reader // of Old
}

// newMerge reads the spans of the segments.
func newMerge(ctx context.Context, r Reader, segs []Segment) (*Merge, error) {
	lo, hi := segs[0].Lo, segs[len(segs)-1].Hi

	var all spans
	for _, seg := range segs {
		part, err := readSpans(ctx, r, seg)
		if err != nil {
			return nil, err
		}
		// The first span of a segment may be the last of the one before.
		for n, span := range part {
			index := (seg.Lo/spanWidth + uint64(n)) * spanWidth
			all.add(lo, index, span)
		}
	}

	return &Merge{
		Old:    segs,
		New:    Segment{Lo: lo, Hi: hi, Span: all.all()},
		Spans:  all.encode(),
		reader: r,
	}, nil
}

// IDs returns the IDs of the old segments.
func (m *Merge) IDs() []int64 {
	ids := make([]int64, len(m.Old))
	for i, seg := range m.Old {
		ids[i] = seg.ID
	}
	return ids
}

// Rows calls put with the rows of the new segment, kind by kind and in order,
// until put returns an error, which Rows returns. The bytes are valid only
// during the call.
func (m *Merge) Rows(ctx context.Context, put func(Kind, Row) error) error {
	for _, kind := range kinds {
		w := runWriter{lo: m.New.Lo, emit: func(r Row) error { return put(kind, r) }}
		if err := m.mergeRuns(ctx, kind, &w); err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}

// mergeRuns writes the pairs of the old segments' runs of a kind, in order.
func (m *Merge) mergeRuns(ctx context.Context, kind Kind, w *runWriter) error {
	var runs []*runReader
	var heads []int64 // the value of each run's next group
	for _, seg := range m.Old {
		run := &runReader{reader: m.reader, seg: seg, kind: kind}
		more, err := run.next(ctx)
		if err != nil {
			return err
		}
		if more {
			runs = append(runs, run)
			heads = append(heads, run.group.first.Value)
		}
	}

	for len(runs) > 0 {
		// Of runs with the same value the first is next: its segment has the
		// lower indexes.
		next, value := 0, heads[0]
		for i, head := range heads {
			if head < value {
				next, value = i, head
			}
		}

		// A group that is continued in the next row comes as two.
		run := runs[next]
		for run.group.first.Value == value {
			if err := w.addGroup(&run.group); err != nil {
				return err
			}
			more, err := run.next(ctx)
			if err != nil {
				return err
			}
			if !more {
				runs = slices.Delete(runs, next, next+1)
				heads = slices.Delete(heads, next, next+1)
				break
			}
			heads[next] = run.group.first.Value
		}
	}
	return nil
}
