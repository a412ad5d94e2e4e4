// Package multiset compares two collections of facts about entries in little
// memory and in any order: the facts that a search index holds, and those that
// it should hold.
//
// For each range of entries it keeps a sum of keyed hashes, one for each fact:
// added for the one collection, subtracted for the other. The sum is zero if
// the collections are the same. This is the additive multiset hash of Clarke,
// Devadas, van Dijk, Gassend and Suh, "Incremental Multiset Hash Functions and
// Their Application to Memory Integrity Checking" (ASIACRYPT 2003), with sums
// of 64 bits, which is enough because nobody learns the key or a sum.
package multiset

import (
	"hash/maphash"
	"sync/atomic"
)

// Width is how many entries share a sum: a difference is located to a range of
// that many entries.
const Width = 4096

// A Fact is something that an index says about an entry.
type Fact struct {
	Kind  byte   // what Value is
	Value uint64 // a term's token, or a time
	Index uint64 // of the entry
}

// Sums are the sums of two collections of facts, by range of entries. The key
// of the hash is new for each Sums, so nobody can make up facts whose hashes
// add up to those of others. The methods are safe for concurrent use.
type Sums struct {
	seed   maphash.Seed
	ranges []atomic.Uint64 // the sum of each Width entries
}

// New returns sums for the facts about the first size entries of a log.
func New(size uint64) *Sums {
	return &Sums{maphash.MakeSeed(), make([]atomic.Uint64, size/Width+1)}
}

// Add adds a fact to the one collection. A fact about an entry past the size
// counts for the last range.
func (s *Sums) Add(f Fact) { s.add(f, 1) }

// Remove adds a fact to the other collection, and so takes it away from the
// sum.
func (s *Sums) Remove(f Fact) { s.add(f, -1) }

func (s *Sums) add(f Fact, sign int64) {
	n := min(f.Index/Width, uint64(len(s.ranges)-1))
	s.ranges[n].Add(uint64(sign * int64(maphash.Comparable(s.seed, f))))
}

// Difference returns the first entry of the first range in which the
// collections differ, and whether there is one.
func (s *Sums) Difference() (from uint64, found bool) {
	for n := range s.ranges {
		if s.ranges[n].Load() != 0 {
			return uint64(n) * Width, true
		}
	}
	return 0, false
}
