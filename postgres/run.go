package postgres

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// The kinds of pairs that a segment is made of.
const (
	kindTerm = 0 // a term's token and the index of an entry that has it
	kindTime = 1 // an entry's time and its index
)

// A pair stands in a run, which is sorted by a and then by b.
type pair struct {
	a int64
	b uint64
}

func comparePairs(x, y pair) int {
	if c := cmp.Compare(x.a, y.a); c != 0 {
		return c
	}
	return cmp.Compare(x.b, y.b)
}

// rowBytes is about how long the data of a row of runs is: three to a page.
const rowBytes = 2_500

// A runWriter packs sorted pairs into rows. A row's data is a list of groups
// with the same a: the difference to the group before, how many pairs there
// are, and their b, the first less the segment's lo and each other less the
// one before; all of them as unsigned varints.
type runWriter struct {
	lo   uint64
	emit func(first pair, data []byte) error

	first pair // of the row
	last  pair
	prevA int64 // of the group before
	data  []byte
	group []byte
	n     uint64 // pairs in group
}

func (w *runWriter) add(p pair) error {
	w.put(p)
	return w.endIfFull()
}

func (w *runWriter) put(p pair) {
	if w.n > 0 && p.a != w.last.a {
		w.endGroup()
	}
	if w.n == 0 && len(w.data) == 0 {
		w.first, w.prevA = p, p.a
	}
	base := w.lo
	if w.n > 0 {
		base = w.last.b
	}
	w.group = binary.AppendUvarint(w.group, p.b-base)
	w.n++
	w.last = p
}

func (w *runWriter) endIfFull() error {
	if len(w.data)+len(w.group) < rowBytes {
		return nil
	}
	return w.end()
}

// A piece of a group, as it stands in a row: n pairs from first to last, whose
// b but the first's are rest.
type groupPiece struct {
	first, last pair
	n           uint64
	rest        []byte
}

// each calls fn with the pairs of the piece.
func (g *groupPiece) each(fn func(pair)) {
	p, rest := g.first, g.rest
	fn(p)
	for len(rest) > 0 {
		v, n := binary.Uvarint(rest)
		rest = rest[n:]
		p.b += v
		fn(p)
	}
}

// addPiece adds the pairs of a piece, which come behind those before. A row
// that it would make too long ends before it.
func (w *runWriter) addPiece(g *groupPiece) error {
	const heads = 4 * binary.MaxVarintLen64 // of this group and the one before
	if len(w.data)+len(w.group)+len(g.rest)+heads >= rowBytes {
		if err := w.end(); err != nil {
			return err
		}
	}
	w.put(g.first)
	w.group = append(w.group, g.rest...)
	w.n += g.n - 1
	w.last = g.last
	return w.endIfFull()
}

func (w *runWriter) endGroup() {
	w.data = binary.AppendUvarint(w.data, uint64(w.last.a-w.prevA))
	w.data = binary.AppendUvarint(w.data, w.n)
	w.data = append(w.data, w.group...)
	w.prevA, w.group, w.n = w.last.a, w.group[:0], 0
}

// end emits the last row.
func (w *runWriter) end() error {
	if w.n > 0 {
		w.endGroup()
	}
	if len(w.data) == 0 {
		return nil
	}
	err := w.emit(w.first, w.data)
	w.data = w.data[:0]
	return err
}

var errRow = errors.New("the search index has a row that cannot be read")

// eachGroup calls fn with the groups of a row until it returns false. b is
// valid only during the call.
func eachGroup(first pair, lo uint64, data []byte, fn func(a int64, b []uint64) bool) error {
	next := func() uint64 {
		v, n := binary.Uvarint(data)
		if n <= 0 {
			data = nil
			return 0
		}
		data = data[n:]
		return v
	}
	a := first.a
	var group []uint64
	for len(data) > 0 {
		a += int64(next())
		n := next()
		if n == 0 || n > uint64(len(data)) {
			return errRow
		}
		group = slices.Grow(group[:0], int(n))
		at := lo
		for range n {
			at += next()
			group = append(group, at)
		}
		if data == nil {
			return errRow
		}
		if !fn(a, group) {
			return nil
		}
	}
	return nil
}

