package inverted

import (
	"context"
	"math/bits"
	"slices"
)

const (
	mergeMany = 16      // adjacent segments of a size that are merged …
	mergeFew  = 3       // … while nothing is appended
	mergeMost = 4 << 20 // entries of the largest segment
	mergeRows = 64      // rows of a segment that are read together
	mergeTop  = 64      // segments that are merged at a time
)

// sizeClass grows by one for each eightfold of entries.
func sizeClass(entries uint64) int { return bits.Len64(entries/1024) / 3 }

// mergeable returns adjacent segments that are to be merged: at least least
// many, balanced, and of at most most entries together.
func mergeable(segs []Segment, least int, most uint64) []Segment {
	for class := 0; class <= sizeClass(most); class++ {
		from := 0
		for i := 0; i <= len(segs); i++ {
			fits := i < len(segs) && i-from < mergeTop && sizeClass(segs[i].Hi-segs[i].Lo) <= class && (i == from || segs[i].Lo == segs[i-1].Hi && segs[i].Hi-segs[from].Lo <= most)
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
	var cursors []*cursor
	var heads []int64 // of each cursor, its piece's A
	for _, seg := range m.Old {
		c := &cursor{r: m.r, seg: seg, kind: kind}
		more, err := c.next(ctx)
		if err != nil {
			return err
		}
		if more {
			cursors, heads = append(cursors, c), append(heads, c.piece.first.A)
		}
	}
	for len(cursors) > 0 {
		best, a := 0, heads[0]
		for i, head := range heads {
			if head < a { // of equal A the segment with the lower indexes
				best, a = i, head
			}
		}
		c := cursors[best]
		for c.piece.first.A == a {
			if err := w.addPiece(&c.piece); err != nil {
				return err
			}
			more, err := c.next(ctx)
			if err != nil {
				return err
			}
			if !more {
				cursors, heads = slices.Delete(cursors, best, best+1), slices.Delete(heads, best, best+1)
				break
			}
			heads[best] = c.piece.first.A
		}
	}
	return nil
}

// A cursor reads all pairs of a kind of a segment, as they stand.
type cursor struct {
	r    Reader
	seg  Segment
	kind Kind

	piece groupPiece // valid until next is called
	any   bool       // there is a piece

	rows  []Row // that were read and are not used up
	all   []Row // rows, with those that are
	at    int   // in the data of rows[0]
	data  []byte
	under *Pair // what the row read last stands under
	ended bool
}

// next goes on to the next piece, or returns false at the end. Pairs that are not
// in order, where a search would not find them, are an error.
func (c *cursor) next(ctx context.Context) (more bool, err error) {
	for len(c.rows) > 0 && c.at == len(c.rows[0].Data) {
		c.rows, c.at = c.rows[1:], 0
	}
	if len(c.rows) == 0 {
		if err := c.load(ctx); err != nil || len(c.rows) == 0 {
			return false, err
		}
	}
	row, last := &c.rows[0], c.piece.last
	a := row.First.A
	if c.at > 0 {
		a = last.A
	}
	next := c.piece.readPiece(row.Data, c.at, a, c.seg)
	p := &c.piece
	if next == 0 || c.at == 0 && p.first != row.First || c.any && comparePairs(p.first, last) <= 0 {
		return false, Corrupt(c.seg.Lo, errRow.Error())
	}
	c.at, c.any = next, true
	return true, nil
}

// load reads rows, if there are any more.
func (c *cursor) load(ctx context.Context) error {
	if c.ended {
		return nil
	}
	c.all, c.data, c.at = c.all[:0], c.data[:0], 0
	var under Pair
	err := c.r.RowsAfter(ctx, c.seg.ID, c.kind, c.under, mergeRows, func(row Row) error {
		under = row.First
		from := len(c.data)
		c.data = append(c.data, row.Data...)
		row.Data = c.data[from:len(c.data):len(c.data)]
		c.all = append(c.all, row)
		if len(row.Data) == 0 {
			return Corrupt(c.seg.Lo, errRow.Error())
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.rows, c.ended, c.under = c.all, len(c.all) < mergeRows, &under
	return nil
}
