package convert_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog/convert"
)

// Ids never change: importing a source again, with a later build, must add
// nothing. The hashes of the last two records share their first 44 bits and not
// the 45th, so they count as equal.
func TestIDsAreThoseOfEarlierBuilds(t *testing.T) {
	ids := convert.NewIDs("f", "s")
	var got []string
	for _, n := range []int{0, 0, 5033406, 5425337, 5425337} {
		got = append(got, ids.Next(fmt.Appendf(nil, "record %d", n)))
	}

	want := []string{
		"f:d80da26ff8e17f4a08819b1011905332",
		"f:88276693348e56bd8903afb0eb26b88d",
		"f:74084d5e9a45b5751cd62faa6c3e8e62",
		"f:e95f5c7041b2d8c211cdbb529e812a05",
		"f:22c3039c85e1f013280a98671c0be8c4",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

// A record of its own has the id that it has when it is the first of its source.
func TestIDIsThatOfTheFirst(t *testing.T) {
	record := []byte("record 7")
	if got, want := convert.ID("f", "s", record), convert.NewIDs("f", "s").Next(record); got != want {
		t.Errorf("ID = %s, want %s", got, want)
	}
}
