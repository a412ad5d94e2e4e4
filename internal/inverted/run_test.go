package inverted

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// A run gives back the pairs that were put into it, whichever way they came.
func TestRunsKeepTheirPairs(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		lo := rnd.Uint64N(1 << 40)
		var want []Pair
		for i := range uint64(rnd.IntN(5000)) {
			for range rnd.IntN(4) {
				a := int64(rnd.Uint64())
				switch rnd.IntN(4) {
				case 0:
					a = int64(rnd.IntN(3)) << (8 * rnd.IntN(8)) // common ones
				case 1:
					a = int64(rnd.IntN(2000)) << 50 // some that come a few times
				case 2:
					a = 1e18 + int64(rnd.IntN(1e9)) // that differ in the lower half
				}
				want = append(want, Pair{a, lo + i*uint64(1+rnd.IntN(2)*1000)})
			}
		}
		slices.SortStableFunc(want, func(x, y Pair) int { return int(x.Index) - int(y.Index) })
		got, _ := sortPairs(slices.Clone(want), nil)
		slices.SortFunc(want, comparePairs)
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: sortPairs does not sort", round)
		}
		want = slices.Compact(want)

		var rows, copied []Row
		keep := func(to *[]Row) func(Row) error {
			return func(r Row) error {
				if len(r.Data) > rowBytes+rowBytes/10 {
					t.Fatalf("a row of %d bytes", len(r.Data))
				}
				*to = append(*to, Row{r.First, slices.Clone(r.Data)})
				return nil
			}
		}
		hi := lo + 1<<24
		w := runWriter{lo: lo, emit: keep(&rows)}
		for _, p := range want {
			w.add(p)
		}
		w.flush()
		c := runWriter{lo: lo - min(lo, 77), emit: keep(&copied)}
		for _, r := range rows {
			var g group
			a := r.First.Value
			for at := 0; at < len(r.Data); a = g.last.Value {
				if at = g.read(r.Data, at, a, Segment{Lo: lo, Hi: hi}); at == 0 {
					t.Fatalf("round %d: a row has a group that cannot be read", round)
				}
				c.addGroup(&g)
			}
		}
		c.flush()
		for _, side := range []struct {
			lo   uint64
			rows []Row
		}{{lo, rows}, {c.lo, copied}} {
			var back []Pair
			for _, r := range side.rows {
				n := len(back)
				err := eachGroup(r, Segment{Lo: side.lo, Hi: hi}, func(a int64, group []uint64) bool {
					for _, b := range group {
						back = append(back, Pair{a, b})
					}
					return true
				})
				if err != nil || len(back) == n || back[n] != r.First {
					t.Fatalf("round %d: a row under %v begins otherwise (%v)", round, r.First, err)
				}
			}
			if !slices.Equal(back, want) {
				t.Fatalf("round %d: %d pairs came back as %d", round, len(want), len(back))
			}
		}
	}
}

// The row that the package comment shows.
func TestTheBytesOfARow(t *testing.T) {
	var got []byte
	w := runWriter{lo: 1000, emit: func(r Row) error {
		if r.First != (Pair{7, 1005}) {
			t.Errorf("the row is stored under %v, want (7, 1005)", r.First)
		}
		got = slices.Clone(r.Data)
		return nil
	}}
	for _, p := range []Pair{{7, 1005}, {7, 1006}, {7, 1016}, {9, 1001}} {
		w.add(p)
	}
	w.flush()

	want := []byte{0x00, 0x03, 0x05, 0x01, 0x0a, 0x02, 0x01, 0x01}
	if !bytes.Equal(got, want) {
		t.Errorf("the row is % x, want % x", got, want)
	}
}
