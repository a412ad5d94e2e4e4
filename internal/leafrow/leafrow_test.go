package leafrow_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/leafrow"
)

// What was packed comes back, whole or in any part, and rows keep their bounds.
func TestRowsGiveBackTheirLeaves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint64Range(0, 1<<40).Draw(t, "first")
		var records []attestlog.RawEntry
		for i, size := range rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 100, 413, 3999, 4000, 7999, 8000, 8001, 65_535}), 1, 200).Draw(t, "sizes") {
			records = append(records, attestlog.RawEntry{Index: first + uint64(i), Leaf: bytes.Repeat([]byte{'a' + byte(i%26)}, size)})
		}
		var rows []leafrow.Row
		err := leafrow.Pack(records, func(r leafrow.Row) error {
			if r.Count < 1 || r.Count > leafrow.MaxLeaves || r.Count > 1 && len(r.Leaves) > 8000 {
				t.Fatalf("a row of %d leaves and %d bytes", r.Count, len(r.Leaves))
			}
			r.Leaves = bytes.Clone(r.Leaves)
			rows = append(rows, r)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		size := uint64(len(records))
		from := rapid.Uint64Range(0, size).Draw(t, "from")
		to := rapid.Uint64Range(from, size).Draw(t, "to")
		want, got := records[from:to], []attestlog.RawEntry{}
		for _, r := range rows {
			err := r.Each(first+from, first+to, func(index uint64, leaf []byte) error {
				got = append(got, attestlog.RawEntry{Index: index, Leaf: bytes.Clone(leaf)})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if !slices.EqualFunc(want, got, func(a, b attestlog.RawEntry) bool { return a.Index == b.Index && bytes.Equal(a.Leaf, b.Leaf) }) {
			t.Fatalf("entries %d to %d come back as %d others", first+from, first+to, len(got))
		}
	})
}

func TestPackRefusesALineFeed(t *testing.T) {
	if err := leafrow.Pack([]attestlog.RawEntry{{Index: 7, Leaf: []byte("{\n}")}}, func(leafrow.Row) error { return nil }); err == nil {
		t.Error("a leaf with a line feed was packed")
	}
}

// A row that was changed gives the leaves before the change, and then fails.
func TestARowOfAnotherNumberOfLeavesFails(t *testing.T) {
	for _, test := range []struct {
		leaves string
		count  int
		want   []string
		index  uint64
	}{
		{"a\nb\nc", 2, []string{"10 a", "11 b"}, 12},
		{"a\nb", 3, []string{"10 a", "11 b"}, 12},
		{"axb\nc", 3, []string{"10 axb", "11 c"}, 12},
		{"a\nb\n", 2, []string{"10 a", "11 b"}, 12},
		{"", 2, []string{"10 "}, 11},
	} {
		var got []string
		err := leafrow.Row{First: 10, Count: test.count, Leaves: []byte(test.leaves)}.Each(0, 100, func(index uint64, leaf []byte) error {
			got = append(got, fmt.Sprintf("%d %s", index, leaf))
			return nil
		})
		var corrupt *attestlog.CorruptError
		if !errors.As(err, &corrupt) || corrupt.Index != test.index {
			t.Errorf("%q as %d leaves: %v; want a CorruptError at entry %d", test.leaves, test.count, err, test.index)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q as %d leaves (-want +got):\n%s", test.leaves, test.count, diff)
		}
	}
}
