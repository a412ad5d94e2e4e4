package inverted

import (
	"context"
	"errors"
	"math/bits"
	"slices"
)

const (
	mergeMany = 16      // adjacent segments of a size that are merged …
	mergeFew  = 3       // … while nothing is appended
	mergeMost = 4 << 20 // entries of the largest segment
	mergeRows = 64      // rows of a segment that are read together
)

// sizeClass grows by one for each eightfold of entries.
func sizeClass(entries uint64) int { return bits.Len64(entries/1024) / 3 }

// mergeable returns adjacent segments that are to be merged: at least least
// many, balanced, and of at most most entries together.
func mergeable(segs []Segment, least int, most uint64) []Segment {
	for class := 0; class <= sizeClass(most); class++ {
		from := 0
		for i := 0; i <= len(segs); i++ {
			fits := i < len(segs) && sizeClass(segs[i].Hi-segs[i].Lo) <= class && (i == from || segs[i].Lo == segs[i-1].Hi && segs[i].Hi-segs[from].Lo <= most)
			if fits {
				continue
			}
			if i-from >= least && balanced(segs[from:i]) {
				return segs[from:i]
			}
			from = i
			if i < len(segs) && sizeClass(segs[i].Hi-segs[i].Lo) > class {
				from = i + 1
			}
		}
	}
	return nil
}

// balanced reports whether none of the segments is of a larger class than the
// others together. A large one is not written anew for a few small ones: each
// entry is merged a bounded number of times in each class.
func balanced(segs []Segment) bool {
	var largest, all uint64
	for _, seg := range segs {
		largest = max(largest, seg.Hi-seg.Lo)
		all += seg.Hi - seg.Lo
	}
	return sizeClass(largest) <= sizeClass(all-largest)
}

// A Merge is adjacent segments that become one.
type Merge struct {
	Old   []Segment
	New   Segment // without an ID
	Spans []byte  // of New

	r Reader
}

// IDs returns those of the old segments.
func (m *Merge) IDs() []int64 {
	ids := make([]int64, len(m.Old))
	for i, seg := range m.Old {
		ids[i] = seg.ID
	}
	return ids
}

// newMerge reads what is kept with the segments.
func newMerge(ctx context.Context, r Reader, segs []Segment) (*Merge, error) {
	lo := segs[0].Lo
	var all spans
	for _, seg := range segs {
		part, err := readSpans(ctx, r, seg)
		if err != nil {
			return nil, err
		}
		for n, v := range part {
			all.add(lo, (seg.Lo/spanWidth+uint64(n))*spanWidth, v)
		}
	}
	return &Merge{
		Old: segs, New: Segment{Lo: lo, Hi: segs[len(segs)-1].Hi, Span: all.all()},
		Spans: all.encode(), r: r,
	}, nil
}

// Rows calls put with the new segment's rows, by kind and then in order. The
// bytes are valid only during the call.
func (m *Merge) Rows(ctx context.Context, put func(Kind, Row) error) error {
	for _, kind := range kinds {
		w := runWriter{lo: m.New.Lo, emit: func(r Row) error { return put(kind, r) }}
		if err := m.run(ctx, kind, &w); err != nil {
			return err
		}
		if err := w.end(); err != nil {
			return err
		}
	}
	return nil
}

// run writes the pairs of one kind of all segments in order.
func (m *Merge) run(ctx context.Context, kind Kind, w *runWriter) error {
	readers := make([]*runReader, len(m.Old))
	for i, seg := range m.Old {
		readers[i] = &runReader{r: m.r, seg: seg, kind: kind}
	}
	for {
		var best *runReader
		for _, r := range readers {
			if err := r.load(ctx); err != nil {
				return err
			}
			if len(r.groups) > 0 && (best == nil || r.groups[0].first.A < best.groups[0].first.A) {
				best = r // of equal A the segment with the lower indexes
			}
		}
		if best == nil {
			return nil
		}
		a := best.groups[0].first.A
		for len(best.groups) > 0 && best.groups[0].first.A == a {
			if err := w.addPiece(&best.groups[0]); err != nil {
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
	r      Reader
	seg    Segment
	kind   Kind
	groups []groupPiece
	all    []groupPiece // groups, with those that were taken
	data   []byte       // of all
	row    *Pair        // what the row read last stands under
	last   Pair         // the last pair of all
	any    bool         // there is one
	ended  bool
}

// load sees to it that there are groups, unless there are no more. Groups taken
// before are overwritten. Pairs that are not in order, where a search would not
// find them, are an error.
func (r *runReader) load(ctx context.Context) error {
	if len(r.groups) > 0 || r.ended {
		return nil
	}
	r.all, r.data = r.all[:0], slices.Grow(r.data[:0], mergeRows*2*rowBytes)
	n := 0
	var under Pair
	err := r.r.RowsAfter(ctx, r.seg.ID, r.kind, r.row, mergeRows, func(row Row) error {
		n++
		under = row.First
		at := len(r.data)
		r.data = append(r.data, row.Data...)
		row.Data = r.data[at:len(r.data):len(r.data)]
		first := len(r.all)
		if err := pieces(row, r.seg.Lo, func(g *groupPiece) { r.all = append(r.all, *g) }); err != nil {
			return err
		}
		if len(r.all) == first || r.all[first].first != row.First {
			return errRow
		}
		return r.inOrder(first)
	})
	if errors.Is(err, errRow) {
		return Corrupt(r.seg.Lo, err.Error())
	}
	if err != nil {
		return err
	}
	r.groups, r.ended, r.row = r.all, n < mergeRows, &under
	return nil
}

// inOrder checks that the groups from one on come behind what was read before.
func (r *runReader) inOrder(from int) error {
	for i := from; i < len(r.all); i++ {
		g := &r.all[i]
		if r.any && comparePairs(g.first, r.last) <= 0 || g.first.B > g.last.B {
			return errRow
		}
		r.last, r.any = g.last, true
	}
	return nil
}
