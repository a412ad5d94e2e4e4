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
	next  uint64 // the entry that comes next
	spans spans
	pairs [len(kinds)][]Pair
	room  []Pair // for sorting
	term  []byte
	emit  func(field string, value []byte)
}

// NewBuilder returns a builder of a segment from the entry lo on.
func NewBuilder(key Key, lo uint64) *Builder {
	b := &Builder{key: key}
	b.emit = func(field string, value []byte) {
		var token int64
		token, b.term = b.key.token(b.term, field, value)
		b.pairs[Terms] = append(b.pairs[Terms], Pair{token, b.next})
	}
	b.Reset(lo)
	return b
}

// Reset begins another segment.
func (b *Builder) Reset(lo uint64) {
	b.lo, b.next, b.spans = lo, lo, b.spans[:0]
	b.forget()
}

// forget drops the pairs of the entries so far.
func (b *Builder) forget() {
	for kind := range b.pairs {
		b.pairs[kind] = b.pairs[kind][:0]
	}
}

// Add adds the next entry. Errors are of type *attestlog.CorruptError.
func (b *Builder) Add(r *attestlog.RawEntry) error {
	if r.Index != b.next {
		return &attestlog.CorruptError{Index: b.next, Where: "leaf", Err: errors.New("missing")}
	}
	if err := attestlog.Terms(r.Leaf, r.Disclosures, b.emit); err != nil {
		return &attestlog.CorruptError{Index: r.Index, Where: "leaf", Err: err}
	}
	at, ok := attestlog.LeafTime(r.Leaf)
	if !ok {
		return &attestlog.CorruptError{Index: r.Index, Where: "leaf", Err: errors.New("has no time")}
	}
	b.pairs[Times] = append(b.pairs[Times], Pair{at, r.Index})
	b.spans.add(b.lo, r.Index, Span{at, at})
	b.next++
	return nil
}

// Segment returns the segment, without an ID, and its spans, which are to be
// kept with it.
func (b *Builder) Segment() (Segment, []byte) {
	return Segment{Lo: b.lo, Hi: b.next, Span: b.spans.all()}, b.spans.encode()
}

// Rows calls put with the segment's rows, by kind and then in order. The bytes
// are valid only during the call.
func (b *Builder) Rows(put func(Kind, Row) error) error {
	for _, kind := range kinds {
		w := runWriter{lo: b.lo, emit: func(r Row) error { return put(kind, r) }}
		for _, p := range b.sorted(kind) {
			if err := w.add(p); err != nil {
				return err
			}
		}
		if err := w.end(); err != nil {
			return err
		}
	}
	return nil
}

// sorted returns the pairs of a kind, each once.
func (b *Builder) sorted(kind Kind) []Pair {
	b.pairs[kind], b.room = sortPairs(b.pairs[kind], b.room)
	b.pairs[kind] = slices.Compact(b.pairs[kind])
	return b.pairs[kind]
}
