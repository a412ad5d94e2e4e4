package postgres

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A run gives back the pairs that were put into it, whichever way they came.
func TestRunsKeepTheirPairs(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		lo := rnd.Uint64N(1 << 40)
		var want []pair
		for i := range uint64(rnd.IntN(5000)) {
			for range rnd.IntN(4) {
				a := int64(rnd.Uint64())
				switch rnd.IntN(3) {
				case 0:
					a = int64(rnd.IntN(3)) << (8 * rnd.IntN(8)) // common ones
				case 1:
					a = int64(rnd.IntN(2000)) << 50 // some that come a few times
				}
				want = append(want, pair{a, lo + i*uint64(1+rnd.IntN(2)*1000)})
			}
		}
		slices.SortStableFunc(want, func(x, y pair) int { return int(x.b) - int(y.b) })
		got := slices.Clone(want)
		sortPairs(got)
		slices.SortFunc(want, comparePairs)
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: sortPairs does not sort", round)
		}
		want = slices.Compact(want)

		type row struct {
			first pair
			data  []byte
		}
		var rows, copied []row
		keep := func(to *[]row) func(pair, []byte) error {
			return func(first pair, data []byte) error {
				if len(data) > 3*rowBytes {
					t.Fatalf("a row of %d bytes", len(data))
				}
				*to = append(*to, row{first, slices.Clone(data)})
				return nil
			}
		}
		w := runWriter{lo: lo, emit: keep(&rows)}
		for _, p := range want {
			w.add(p)
		}
		w.end()
		c := runWriter{lo: lo - min(lo, 77), emit: keep(&copied)}
		for _, r := range rows {
			if err := pieces(r.first, lo, r.data, func(g *groupPiece) { c.addPiece(g) }); err != nil {
				t.Fatal(err)
			}
		}
		c.end()
		for _, side := range []struct {
			lo   uint64
			rows []row
		}{{lo, rows}, {c.lo, copied}} {
			var back []pair
			for _, r := range side.rows {
				n := len(back)
				err := eachGroup(r.first, side.lo, r.data, func(a int64, group []uint64) bool {
					for _, b := range group {
						back = append(back, pair{a, b})
					}
					return true
				})
				if err != nil || len(back) == n || back[n] != r.first {
					t.Fatalf("round %d: a row under %v begins otherwise (%v)", round, r.first, err)
				}
			}
			if !slices.Equal(back, want) {
				t.Fatalf("round %d: %d pairs came back as %d", round, len(want), len(back))
			}
		}
	}
}
