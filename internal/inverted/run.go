package inverted

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
)

// rowBytes is about how long the data of a row is: three rows to a page.
const rowBytes = 2_500

// A runWriter packs sorted pairs into the rows of a run.
type runWriter struct {
	lo   uint64          // of the segment
	emit func(Row) error // the bytes are valid only during the call

	first Pair   // of the row
	last  Pair   // that was added
	data  []byte // the row's groups that are complete
	value int64  // of the last of them; first.Value if there is none

	indexes []byte // the indexes of the group that is not complete
	n       uint64 // how many there are
}

// add adds the next pair.
func (w *runWriter) add(p Pair) error {
	w.put(p)
	return w.flushIfFull()
}

// addGroup adds the pairs of a group, which come after those before. If the row
// would become too long, another begins with the group.
func (w *runWriter) addGroup(g *group) error {
	const heads = 4 * binary.MaxVarintLen64 // of this group and the one before
	if len(w.data)+len(w.indexes)+len(g.rest)+heads >= rowBytes {
		if err := w.flush(); err != nil {
			return err
		}
	}

	w.put(g.first)
	w.indexes = append(w.indexes, g.rest...)
	w.n += g.n - 1
	w.last = g.last
	return w.flushIfFull()
}

func (w *runWriter) put(p Pair) {
	if w.n > 0 && p.Value != w.last.Value {
		w.endGroup()
	}
	if w.n == 0 && len(w.data) == 0 {
		w.first = p
		w.value = p.Value
	}

	base := w.lo
	if w.n > 0 {
		base = w.last.Index
	}
	w.indexes = binary.AppendUvarint(w.indexes, p.Index-base)
	w.n++
	w.last = p
}

// endGroup moves the group that was being added to the complete ones.
func (w *runWriter) endGroup() {
	w.data = binary.AppendUvarint(w.data, uint64(w.last.Value-w.value))
	w.data = binary.AppendUvarint(w.data, w.n)
	w.data = append(w.data, w.indexes...)
	w.value = w.last.Value

	w.indexes = w.indexes[:0]
	w.n = 0
}

func (w *runWriter) flushIfFull() error {
	if len(w.data)+len(w.indexes) < rowBytes {
		return nil
	}
	return w.flush()
}

