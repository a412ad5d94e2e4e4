package convert

import (
	"bytes"
	"slices"
	"sort"

	"github.com/attestlog/attestlog/internal/loosejson"
)

// again refuses a record, and gives back what it has from its first object on
// that begins a line. Of the objects there, those that were open when the record
// failed would fail in the same place: they are refused when they are met, so
// that no byte is read more than twice for it.
func (s *splitter) again(reason error) error {
	if s.inner == 0 {
		return s.refuse(reason)
	}
	open, begins := outline(s.buf)
	if reason == ErrTooLong { // those that began late may have an end
		late, _ := slices.BinarySearch(open, MaxRecord/2)
		open = open[:late]
	}
	s.failed = failures{reason: reason}
	for _, at := range open[min(1, len(open)):] {
		ends := len(s.buf)
		if next := sort.SearchInts(begins, at+1); next < len(begins) {
			ends = begins[next]
		}
		s.failed.at = append(s.failed.at, failure{s.start.offset + int64(at), s.start.offset + int64(ends)})
	}
	from := position{s.start.offset + int64(s.inner), s.start.line + bytes.Count(s.buf[:s.inner], []byte{'\n'})}
	s.giveBack(s.buf[s.inner:], from)
	return s.refuse(reason)
}

// failures are the objects that are known to fail, in their order.
type failures struct {
	reason error
	at     []failure
}

// A failure is an object's offset, and where to go on behind its beginning.
type failure struct{ offset, ends int64 }

// of returns why the object at an offset fails, or nil, and where to go on.
// Offsets come in order.
func (f *failures) of(offset int64) (ends int64, reason error) {
	for len(f.at) > 0 && f.at[0].offset < offset {
		f.at = f.at[1:]
	}
	if len(f.at) == 0 || f.at[0].offset != offset {
		return 0, nil
	}
	return f.at[0].ends, f.reason
}

// outline returns where the objects begin that do not end in text, and those that
// begin a line. The text's brackets fit.
func outline(text []byte) (open, begins []int) {
	var depths []int // the brackets around each of open
	depth := 0
	for pos := 0; pos < len(text); pos++ {
		switch c := text[pos]; c {
		case '"':
			pos = loosejson.SkipString(text, pos) - 1
			continue
		case '{', '[':
			depth++
			if c == '{' {
				open, depths = append(open, pos), append(depths, depth)
				if pos > 0 && text[pos-1] == '\n' {
					begins = append(begins, pos)
				}
			}
		case '}', ']':
			if n := len(open); c == '}' && n > 0 && depths[n-1] == depth {
				open, depths = open[:n-1], depths[:n-1]
			}
			depth--
		}
	}
	return open, begins
}
