package server

import (
	"testing"

	"github.com/attestlog/attestlog"
)

// The ring holds so many entries, and fewer where they are large, but always the
// newest.
func TestTheRingIsBoundedInEntriesAndBytes(t *testing.T) {
	f := &ring{first: 7, next: 7}
	add := func(n, size int) {
		for range n {
			f.add(&sharedEntry{Entry: attestlog.Entry{Index: f.next, Disclosures: []attestlog.Disclosure{{Value: make([]byte, size)}}}})
		}
	}
	check := func(what string, entries, bytes int) {
		t.Helper()
		held, sum := 0, 0
		for _, e := range f.entries {
			if e != nil {
				held, sum = held+1, sum+e.size()
			}
		}
		if held != entries || sum != bytes || f.bytes != sum || f.next-f.first != uint64(entries) {
			t.Errorf("%s: the ring holds %d entries of %d bytes (counted as %d, from %d to %d); want %d of %d", what, held, sum, f.bytes, f.first, f.next, entries, bytes)
		}
		got, next, ok := f.since(f.first)
		if len(got) != entries || next != f.next || !ok {
			t.Errorf("%s: since gives %d entries up to %d, %t", what, len(got), next, ok)
		}
		if _, _, ok := f.since(f.first - 1); ok {
			t.Errorf("%s: an entry before the ring is said to be in it", what)
		}
	}
	add(3000, 1)
	check("small entries", ringSize, ringSize)
	add(100, 1<<20)
	check("large entries", 16, ringBytes)
	add(1, 2*ringBytes)
	check("one that is too large", 1, 2*ringBytes)
	add(5, 1)
	check("small entries behind it", 5, 5)
}