// flush emits the pairs that were added as a row, if there are any.
func (w *runWriter) flush() error {
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

// errRow is returned for a row that no runWriter writes. Groups and indexes
// ascend, and the indexes are within the segment.
var errRow = errors.New("has a row that cannot be read")

// eachGroup calls fn with the groups of a row until it returns false. The slice
// is valid only during the call. The error, if any, is errRow.
func eachGroup(row Row, seg Segment, fn func(value int64, indexes []uint64) bool) error {
	var indexes []uint64
	value := row.First.Value
	for pos := 0; pos < len(row.Data); {
		var n uint64
		value, n, pos = groupHead(row.Data, pos, value)
		if pos == 0 {
			return errRow
		}

		indexes = slices.Grow(indexes[:0], int(n)) // n is at most the row's length: groupHead
		index := seg.Lo
		for range n {
			delta, next := uvarint(row.Data, pos)
			repeated := delta == 0 && len(indexes) > 0
			if next == 0 || delta >= seg.Hi-index || repeated {
				return errRow
			}
			index += delta
			indexes = append(indexes, index)
			pos = next
		}
		if !fn(value, indexes) {
			return nil
		}
	}
	return nil
}

// groupHead reads the beginning of a group: its value, of which previous is the
// one of the group before, and the number n of its indexes. They begin at next,
// which is 0 if there is no such group.
func groupHead(data []byte, pos int, previous int64) (value int64, n uint64, next int) {
	delta, next := uvarint(data, pos)
	if next == 0 {
		return 0, 0, 0
	}
	n, next = uvarint(data, next)
	if n == 0 || n > uint64(len(data)) {
		return 0, 0, 0
	}

	// Only the first group of a row has the previous value, which is that of
	// the row's first pair. A delta that is too large for an int64 is negative.
	first := pos == 0
	value = previous + int64(delta)
	if (delta == 0) != first || value < previous {
		return 0, 0, 0
	}
	return value, n, next
}

// uvarint reads a varint, and returns the position after it, or 0 if there is
// none.
func uvarint(data []byte, pos int) (v uint64, next int) {
	if pos < len(data) && data[pos] < 0x80 {
		return uint64(data[pos]), pos + 1
	}

	v, n := binary.Uvarint(data[min(pos, len(data)):])
	if n <= 0 {
		return 0, 0
	}
	return v, pos + n
}

// A group is one of a row, still encoded: n pairs with the same value.
type group struct {
	first, last Pair
	n           uint64
	rest        []byte // the indexes except the first
}

// read reads the group at a position of a row, of which previous is the value
// of the group before. It checks what eachGroup checks, and returns the position
// after the group, or 0 if there is none.
func (g *group) read(data []byte, pos int, previous int64, seg Segment) (next int) {
	value, n, pos := groupHead(data, pos, previous)
	if pos == 0 {
		return 0
	}
	delta, pos := uvarint(data, pos)
	if pos == 0 || delta >= seg.Hi-seg.Lo {
		return 0
	}
	g.first = Pair{value, seg.Lo + delta}
	g.n = n

	index, rest := g.first.Index, pos
	for range n - 1 {
		delta, pos = uvarint(data, pos)
		if pos == 0 || delta == 0 || delta >= seg.Hi-index {
			return 0
		}
		index += delta
	}
	g.last = Pair{value, index}
	g.rest = data[rest:pos]
	return pos
}

// each calls fn with the pairs of the group.
func (g *group) each(fn func(Pair)) {
	p, rest := g.first, g.rest
	fn(p)
	for len(rest) > 0 {
		delta, n := binary.Uvarint(rest)
		rest = rest[n:]
		p.Index += delta
		fn(p)
	}
}

// A runReader reads a whole run, group by group.
type runReader struct {
	reader Reader
	seg    Segment
	kind   Kind

	group group // valid until next is called
	began bool  // there is a group

	rows []Row  // that were read, from the one that pos is in on
	pos  int    // in the data of rows[0]
	all  []Row  // scratch: what rows is a part of
	data []byte // scratch: the data of all
	last *Pair  // the first pair of the last row that was read; nil: none was
	done bool   // there are no more rows to read
}

// rowsAtOnce is how many rows of a run are read together.
const rowsAtOnce = 64

// next goes on to the next group, or returns false at the end. Groups that are
// not in order, so that a search would not find them, are an error.
func (r *runReader) next(ctx context.Context) (more bool, err error) {
	for len(r.rows) > 0 && r.pos == len(r.rows[0].Data) {
		r.rows = r.rows[1:]
		r.pos = 0
	}
	if len(r.rows) == 0 {
		err := r.load(ctx)
		if err != nil || len(r.rows) == 0 {
			return false, err
		}
	}

	row := &r.rows[0]
	before := r.group.last // read overwrites it
	previous := row.First.Value
	if r.pos > 0 {
		previous = before.Value
	}
	next := r.group.read(row.Data, r.pos, previous, r.seg)

	// A search looks for a row by the pair that it is stored under, and then goes
	// through pairs that ascend.
	first := r.group.first
	misplaced := r.pos == 0 && first != row.First
	descends := r.began && comparePairs(first, before) <= 0
	if next == 0 || misplaced || descends {
		return false, Corrupt(r.seg.Lo, errRow.Error())
	}
	r.pos = next
	r.began = true
	return true, nil
}

// load reads rows, if there are any more.
func (r *runReader) load(ctx context.Context) error {
	if r.done {
		return nil
	}

	r.all = r.all[:0]
	r.data = r.data[:0]
	r.pos = 0
	var last Pair
	err := r.reader.RowsAfter(ctx, r.seg.ID, r.kind, r.last, rowsAtOnce, func(row Row) error {
		if len(row.Data) == 0 { // next would pass over it
			return Corrupt(r.seg.Lo, errRow.Error())
		}
		last = row.First

		// The rows are copied one after another. Where append moves the copies,
		// earlier rows keep the old ones.
		from := len(r.data)
		r.data = append(r.data, row.Data...)
		row.Data = r.data[from:len(r.data):len(r.data)]
		r.all = append(r.all, row)
		return nil
	})
	if err != nil {
		return err
	}

	r.rows = r.all
	r.done = len(r.all) < rowsAtOnce
	r.last = &last
	return nil
}
