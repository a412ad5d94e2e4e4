package inverted

import (
	"context"
	"math"
	"slices"
	"sort"

	"github.com/attestlog/attestlog/query"
)

// A set is the entries of a segment that a tree of terms selects, as far as
// the index tells.
type set interface {
	// upTo returns the greatest index in the set that is not above x, which
	// lies within the segment.
	upTo(ctx context.Context, x uint64) (uint64, bool, error)
}

// setOf returns the set that a tree selects in a segment.
func (ix *Index) setOf(seg Segment, t *query.TermTree) set {
	if t == nil {
		return everything{seg.Lo}
	}
	kids := make([]set, len(t.Kids))
	for i, kid := range t.Kids {
		kids[i] = ix.setOf(seg, kid)
	}
	switch t.Op {
	case query.OpAnd:
		return &memo{of: conjunction(kids)}
	case query.OpOr:
		return &memo{of: disjunction(kids)}
	case query.OpNot:
		return complement{seg.Lo, kids[0]}
	}
	token, _ := ix.key.token(nil, t.Term.Field, []byte(t.Term.Value))
	return &postings{ix: ix, seg: seg, token: token}
}

// A memo remembers a set's last answer, which is the answer for everything down
// to itself. Without it a conjunction within a conjunction would be asked twice
// as often at each level.
type memo struct {
	of     set
	known  bool
	asked  uint64
	answer uint64
	found  bool
}

func (m *memo) upTo(ctx context.Context, x uint64) (uint64, bool, error) {
	if m.known && x <= m.asked && (!m.found || x >= m.answer) {
		return m.answer, m.found, nil
	}
	y, ok, err := m.of.upTo(ctx, x)
	*m = memo{m.of, err == nil, x, y, ok}
	return y, ok, err
}

type everything struct{ lo uint64 }

func (e everything) upTo(_ context.Context, x uint64) (uint64, bool, error) { return x, x >= e.lo, nil }

type conjunction []set

func (c conjunction) upTo(ctx context.Context, x uint64) (uint64, bool, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, false, err
		}
		start := x
		for _, kid := range c {
			y, ok, err := kid.upTo(ctx, x)
			if err != nil || !ok {
				return 0, false, err
			}
			x = y
		}
		if x == start {
			return x, true, nil // all agreed
		}
	}
}

type disjunction []set

func (d disjunction) upTo(ctx context.Context, x uint64) (best uint64, found bool, err error) {
	for _, kid := range d {
		y, ok, err := kid.upTo(ctx, x)
		if err != nil {
			return 0, false, err
		}
		if ok && (!found || y > best) {
			best, found = y, true
		}
		if found && best == x {
			break
		}
	}
	return best, found, nil
}

type complement struct {
	lo uint64
	of set
}

func (c complement) upTo(ctx context.Context, x uint64) (uint64, bool, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, false, err
		}
		y, ok, err := c.of.upTo(ctx, x)
		if err != nil || !ok || y != x {
			return x, err == nil, err
		}
		if x <= c.lo {
			return 0, false, nil
		}
		x--
	}
}

// list is a set of indexes, ascending.
type list []uint64

func (l list) upTo(_ context.Context, x uint64) (uint64, bool, error) {
	n := sort.Search(len(l), func(i int) bool { return l[i] > x })
	if n == 0 {
		return 0, false, nil
	}
	return l[n-1], true, nil
}

// postings are the entries that have a term. They are read row by row from the
// end, and forgotten when the search has passed.
type postings struct {
	ix    *Index
	seg   Segment
	token int64

	loaded bool
	high   uint64 // the postings up to it, from list[0] on, are in list
	list   list
	all    bool // there are none below list
	ask    int  // rows to read next
}

func (p *postings) upTo(ctx context.Context, x uint64) (uint64, bool, error) {
	if !p.loaded || x > p.high || len(p.list) > 0 && x < p.list[0] && !p.all {
		if err := p.load(ctx, x); err != nil {
			return 0, false, err
		}
	}
	return p.list.upTo(ctx, x)
}

// load reads the postings next below x.
func (p *postings) load(ctx context.Context, x uint64) error {
	if p.ask == 0 {
		p.ask = 1
	}
	rows, err := p.ix.reader.RowsBefore(ctx, p.seg.ID, Terms, Pair{p.token, x}, p.ask)
	if err != nil {
		return err
	}
	p.loaded, p.high, p.list, p.all = true, x, p.list[:0], len(rows) < p.ask
	p.ask = min(4*p.ask, 16)
	for _, row := range slices.Backward(rows) {
		err := eachGroup(row, p.seg, func(a int64, group []uint64) bool {
			if a == p.token {
				p.list = append(p.list, group...)
			}
			return a < p.token
		})
		if err != nil {
			return Corrupt(p.seg.Lo, err.Error())
		}
		if row.First.A < p.token {
			p.all = true // what lies below begins in this row, or there is nothing
		}
	}
	for len(p.list) > 0 && p.list[len(p.list)-1] > x {
		p.list = p.list[:len(p.list)-1]
	}
	if len(p.list) == 0 {
		p.all = true
	}
	return nil
}

// times walks a segment's entries by time, newest first.
type times struct {
	ix    *Index
	seg   Segment
	next  []Pair // ascending; the last comes next
	below *Pair  // rows before it are still to be read; nil: none
	ask   int
}

func (ix *Index) timesBelow(seg Segment, from at) *times {
	t := &times{ix: ix, seg: seg, ask: 1}
	if from.idx > 0 {
		t.below = &Pair{from.time, from.idx - 1}
	} else if from.time > math.MinInt64 {
		t.below = &Pair{from.time - 1, math.MaxInt64}
	}
	return t
}

// take returns the next place, or false at the end.
func (t *times) take(ctx context.Context) (at, bool, error) {
	for len(t.next) == 0 {
		if t.below == nil {
			return at{}, false, nil
		}
		rows, err := t.ix.reader.RowsBefore(ctx, t.seg.ID, Times, Pair{t.below.A, min(t.below.B, math.MaxInt64)}, t.ask)
		if err != nil {
			return at{}, false, err
		}
		bound := *t.below
		t.below = nil
		for _, row := range slices.Backward(rows) {
			err := eachGroup(row, t.seg, func(a int64, group []uint64) bool {
				for _, b := range group {
					if p := (Pair{a, b}); comparePairs(p, bound) <= 0 {
						t.next = append(t.next, p)
					}
				}
				return true
			})
			if err != nil {
				return at{}, false, Corrupt(t.seg.Lo, err.Error())
			}
		}
		if len(rows) == t.ask {
			first := rows[len(rows)-1].First
			switch {
			case first.B > math.MaxInt64:
				return at{}, false, Corrupt(t.seg.Lo, errRow.Error())
			case first.B > 0:
				t.below = &Pair{first.A, first.B - 1}
			case first.A > math.MinInt64:
				t.below = &Pair{first.A - 1, math.MaxInt64}
			}
		}
		t.ask = min(4*t.ask, 16)
	}
	p := t.next[len(t.next)-1]
	t.next = t.next[:len(t.next)-1]
	return at{p.A, p.B}, true, nil
}
