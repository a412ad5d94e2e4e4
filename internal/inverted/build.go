package inverted

import (
	"errors"
	"slices"

	"github.com/attestlog/attestlog"
)

// A Builder makes a segment of consecutive entries.
type Builder struct {
	key   Key
	lo    uint64
	next  uint64 // the index of the entry that comes next
	spans spans
	pairs [len(kinds)][]Pair

	lastTime int64 // of the entry before

	// Memory that is used again.
	scratch []Pair // for sorting
	term    []byte
	addTerm func(field string, value []byte)
}

// NewBuilder returns a builder of a segment from the entry lo on.
func NewBuilder(key Key, lo uint64) *Builder {
	b := &Builder{key: key}
	b.addTerm = func(field string, value []byte) {
		var token int64
		token, b.term = b.key.token(b.term, field, value)
		b.pairs[Terms] = append(b.pairs[Terms], Pair{token, b.next})
	}
	b.Reset(lo)
	return b
}

// Reset begins another segment.
func (b *Builder) Reset(lo uint64) {
	b.lo = lo
	b.next = lo
	b.lastTime = 0
	b.spans = b.spans[:0]
	b.dropPairs()
}

func (b *Builder) dropPairs() {
	for kind := range b.pairs {
		b.pairs[kind] = b.pairs[kind][:0]
	}
}

// Add adds the next entry. Errors are of type *attestlog.CorruptError.
func (b *Builder) Add(r *attestlog.RawEntry) error {
	if r.Index != b.next {
		return errLeaf(b.next, errMissing)
	}

	if err := attestlog.Terms(r.Leaf, r.Disclosures, b.addTerm); err != nil {
		return errLeaf(r.Index, err)
	}

	when, ok := attestlog.LeafTime(r.Leaf)
	if !ok {
		return errLeaf(r.Index, errors.New("has no time"))
	}
	b.addTime(when)
	return nil
}

// Skip is Add for an entry that is damaged. It has no terms, and is put next to the one
// before it in the order of time, so that it is not left out there.
func (b *Builder) Skip() {
	terms := b.pairs[Terms]
	for len(terms) > 0 && terms[len(terms)-1].Index == b.next { // of an Add that failed
		terms = terms[:len(terms)-1]
	}
	b.pairs[Terms] = terms
	b.addTime(b.lastTime)
}

// addTime ends the entry that comes next.
func (b *Builder) addTime(when int64) {
	b.pairs[Times] = append(b.pairs[Times], Pair{when, b.next})
	b.spans.add(b.lo, b.next, Span{when, when})
	b.lastTime = when
	b.next++
}

// Segment returns the segment, without an ID, and the bytes of its spans.
func (b *Builder) Segment() (Segment, []byte) {
	return Segment{Lo: b.lo, Hi: b.next, Span: b.spans.all()}, b.spans.encode()
}

// Rows calls put with the segment's rows, kind by kind and in order, until put
// returns an error, which Rows returns. The bytes are valid only during the
// call.
func (b *Builder) Rows(put func(Kind, Row) error) error {
	for _, kind := range kinds {
		w := runWriter{lo: b.lo, emit: func(r Row) error { return put(kind, r) }}
		for _, p := range b.sorted(kind) {
			if err := w.add(p); err != nil {
				return err
			}
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}

// sorted returns the pairs of a kind in order, each once.
func (b *Builder) sorted(kind Kind) []Pair {
	b.pairs[kind], b.scratch = sortPairs(b.pairs[kind], b.scratch)
	b.pairs[kind] = slices.Compact(b.pairs[kind])
	return b.pairs[kind]
}

var errMissing = errors.New("missing")

// errLeaf returns the error of an entry that cannot be indexed.
func errLeaf(index uint64, err error) error {
	return &attestlog.CorruptError{Index: index, Where: "leaf", Err: err}
}
