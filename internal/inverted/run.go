package inverted

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
)

// A Pair stands in a run, which is sorted by A and then by B.
type Pair struct {
	A int64
	B uint64
}

func comparePairs(x, y Pair) int {
	if c := cmp.Compare(x.A, y.A); c != 0 {
		return c
	}
	return cmp.Compare(x.B, y.B)
}

// rowBytes is about how long the data of a row of runs is: three to a page.
const rowBytes = 2_500

// A runWriter packs sorted pairs into rows. A row's data is a list of groups
// with the same a: the difference to the group before, how many pairs there
// are, and their b, the first less the segment's lo and each other less the
// one before; all of them as unsigned varints.
type runWriter struct {
	lo   uint64
	emit func(Row) error // the bytes are valid only during the call

	first Pair // of the row
	last  Pair
	prevA int64 // of the group before
	data  []byte
	group []byte
	n     uint64 // pairs in group
}

func (w *runWriter) add(p Pair) error {
	w.put(p)
	return w.endIfFull()
}

func (w *runWriter) put(p Pair) {
	if w.n > 0 && p.A != w.last.A {
		w.endGroup()
	}
	if w.n == 0 && len(w.data) == 0 {
		w.first, w.prevA = p, p.A
	}
	base := w.lo
	if w.n > 0 {
		base = w.last.B
	}
	w.group = binary.AppendUvarint(w.group, p.B-base)
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
	first, last Pair
	n           uint64
	rest        []byte
}

// each calls fn with the pairs of the piece.
func (g *groupPiece) each(fn func(Pair)) {
	p, rest := g.first, g.rest
	fn(p)
	for len(rest) > 0 {
		v, n := binary.Uvarint(rest)
		rest = rest[n:]
		p.B += v
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
	w.data = binary.AppendUvarint(w.data, uint64(w.last.A-w.prevA))
	w.data = binary.AppendUvarint(w.data, w.n)
	w.data = append(w.data, w.group...)
	w.prevA, w.group, w.n = w.last.A, w.group[:0], 0
}

// end emits the last row.
func (w *runWriter) end() error {
	if w.n > 0 {
		w.endGroup()
	}
	if len(w.data) == 0 {
		return nil
	}
	err := w.emit(Row{w.first, w.data})
	w.data = w.data[:0]
	return err
}

var errRow = errors.New("the search index has a row that cannot be read")

// eachGroup calls fn with the groups of a segment's row until it returns false. b
// is valid only during the call. What no runWriter writes is errRow: groups and
// pairs ascend, and are about the segment's entries.
func eachGroup(row Row, seg Segment, fn func(a int64, b []uint64) bool) error {
	a, data := row.First.A, row.Data
	var group []uint64
	for i := 0; i < len(data); {
		delta, k := uvarint(data, i)
		n, m := uvarint(data, k)
		if k == 0 || m == 0 || n == 0 || n > uint64(len(data)) || (delta == 0) != (i == 0) || a+int64(delta) < a {
			return errRow
		}
		a, i = a+int64(delta), m
		group = slices.Grow(group[:0], int(n))
		at := seg.Lo
		for range n {
			v, next := uvarint(data, i)
			if next == 0 || v >= seg.Hi-at || v == 0 && len(group) > 0 {
				return errRow
			}
			at, i = at+v, next
			group = append(group, at)
		}
		if !fn(a, group) {
			return nil
		}
	}
	return nil
}

// uvarint reads a varint at i, and returns where the next begins: 0 if there is
// none.
func uvarint(data []byte, i int) (v uint64, next int) {
	if i < len(data) && data[i] < 0x80 {
		return uint64(data[i]), i + 1
	}
	v, n := binary.Uvarint(data[min(i, len(data)):])
	if n <= 0 {
		return 0, 0
	}
	return v, i + n
}

// readPiece reads the group at from in a row of a segment, behind one of a, and
// returns where the next begins: 0 if it cannot be read, as eachGroup says.
func (g *groupPiece) readPiece(data []byte, from int, a int64, seg Segment) (next int) {
	delta, i := uvarint(data, from)
	if i == 0 || (delta == 0) != (from == 0) || a+int64(delta) < a {
		return 0
	}
	n, i := uvarint(data, i)
	if i == 0 || n == 0 || n > uint64(len(data)) {
		return 0
	}
	v, i := uvarint(data, i)
	if i == 0 || v >= seg.Hi-seg.Lo {
		return 0
	}
	a += int64(delta)
	g.first, g.n = Pair{a, seg.Lo + v}, n
	b, rest := g.first.B, i
	for range n - 1 {
		if v, i = uvarint(data, i); i == 0 || v == 0 || v >= seg.Hi-b {
			return 0
		}
		b += v
	}
	g.last, g.rest = Pair{a, b}, data[rest:i]
	return i
}
