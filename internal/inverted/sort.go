package inverted

import "slices"

// The upper 33 bits of a value are three digits of 11 bits.
const (
	digitBits = 11
	digits    = 3
)

// sortPairs sorts pairs, whose indexes ascend already. It returns them either
// in the memory of pairs or in that of scratch, and the other of the two, which
// it may have made larger.
//
// It is a radix sort with one counting pass for each digit of the upper half of
// the values. Tokens are random, so hardly any two that differ have the same
// upper half; those few, and times close together, are compared afterwards.
func sortPairs(pairs, scratch []Pair) (sorted, other []Pair) {
	if slices.IsSortedFunc(pairs, comparePairs) {
		return pairs, scratch
	}
	if cap(scratch) < len(pairs) {
		scratch = make([]Pair, len(pairs), cap(pairs))
	}

	// Every digit is counted at once, since sorting by one does not change how
	// often the others occur.
	var counts [digits][1 << digitBits]uint32
	for i := range pairs {
		for d := range digits {
			counts[d][digit(pairs[i].Value, d)]++
		}
	}

	from, to := pairs, scratch[:len(pairs)]
	for d := range digits {
		// The counts become the position of the next pair with each digit.
		next := &counts[d]
		sum := uint32(0)
		for i, n := range next {
			next[i] = sum
			sum += n
		}
		for i := range from {
			k := digit(from[i].Value, d)
			to[next[k]] = from[i]
			next[k]++
		}
		from, to = to, from
	}

	// Pairs with the same digits are still in the order of their indexes, because
	// each pass keeps the order of equal ones. Only their values may be out of
	// order.
	for i := 0; i < len(from); {
		end, inOrder := i+1, true
		for ; end < len(from) && sameDigits(from[end].Value, from[i].Value); end++ {
			inOrder = inOrder && from[end-1].Value <= from[end].Value
		}
		if !inOrder {
			slices.SortFunc(from[i:end], comparePairs)
		}
		i = end
	}
	return from, to
}

// digit returns a digit of a value's upper bits, of which digit 0 is the least
// significant. The sign bit is inverted, so that negative values come first.
func digit(value int64, d int) uint64 {
	return (uint64(value) ^ 1<<63) >> (64 - digitBits*(digits-d)) % (1 << digitBits)
}

func sameDigits(a, b int64) bool { return (a^b)>>(64-digitBits*digits) == 0 }
