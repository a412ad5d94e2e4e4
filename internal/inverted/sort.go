package inverted

import "slices"

const (
	digitBits = 11
	digits    = 3 // of the upper 33 bits
)

// sortPairs sorts pairs whose B ascend, and returns them, in room where that is
// large enough: with one counting pass a digit of the upper half of A, which in
// tokens is nearly all that matters.
func sortPairs(pairs, room []Pair) (sorted, other []Pair) {
	if slices.IsSortedFunc(pairs, comparePairs) {
		return pairs, room
	}
	if cap(room) < len(pairs) {
		room = make([]Pair, len(pairs), cap(pairs))
	}
	var counts [digits][1 << digitBits]uint32
	for i := range pairs {
		for d := range digits {
			counts[d][digit(pairs[i].A, d)]++
		}
	}
	from, to := pairs, room[:len(pairs)]
	for d := range digits {
		at := &counts[d]
		sum := uint32(0)
		for i, n := range at {
			at[i], sum = sum, sum+n
		}
		for i := range from {
			k := digit(from[i].A, d)
			to[at[k]] = from[i]
			at[k]++
		}
		from, to = to, from
	}
	for i := 0; i < len(from); {
		end, inOrder := i+1, true
		for ; end < len(from) && sameDigits(from[end].A, from[i].A); end++ {
			inOrder = inOrder && from[end-1].A <= from[end].A
		}
		if !inOrder {
			slices.SortFunc(from[i:end], comparePairs)
		}
		i = end
	}
	return from, to
}

// digit returns the d-th digit of the upper bits of a, from below, in which the
// sign sorts as it should.
func digit(a int64, d int) uint64 {
	return (uint64(a) ^ 1<<63) >> (64 - digitBits*(digits-d)) % (1 << digitBits)
}

func sameDigits(a, b int64) bool { return (a^b)>>(64-digitBits*digits) == 0 }
