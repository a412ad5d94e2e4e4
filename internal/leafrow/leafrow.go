// Package leafrow puts the leaves of consecutive entries together in rows that
// fit a database page. They are written and read several times faster than with
// a row for each leaf.
//
// The leaves of a row are separated by a line feed. A leaf is canonical JSON
// (RFC 8785), which has none itself:
//
//	{"action":"login","actor":{"id":"alice"},…,"v":1}
//	{"action":"mail.view","actor":{"id":"alice"},…,"v":1}
package leafrow

import (
	"bytes"
	"fmt"

	"github.com/attestlog/attestlog"
)

// MaxLeaves is how many leaves a row may hold.
const MaxLeaves = 64

// maxBytes is how many bytes the leaves of a row may have, unless it holds only
// one leaf: what fits a page of 8 KiB next to the page's own bytes.
const maxBytes = 8_000

// A Row holds the leaves of Count entries.
type Row struct {
	First  uint64 // the index of the first entry
	Count  int
	Leaves []byte // the leaves in order, separated by line feeds
}

// Pack calls put with the leaves of consecutive entries in rows, in order, until
// put returns an error, which Pack returns. The bytes are valid only during the
// call.
func Pack(entries []attestlog.RawEntry, put func(Row) error) error {
	var buf []byte
	for len(entries) > 0 {
		row := Row{First: entries[0].Index}
		buf = buf[:0]
		for _, entry := range entries[:min(MaxLeaves, len(entries))] {
			if bytes.IndexByte(entry.Leaf, '\n') >= 0 {
				return fmt.Errorf("the leaf of entry %d has a line feed, so it is not canonical JSON", entry.Index)
			}

			// A row takes its first leaf however long it is, so that each row has one.
			if row.Count > 0 {
				if len(buf)+1+len(entry.Leaf) > maxBytes {
					break
				}
				buf = append(buf, '\n')
			}
			buf = append(buf, entry.Leaf...)
			row.Count++
		}

		row.Leaves = buf
		if err := put(row); err != nil {
			return err
		}
		entries = entries[row.Count:]
	}
	return nil
}

// Next returns the index of the entry after the row's last.
func (r Row) Next() uint64 { return r.First + uint64(r.Count) }

// Each calls fn with the row's leaves of the entries from ≤ index < to, in
// order, until fn returns an error, which Each returns. The bytes alias the row.
//
// A row with fewer or more leaves than Count, or more than MaxLeaves, is a
// *attestlog.CorruptError. It names the first entry whose leaf is missing or
// too many, and is returned after fn was called with the leaves before it.
func (r Row) Each(from, to uint64, fn func(index uint64, leaf []byte) error) error {
	leaves := bytes.Count(r.Leaves, newline) + 1
	index, rest := r.First, r.Leaves
	for range min(leaves, max(r.Count, 0)) {
		leaf, after, _ := bytes.Cut(rest, newline)
		if index >= from && index < to {
			if err := fn(index, leaf); err != nil {
				return err
			}
		}
		rest = after
		index++
	}

	if leaves != r.Count || leaves > MaxLeaves {
		return &attestlog.CorruptError{
			Index: index,
			Where: "leaf",
			Err:   fmt.Errorf("its row holds %d leaves, and says %d", leaves, r.Count),
		}
	}
	return nil
}

var newline = []byte{'\n'}
