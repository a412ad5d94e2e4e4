package inverted

import (
	"encoding/binary"
	"math"
)

// spanWidth is how many entries a span is about.
const spanWidth = 1024

// A Span is the earliest and the latest time of some entries.
type Span struct{ Earliest, Latest int64 }

// spans are those of a segment's entries, by their index over spanWidth, from
// that of lo on.
type spans []Span

func (s *spans) add(lo, index uint64, at Span) {
	n := int(index/spanWidth - lo/spanWidth)
	if n == len(*s) {
		*s = append(*s, at)
		return
	}
	old := &(*s)[n]
	old.Earliest, old.Latest = min(old.Earliest, at.Earliest), max(old.Latest, at.Latest)
}

func (s spans) all() Span {
	out := Span{math.MaxInt64, math.MinInt64}
	for _, v := range s {
		out.Earliest, out.Latest = min(out.Earliest, v.Earliest), max(out.Latest, v.Latest)
	}
	return out
}

func (s spans) encode() []byte {
	out := make([]byte, 0, 16*len(s))
	for _, v := range s {
		out = binary.BigEndian.AppendUint64(out, uint64(v.Earliest))
		out = binary.BigEndian.AppendUint64(out, uint64(v.Latest))
	}
	return out
}

// decodeSpans reads the spans of a segment, or returns nil if they are not those
// of as many entries.
func decodeSpans(data []byte, seg Segment) spans {
	if uint64(len(data)) != 16*((seg.Hi-1)/spanWidth-seg.Lo/spanWidth+1) {
		return nil
	}
	out := make(spans, 0, len(data)/16)
	for ; len(data) >= 16; data = data[16:] {
		out = append(out, Span{int64(binary.BigEndian.Uint64(data)), int64(binary.BigEndian.Uint64(data[8:]))})
	}
	return out
}