// pieces calls fn with the groups of a row as they stand. What fn gets is valid
// only during the call, but for rest.
func pieces(first pair, lo uint64, data []byte, fn func(*groupPiece)) error {
	a := first.a
	for len(data) > 0 {
		delta, k := binary.Uvarint(data)
		n, m := binary.Uvarint(data[max(k, 0):])
		if k <= 0 || m <= 0 || n == 0 {
			return errRow
		}
		data = data[k+m:]
		a += int64(delta)
		var g groupPiece
		at, from := lo, 0
		for i, used := uint64(0), 0; i < n; i++ {
			v, k := binary.Uvarint(data[used:])
			if k <= 0 {
				return errRow
			}
			used += k
			if at += v; i == 0 {
				g.first, from = pair{a, at}, used
			}
			if i == n-1 {
				g.last, g.n, g.rest = pair{a, at}, n, data[from:used]
				data = data[used:]
				break
			}
		}
		fn(&g)
	}
	return nil
}

// sortPairs sorts pairs whose b ascend: by the upper half of a, which in tokens
// is as good as all of it, with one counting pass a byte.
func sortPairs(pairs []pair) {
	if slices.IsSortedFunc(pairs, comparePairs) {
		return
	}
	if len(pairs) < 1<<10 {
		slices.SortFunc(pairs, comparePairs)
		return
	}
	room := make([]pair, len(pairs))
	from, to := pairs, room
	for shift := 32; shift < 64; shift += 8 {
		var at [256]int
		for i := range from {
			at[sortByte(from[i].a, shift)]++
		}
		sum := 0
		for i, n := range at {
			at[i], sum = sum, sum+n
		}
		for i := range from {
			k := sortByte(from[i].a, shift)
			to[at[k]] = from[i]
			at[k]++
		}
		from, to = to, from
	}
	for i := 1; i < len(pairs); i++ { // what the lower half decides
		for k := i; k > 0 && comparePairs(pairs[k], pairs[k-1]) < 0; k-- {
			pairs[k], pairs[k-1] = pairs[k-1], pairs[k]
		}
	}
}

// sortByte returns a byte of a in which the sign sorts as it should.
func sortByte(a int64, shift int) byte { return byte((uint64(a) ^ 1<<63) >> shift) }

// spanWidth is how many entries a span is about.
const spanWidth = 1024

// A span is the earliest and the latest time of some entries.
type span struct{ earliest, latest int64 }

// spans are those of a segment's entries, by their index over spanWidth, from
// that of lo on.
type spans []span

func (s *spans) add(lo, index uint64, at span) {
	n := int(index/spanWidth - lo/spanWidth)
	if n == len(*s) {
		*s = append(*s, at)
		return
	}
	old := &(*s)[n]
	old.earliest, old.latest = min(old.earliest, at.earliest), max(old.latest, at.latest)
}

func (s spans) all() span {
	out := span{math.MaxInt64, math.MinInt64}
	for _, v := range s {
		out.earliest, out.latest = min(out.earliest, v.earliest), max(out.latest, v.latest)
	}
	return out
}

func (s spans) encode() []byte {
	out := make([]byte, 0, 16*len(s))
	for _, v := range s {
		out = binary.BigEndian.AppendUint64(out, uint64(v.earliest))
		out = binary.BigEndian.AppendUint64(out, uint64(v.latest))
	}
	return out
}

// decodeSpans reads the spans of a segment, or returns nil if they are not those
// of as many entries.
func decodeSpans(data []byte, seg segment) spans {
	if uint64(len(data)) != 16*((seg.hi-1)/spanWidth-seg.lo/spanWidth+1) {
		return nil
	}
	out := make(spans, 0, len(data)/16)
	for ; len(data) >= 16; data = data[16:] {
		out = append(out, span{int64(binary.BigEndian.Uint64(data)), int64(binary.BigEndian.Uint64(data[8:]))})
	}
	return out
}
