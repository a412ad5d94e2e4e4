package inverted

import (
	"context"
	"encoding/binary"
	"math"
)

// spanWidth is how many entries a span is about.
const spanWidth = 1024

// A Span is the earliest and the latest time of some entries, in nanoseconds
// since 1970.
type Span struct{ Earliest, Latest int64 }

// join returns the span of the entries of both.
func (s Span) join(other Span) Span {
	return Span{min(s.Earliest, other.Earliest), max(s.Latest, other.Latest)}
}

// overlaps reports whether a time may be in the span that is after ≤ time <
// before.
func (s Span) overlaps(after, before int64) bool {
	return s.Latest >= after && s.Earliest < before
}

// spans are the spans of a segment's entries. Spans begin at multiples of
// spanWidth; the first is the one that Lo is in, and may be about fewer entries,
// as may the last.
type spans []Span

// spanBytes is how long a span is when it is stored.
const spanBytes = 16

// of returns the span that an entry of the segment is in.
func (s spans) of(seg Segment, index uint64) Span {
	return s[index/spanWidth-seg.Lo/spanWidth]
}

// add adds the times of further entries, of which index is one. Entries come in
// order, from lo on.
func (s *spans) add(lo, index uint64, times Span) {
	n := int(index/spanWidth - lo/spanWidth)
	if n == len(*s) {
		*s = append(*s, times)
		return
	}
	(*s)[n] = (*s)[n].join(times)
}

// all returns the span of all entries.
func (s spans) all() Span {
	out := Span{math.MaxInt64, math.MinInt64}
	for _, span := range s {
		out = out.join(span)
	}
	return out
}

func (s spans) encode() []byte {
	out := make([]byte, 0, spanBytes*len(s))
	for _, span := range s {
		out = binary.BigEndian.AppendUint64(out, uint64(span.Earliest))
		out = binary.BigEndian.AppendUint64(out, uint64(span.Latest))
	}
	return out
}

func readSpans(ctx context.Context, r Reader, seg Segment) (spans, error) {
	data, err := r.Spans(ctx, seg.ID)
	if err != nil {
		return nil, err
	}

	n := (seg.Hi-1)/spanWidth - seg.Lo/spanWidth + 1
	if uint64(len(data)) != n*spanBytes {
		return nil, Corrupt(seg.Lo, "has a segment with the spans of more or fewer entries")
	}
	out := make(spans, 0, n)
	for ; len(data) > 0; data = data[spanBytes:] {
		out = append(out, Span{
			Earliest: int64(binary.BigEndian.Uint64(data)),
			Latest:   int64(binary.BigEndian.Uint64(data[8:])),
		})
	}
	return out, nil
}
