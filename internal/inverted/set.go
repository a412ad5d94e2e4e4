package inverted

import (
	"context"
	"iter"
	"slices"
	"sort"

	"github.com/attestlog/attestlog/query"
)

// A set is the entries of a segment that a tree of terms selects, as far as the
// index knows. Everything follows from one question, which each kind of set
// answers with the answers of its parts. A set is not safe for concurrent use.
type set interface {
	// upTo returns the greatest index in the set that is not above x, and
	// whether there is one. The segment has an entry x.
	upTo(ctx context.Context, x uint64) (index uint64, found bool, err error)
}

// members yields the indexes from ≤ index < to of a set, the greatest first. An
// error is the last that it yields. The bounds are within the set's segment.
func members(ctx context.Context, s set, from, to uint64) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		for end := to; end > from; {
			index, found, err := s.upTo(ctx, end-1)
			if err != nil {
				yield(0, err)
				return
			}
			if !found || index < from || !yield(index, nil) {
				return
			}
			end = index
		}
	}
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
	return &postings{ix: ix, seg: seg, token: token, limit: 1}
}

// everything is the set of all entries from lo on.
type everything struct{ lo uint64 }

func (e everything) upTo(_ context.Context, x uint64) (uint64, bool, error) {
	return x, x >= e.lo, nil
}

// A list is the set of the indexes in it, which ascend.
type list []uint64

func (l list) upTo(_ context.Context, x uint64) (uint64, bool, error) {
	n := sort.Search(len(l), func(i int) bool { return l[i] > x })
	if n == 0 {
		return 0, false, nil
	}
	return l[n-1], true, nil
}

// A conjunction is the set of the entries that are in all of its parts.
type conjunction []set

func (c conjunction) upTo(ctx context.Context, x uint64) (uint64, bool, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, false, err
		}

		// No member lies between the answer of a part and x. Once a whole round
		// leaves x as it is, all parts have it.
		start := x
		for _, kid := range c {
			index, found, err := kid.upTo(ctx, x)
			if err != nil || !found {
				return 0, false, err
			}
			x = index
		}
		if x == start {
			return x, true, nil
		}
	}
}

// A disjunction is the set of the entries that are in any of its parts.
type disjunction []set

func (d disjunction) upTo(ctx context.Context, x uint64) (greatest uint64, found bool, err error) {
	for _, kid := range d {
		index, ok, err := kid.upTo(ctx, x)
		if err != nil {
			return 0, false, err
		}
		if ok && (!found || index > greatest) {
			greatest = index
			found = true
		}
		if found && greatest == x {
			break // no other part has a greater one
		}
	}
	return greatest, found, nil
}

// A complement is the set of the entries from lo on that are not in another.
type complement struct {
	lo uint64
	of set
}

func (c complement) upTo(ctx context.Context, x uint64) (uint64, bool, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, false, err
		}

		index, found, err := c.of.upTo(ctx, x)
		if err != nil {
			return 0, false, err
		}
		if !found || index != x {
			return x, true, nil
		}
		if x <= c.lo {
			return 0, false, nil
		}
		x--
	}
}

// A memo remembers the last answer of a set, which is also the answer for every
// index from itself up to the one that was asked for. Without it, a conjunction
// in a conjunction would be asked twice as often at each level.
type memo struct {
	of set

	known bool // the rest is an answer
	asked uint64
	index uint64
	found bool
}

func (m *memo) upTo(ctx context.Context, x uint64) (uint64, bool, error) {
	same := x <= m.asked && (!m.found || x >= m.index)
	if m.known && same {
		return m.index, m.found, nil
	}

	index, found, err := m.of.upTo(ctx, x)
	*m = memo{of: m.of, known: err == nil, asked: x, index: index, found: found}
	return index, found, err
}

// Postings are the set of the entries that have a term. Its rows are read from
// the end of the segment downwards, few at first, and forgotten when the search
// has passed them.
type postings struct {
	ix    *Index
	seg   Segment
	token int64

	loaded  bool   // list, high and atStart are set
	list    list   // the postings up to high that were read last
	high    uint64 // the index that they were read for
	atStart bool   // there are no postings below those in list
	limit   int    // of rows that are read next
}

// maxRows is how many rows a search reads together, after 1 and 4 at first.
const maxRows = 16

func (p *postings) upTo(ctx context.Context, x uint64) (uint64, bool, error) {
	if !p.covers(x) {
		if err := p.load(ctx, x); err != nil {
			return 0, false, err
		}
	}
	return p.list.upTo(ctx, x)
}

// covers reports whether the list has the answer for x.
func (p *postings) covers(x uint64) bool {
	if !p.loaded || x > p.high {
		return false
	}
	return p.atStart || x >= p.list[0]
}

// load reads the postings from x downwards.
func (p *postings) load(ctx context.Context, x uint64) error {
	rows, err := p.ix.reader.RowsBefore(ctx, p.seg.ID, Terms, Pair{p.token, x}, p.limit)
	if err != nil {
		return err
	}
	p.loaded = false
	p.high = x
	p.list = p.list[:0]
	p.atStart = len(rows) < p.limit
	p.limit = min(4*p.limit, maxRows)

	for _, row := range slices.Backward(rows) {
		err := eachGroup(row, p.seg, func(token int64, indexes []uint64) bool {
			if token == p.token {
				p.list = append(p.list, indexes...)
			}
			return token < p.token
		})
		if err != nil {
			return Corrupt(p.seg.Lo, err.Error())
		}

		// The row that begins with a smaller token holds the first posting, if
		// there is one.
		if row.First.Value < p.token {
			p.atStart = true
		}
	}

	for len(p.list) > 0 && p.list[len(p.list)-1] > x {
		p.list = p.list[:len(p.list)-1]
	}
	if len(p.list) == 0 {
		p.atStart = true
	}
	p.loaded = true
	return nil
}
