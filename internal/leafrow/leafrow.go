// Package leafrow puts the leaves of consecutive entries together in rows of a
// database page, which are written and read several times faster than a row for
// each leaf. Within a row leaves stand on lines of their own: a leaf is canonical
// JSON, which has no line feed.
package leafrow

import (
	"bytes"
	"fmt"

	"github.com/attestlog/attestlog"
)

// Most is how many leaves a row may hold.
const Most = 64

// maxBytes is how long the leaves of a row may be, unless it holds only one: what
// a page of 8 KB takes with its own bytes.
const maxBytes = 8_000

// A Row holds the leaves of Count entries from First on.
type Row struct {
	First  uint64
	Count  int
	Leaves []byte
}

// Pack calls put with the leaves of consecutive records in rows. The bytes are
// valid only during the call.
func Pack(records []attestlog.RawEntry, put func(Row) error) error {
	var buf []byte
	for len(records) > 0 {
		row := Row{First: records[0].Index}
		buf = buf[:0]
		for _, r := range records[:min(Most, len(records))] {
			if bytes.IndexByte(r.Leaf, '\n') >= 0 {
				return fmt.Errorf("the leaf of entry %d has a line feed, so it is not canonical JSON", r.Index)
			}
			if row.Count > 0 {
				if len(buf)+1+len(r.Leaf) > maxBytes {
					break
				}
				buf = append(buf, '\n')
			}
			buf = append(buf, r.Leaf...)
			row.Count++
		}
		row.Leaves = buf
		if err := put(row); err != nil {
			return err
		}
		records = records[row.Count:]
	}
	return nil
}

// Next returns the index of the entry behind the row's last.
func (r Row) Next() uint64 { return r.First + uint64(r.Count) }

// Each calls fn with those of the row's leaves whose index is from ≤ index < to,
// in order. The bytes alias the row. A row that does not have as many leaves as
// it says is a *attestlog.CorruptError about the first of the others, once those
// that are asked for were given.
func (r Row) Each(from, to uint64, fn func(index uint64, leaf []byte) error) error {
	have := bytes.Count(r.Leaves, newline) + 1
	index, rest := r.First, r.Leaves
	for range min(have, max(r.Count, 0)) {
		leaf, after, _ := bytes.Cut(rest, newline)
		if index >= from && index < to {
			if err := fn(index, leaf); err != nil {
				return err
			}
		}
		rest = after
		index++
	}
	if have != r.Count || have > Most {
		return &attestlog.CorruptError{Index: index, Where: "leaf", Err: fmt.Errorf("the row that it is in has %d leaves and says %d", have, r.Count)}
	}
	return nil
}

var newline = []byte{'\n'}
