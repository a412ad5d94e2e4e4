package merkle_test

import (
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/attestlog/attestlog/internal/merkle"
)

// sizesOfTrees are sizes around the ends of tiles more often than others.
var sizesOfTrees = rapid.OneOf(
	rapid.Uint64Range(0, maxSize),
	rapid.Uint64Range(0, 600),
	rapid.Map(rapid.Uint64Range(0, maxSize>>merkle.TileHeight), func(n uint64) uint64 { return n << merkle.TileHeight }),
	rapid.Uint64Range(1<<16-2, 1<<16+2),
)

// Whatever trees are adopted one after the other, the hashes of all their leaves are
// those of package tlog.
func TestProvenLeavesAreTlogs(t *testing.T) {
	tree := newTree()
	rapid.Check(t, func(t *rapid.T) {
		var p merkle.Proven
		trusted := sizesOfTrees.Draw(t, "trusted")
		size := trusted
		for range 4 {
			size = max(size, sizesOfTrees.Draw(t, "size"))
			err := p.Adopt(wantHead(t, size), trusted, wantRoot(t, trusted), tree.at(size))
			if err != nil || p.Size() != size {
				t.Fatalf("Adopt the tree of size %d = %v, size %d", size, err, p.Size())
			}
			if size == 0 {
				continue
			}
			for range 3 {
				index := rapid.Uint64Range(0, size-1).Draw(t, "index")
				got, err := p.Leaf(index, tree.at(size))
				if err != nil || got != tlog.RecordHash(stored().leaves[index]) {
					t.Fatalf("leaf %d of %d = %v, %v", index, size, got, err)
				}
			}
			_, err = p.Leaf(size, tree.at(size))
			if !errors.Is(err, merkle.ErrNotProven) {
				t.Fatalf("leaf %d of %d = %v, want ErrNotProven", size, size, err)
			}
		}
	})
}

// No hash is given out that is not the tree's, whichever tile somebody has changed.
func TestNoLeafOfAChangedTileIsGivenOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := newTree()
		size := rapid.Uint64Range(1, maxSize).Draw(t, "size")
		index := rapid.Uint64Range(0, size-1).Draw(t, "index")
		level := rapid.IntRange(0, 1).Draw(t, "level")
		at := place{level, index >> (merkle.TileHeight * (level + 1))}
		if tree.tiles[at] == nil || merkle.FirstLeaf(at.level, at.n+1) > size {
			t.Skip("the tile is not full")
		}

		var p merkle.Proven
		before := rapid.Bool().Draw(t, "adopted before")
		adopt := func() error { return p.Adopt(wantHead(t, size), 0, merkle.Hash{}, tree.at(size)) }
		if before && adopt() != nil {
			t.Fatal("the tree was not adopted")
		}
		changed := append([]byte(nil), tree.tiles[at]...)
		position := rapid.IntRange(0, len(changed)-1).Draw(t, "byte")
		changed[position] ^= 1
		tree.tiles[at] = changed

		var wrong *merkle.Error
		if !before {
			err := adopt()
			if errors.As(err, &wrong) { // its right edge has the tile
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got, err := p.Leaf(index, tree.at(size))
		if err == nil && got == tlog.RecordHash(stored().leaves[index]) && level > 0 {
			return // adopting the tree had read the tile below
		}
		if !errors.As(err, &wrong) {
			t.Fatalf("leaf %d under the changed tile %v = %v, %v", index, at, got, err)
		}
	})
}

// A tree that does not hold what was there before is not adopted, and changes nothing.
func TestATreeThatDoesNotGoOnIsNotAdopted(t *testing.T) {
	genuine, forged := newTree(), newTree()
	const size, forgedAt = 3_000, 700
	forged.leaves[forgedAt] = []byte(`{"n":"forged"}`)
	var edge merkle.Edge
	heads := map[uint64]merkle.Head{}
	forged.tiles = map[place][]byte{}
	for i, leaf := range forged.leaves[:size+500] {
		edge.Push(merkle.LeafHash(leaf), func(tile merkle.Tile) { forged.tiles[place{tile.Level, tile.N}] = tile.Hashes })
		heads[uint64(i+1)] = edge.Head()
	}

	var wrong *merkle.Error
	for _, trusted := range []uint64{701, 768, 1_024, size} {
		var p merkle.Proven
		err := p.Adopt(heads[size], trusted, wantRoot(t, trusted), forged.at(size))
		if !errors.As(err, &wrong) || p.Size() != 0 {
			t.Errorf("a tree that does not hold the trusted one of %d leaves = %v, size %d", trusted, err, p.Size())
		}
	}
	for _, later := range []uint64{size, size + 1, size + 500} {
		var p merkle.Proven
		if err := p.Adopt(wantHead(t, size), 0, merkle.Hash{}, genuine.at(size)); err != nil {
			t.Fatal(err)
		}
		err := p.Adopt(heads[later], 0, merkle.Hash{}, forged.at(later))
		if !errors.As(err, &wrong) || p.Size() != size {
			t.Errorf("a tree of %d leaves that does not go on = %v, size %d", later, err, p.Size())
		}
		got, err := p.Leaf(forgedAt, genuine.at(size))
		if err != nil || got != tlog.RecordHash(genuine.leaves[forgedAt]) {
			t.Errorf("after that, leaf %d = %v, %v", forgedAt, got, err)
		}
	}

	// One that is smaller than what is trusted was cut.
	var p merkle.Proven
	err := p.Adopt(wantHead(t, 500), 501, wantRoot(t, 501), genuine.at(500))
	if !errors.As(err, &wrong) {
		t.Errorf("a tree that was cut = %v", err)
	}
}

func BenchmarkProvenLeaf(b *testing.B) {
	tree := newTree()
	var p merkle.Proven
	if err := p.Adopt(wantHead(b, maxSize), 0, merkle.Hash{}, tree.at(maxSize)); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		_, err := p.Leaf(uint64(i*7919)%maxSize, tree.at(maxSize))
		if err != nil {
			b.Fatal(err)
		}
	}
}
