// Package multiset compares two unordered collections of facts about entries,
// those that a search index holds and those that it should, in little memory.
package multiset

import (
	"hash/maphash"
	"sync/atomic"
)

// Width is how many entries share a sum, so that a difference is located
// without keeping a sum for each.
const Width = 4096

// A Fact is something that an index says of an entry.
type Fact struct {
	Kind  byte
	Value uint64
	Index uint64
}

// Sums are order-independent sums of hashes of facts, by range of entries. The
// hash is keyed anew each time, so nobody can make facts up that come out
// right. Sums are safe for concurrent use.
type Sums struct {
	seed  maphash.Seed
	parts []atomic.Uint64
}

// New returns sums for size entries.
func New(size uint64) *Sums {
	return &Sums{maphash.MakeSeed(), make([]atomic.Uint64, size/Width+1)}
}

// Add adds a fact. One about an entry outside the range goes to the last.
func (s *Sums) Add(f Fact) { s.add(f, 1) }

// Remove takes a fact away.
func (s *Sums) Remove(f Fact) { s.add(f, -1) }

func (s *Sums) add(f Fact, sign int64) {
	part := min(f.Index/Width, uint64(len(s.parts)-1))
	s.parts[part].Add(uint64(sign * int64(maphash.Comparable(s.seed, f))))
}

// Difference returns the first entry of the first range whose facts that were
// added are not those that were removed.
func (s *Sums) Difference() (from uint64, found bool) {
	for part := range s.parts {
		if s.parts[part].Load() != 0 {
			return uint64(part) * Width, true
		}
	}
	return 0, false
}
