package postgres

import (
	"cmp"
	"encoding/binary"
	"errors"
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
	if len(w.data)+len(w.group) >= rowBytes {
		return w.end()
	}
	return nil
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
	out := s[0]
	for _, v := range s[1:] {
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

func decodeSpans(data []byte) spans {
	out := make(spans, 0, len(data)/16)
	for ; len(data) >= 16; data = data[16:] {
		out = append(out, span{int64(binary.BigEndian.Uint64(data)), int64(binary.BigEndian.Uint64(data[8:]))})
	}
	return out
}
