package merkle_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/attestlog/attestlog/internal/merkle"
)

// maxSize is that of the largest tree in these tests. It has an open tile in
// three levels: 1 hash in level 2, 17 in level 1 and 112 in level 0.
const maxSize = 1<<16 + 17<<8 + 112

// A place is where a tile is in a tree.
type place struct {
	level int
	n     uint64
}

// A tree is what the tree of a given size is read from.
type tree struct {
	leaves [][]byte
	tiles  map[place][]byte
}

// at returns a source that has what the tree had at a size, and no more.
func (t *tree) at(size uint64) merkle.Source {
	return merkle.Source{
		Tile: func(level int, n uint64) ([]byte, error) {
			data, ok := t.tiles[place{level, n}]
			if !ok || merkle.FirstLeaf(level, n+1) > size {
				return nil, fmt.Errorf("no tile %d/%d in a tree of size %d", level, n, size)
			}
			return data, nil
		},
		Leaves: func(from, to uint64, fn func(uint64, []byte) error) error {
			for i := from; i < min(to, size, uint64(len(t.leaves))); i++ {
				err := fn(i, t.leaves[i])
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// stored has the leaves of a log, and its hashes as package tlog stores them. The
// hashes of a smaller tree are the first of them.
var stored = sync.OnceValue(func() (s struct {
	leaves [][]byte
	hashes tlog.HashReaderFunc
}) {
	var all []tlog.Hash
	s.hashes = func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			out[i] = all[index]
		}
		return out, nil
	}

	for i := range maxSize {
		leaf := fmt.Appendf(nil, `{"n":%d}`, i)
		s.leaves = append(s.leaves, leaf)
		hashes, err := tlog.StoredHashes(int64(i), leaf, s.hashes)
		if err != nil {
			panic(err)
		}
		all = append(all, hashes...)
	}
	return s
})

// newTree returns the largest tree. Its tiles are those of package tlog.
func newTree() *tree {
	return &tree{leaves: slices.Clone(stored().leaves), tiles: maps.Clone(storedTiles())}
}

var storedTiles = sync.OnceValue(func() map[place][]byte {
	tiles := map[place][]byte{}
	for _, t := range tlog.NewTiles(merkle.TileHeight, 0, maxSize) {
		if t.W < merkle.TileWidth {
			continue
		}
		data, err := tlog.ReadTileData(t, stored().hashes)
		if err != nil {
			panic(err)
		}
		tiles[place{t.L, uint64(t.N)}] = data
	}
	return tiles
})

func wantRoot(t rapid.TB, size uint64) merkle.Hash {
	if size == 0 {
		return merkle.EmptyRoot // tlog has no hash of an empty tree
	}
	root, err := tlog.TreeHash(int64(size), stored().hashes)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// wantHead is the tree of a size, from the hashes that tlog has for it.
func wantHead(t rapid.TB, size uint64) merkle.Head {
	var indexes []int64
	for level := 63; level >= 0; level-- {
		if size>>level&1 == 1 {
			indexes = append(indexes, tlog.StoredHashIndex(level, int64(size>>level)-1))
		}
	}
	peaks, err := stored().hashes(indexes)
	if err != nil {
		t.Fatal(err)
	}

	head := merkle.Head{Size: size, Root: wantRoot(t, size), Peaks: peaks, OpenTile: []merkle.Hash{}}
	for i := size - size%merkle.TileWidth; i < size; i++ {
		head.OpenTile = append(head.OpenTile, tlog.RecordHash(stored().leaves[i]))
	}
	return head
}

func compareHead(t rapid.TB, got, want merkle.Head) {
	if got.Size != want.Size || got.Root != want.Root || !slices.Equal(got.Peaks, want.Peaks) || !slices.Equal(got.OpenTile, want.OpenTile) {
		t.Errorf("edge of size %d (-want +got):\n%s", want.Size, cmp.Diff(want, got))
	}
}

func TestPushAgreesWithTlogAtEverySize(t *testing.T) {
	var edge merkle.Edge
	if edge.Size() != 0 || edge.Root() != merkle.EmptyRoot || len(edge.Peaks()) != 0 || len(edge.OpenTile()) != 0 {
		t.Errorf("the empty edge is %+v", edge.Head())
	}

	tiles := map[place][]byte{}
	for i, leaf := range stored().leaves {
		size := uint64(i + 1)
		edge.Push(merkle.LeafHash(leaf), func(tile merkle.Tile) {
			if merkle.FirstLeaf(tile.Level, tile.N+1) != size {
				t.Errorf("the leaf that makes the size %d fills tile %d/%d", size, tile.Level, tile.N)
			}
			tiles[place{tile.Level, tile.N}] = tile.Hashes
		})

		// The whole head is compared around the ends of tiles, and now and then.
		if size%merkle.TileWidth <= 1 || size%97 == 0 {
			compareHead(t, edge.Head(), wantHead(t, size))
		} else if edge.Root() != wantRoot(t, size) {
			t.Errorf("root of size %d is %v, want %v", size, edge.Root(), wantRoot(t, size))
		}
		if t.Failed() {
			t.FailNow()
		}
	}

	if !maps.EqualFunc(tiles, storedTiles(), bytes.Equal) {
		t.Errorf("%d tiles, want the %d of package tlog", len(tiles), len(storedTiles()))
	}
}

// A head is a copy, which later leaves do not change.
func TestHeadStaysAsItWas(t *testing.T) {
	var edge merkle.Edge
	heads := []merkle.Head{edge.Head()}
	for _, leaf := range stored().leaves[:600] {
		edge.Push(merkle.LeafHash(leaf), func(merkle.Tile) {})
		heads = append(heads, edge.Head())
	}

	for size, head := range heads {
		compareHead(t, head, wantHead(t, uint64(size)))
	}
}

func TestALoadedEdgeGoesOn(t *testing.T) {
	tree := newTree()
	sizes := rapid.OneOf(
		rapid.Uint64Range(0, maxSize),
		rapid.Uint64Range(0, 600),
		rapid.Map(rapid.Uint64Range(0, maxSize>>merkle.TileHeight), func(n uint64) uint64 { return n << merkle.TileHeight }),
		rapid.Uint64Range(1<<16-2, 1<<16+2),
	)
	rapid.Check(t, func(t *rapid.T) {
		size := sizes.Draw(t, "size")
		edge, err := merkle.LoadEdge(wantHead(t, size), tree.at(size))
		if err != nil {
			t.Fatalf("LoadEdge at size %d: %v", size, err)
		}
		compareHead(t, edge.Head(), wantHead(t, size))

		end := min(maxSize, size+rapid.Uint64Range(0, 600).Draw(t, "more"))
		filled := 0
		for i := size; i < end; i++ {
			edge.Push(merkle.LeafHash(tree.leaves[i]), func(tile merkle.Tile) {
				filled++
				if !bytes.Equal(tile.Hashes, tree.tiles[place{tile.Level, tile.N}]) {
					t.Errorf("tile %d/%d, filled at size %d, is not that of package tlog", tile.Level, tile.N, i+1)
				}
			})
		}
		compareHead(t, edge.Head(), wantHead(t, end))

		want := 0
		for _, tile := range tlog.NewTiles(merkle.TileHeight, int64(size), int64(end)) {
			if tile.W == merkle.TileWidth {
				want++
			}
		}
		if filled != want {
			t.Errorf("from size %d to %d, %d tiles were filled, want %d", size, end, filled, want)
		}
	})
}

func flip(data []byte) []byte {
	data = slices.Clone(data)
	data[len(data)/2] ^= 1
	return data
}

func TestLoadEdgeNamesTheDamage(t *testing.T) {
	const firstOpen = maxSize - 112
	tests := []struct {
		name   string
		damage func(tree *tree, head *merkle.Head)
		want   merkle.Error // without Err
		text   string       // in its text
	}{
		{
			"a leaf is changed",
			func(tree *tree, _ *merkle.Head) { tree.leaves[firstOpen+70] = flip(tree.leaves[firstOpen+70]) },
			merkle.Error{Index: firstOpen + 70, Where: "leaf"}, "does not hash to what the tree has",
		},
		{
			"leaves are missing",
			func(tree *tree, _ *merkle.Head) { tree.leaves = tree.leaves[:firstOpen+50] },
			merkle.Error{Index: firstOpen + 50, Where: "leaf"}, "missing",
		},
		{
			"a hash of the open tile is changed",
			func(_ *tree, head *merkle.Head) { head.OpenTile[3][0] ^= 1 },
			merkle.Error{Index: firstOpen + 3, Where: "leaf"}, "does not hash to what the tree has",
		},
		{
			"the open tile is too short",
			func(_ *tree, head *merkle.Head) { head.OpenTile = head.OpenTile[:100] },
			merkle.Error{Index: firstOpen + 100, Where: "leaf"}, "does not hash to what the tree has",
		},
		{
			"the open tile is too long",
			func(_ *tree, head *merkle.Head) { head.OpenTile = append(head.OpenTile, merkle.Hash{}) },
			merkle.Error{Index: maxSize, Where: "tree"}, "113 hashes in an open tile of 112",
		},
		{
			"the first peak is changed",
			func(_ *tree, head *merkle.Head) { head.Peaks[0][0] ^= 1 },
			merkle.Error{Index: 0, Where: "tree"}, "peak 0",
		},
		{
			"the second peak is changed",
			func(_ *tree, head *merkle.Head) { head.Peaks[1][0] ^= 1 },
			merkle.Error{Index: 1 << 16, Where: "tree"}, "peak 1",
		},
		{
			"the last peak is changed",
			func(_ *tree, head *merkle.Head) { head.Peaks[len(head.Peaks)-1][0] ^= 1 },
			merkle.Error{Index: maxSize - 16, Where: "tree"}, "peak 5",
		},
		{
			"two peaks change places",
			func(_ *tree, head *merkle.Head) { head.Peaks[3], head.Peaks[4] = head.Peaks[4], head.Peaks[3] },
			merkle.Error{Index: maxSize - 112, Where: "tree"}, "peak 3",
		},
		{
			"a peak is missing",
			func(_ *tree, head *merkle.Head) { head.Peaks = head.Peaks[1:] },
			merkle.Error{Index: maxSize, Where: "tree"}, "5 peaks for 70000 entries",
		},
		{
			"a peak is too many",
			func(_ *tree, head *merkle.Head) { head.Peaks = append(head.Peaks, merkle.Hash{}) },
			merkle.Error{Index: maxSize, Where: "tree"}, "7 peaks for 70000 entries",
		},
		{
			"the root is changed",
			func(_ *tree, head *merkle.Head) { head.Root[0] ^= 1 },
			merkle.Error{Index: 0, Where: "tree"}, "root",
		},
		{
			"a tile of level 1 is changed",
			func(tree *tree, _ *merkle.Head) { tree.tiles[place{1, 0}] = flip(tree.tiles[place{1, 0}]) },
			merkle.Error{Index: 0, Where: "tree"}, "peak 0",
		},
		{
			"a tile of level 0 is changed",
			func(tree *tree, _ *merkle.Head) { tree.tiles[place{0, 272}] = flip(tree.tiles[place{0, 272}]) },
			merkle.Error{Index: 272 << 8, Where: "tree"}, "peak 2",
		},
		{
			"a tile is cut",
			func(tree *tree, _ *merkle.Head) { tree.tiles[place{0, 260}] = tree.tiles[place{0, 260}][:8_000] },
			merkle.Error{Index: 260 << 8, Where: "tile 0/260"}, "8000 bytes",
		},
		{
			"a tile is empty",
			func(tree *tree, _ *merkle.Head) { tree.tiles[place{1, 0}] = nil },
			merkle.Error{Index: 0, Where: "tile 1/0"}, "0 bytes",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := newTree()
			head := wantHead(t, maxSize)
			tt.damage(tree, &head)

			_, err := merkle.LoadEdge(head, tree.at(maxSize))
			var got *merkle.Error
			if !errors.As(err, &got) {
				t.Fatalf("LoadEdge = %v, want a *merkle.Error", err)
			}
			if got.Index != tt.want.Index || got.Where != tt.want.Where || !strings.Contains(got.Err.Error(), tt.text) {
				t.Errorf("LoadEdge = %v, want %q at leaf %d, %s", got, tt.text, tt.want.Index, tt.want.Where)
			}
		})
	}
}

// A changed bit is found in whichever of its reads LoadEdge gets it.
func TestLoadEdgeFindsAnySpoiledRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Uint64Range(1, maxSize).Draw(t, "size")
		read := newTree().at(size)
		head := wantHead(t, size)

		// What is read is counted first, and then one of the reads is spoiled.
		reads, spoiled := 0, -1
		src := merkle.Source{
			Tile: func(level int, n uint64) ([]byte, error) {
				data, err := read.Tile(level, n)
				if reads == spoiled {
					data = flip(data)
				}
				reads++
				return data, err
			},
			Leaves: func(from, to uint64, fn func(uint64, []byte) error) error {
				return read.Leaves(from, to, func(i uint64, leaf []byte) error {
					if reads == spoiled {
						leaf = flip(leaf)
					}
					reads++
					return fn(i, leaf)
				})
			},
		}
		_, err := merkle.LoadEdge(head, src)
		if err != nil {
			t.Fatal(err)
		}

		spoiled = rapid.IntRange(0, reads-1).Draw(t, "spoiled")
		reads = 0
		_, err = merkle.LoadEdge(head, src)
		var bad *merkle.Error
		if !errors.As(err, &bad) || bad.Index >= size {
			t.Errorf("LoadEdge at size %d with read %d spoiled: %v", size, spoiled, err)
		}
	})
}

func TestErrorsOfTheSourceStayTheirOwn(t *testing.T) {
	broken := errors.New("disk broken")
	good := newTree().at(maxSize)
	head := wantHead(t, maxSize)

	noTiles := good
	noTiles.Tile = func(int, uint64) ([]byte, error) { return nil, broken }
	noLeaves := good
	noLeaves.Leaves = func(uint64, uint64, func(uint64, []byte) error) error { return broken }

	for name, src := range map[string]merkle.Source{"tiles": noTiles, "leaves": noLeaves} {
		_, err := merkle.LoadEdge(head, src)
		if !errors.Is(err, broken) {
			t.Errorf("LoadEdge without %s = %v, want %v", name, err, broken)
		}
		_, err = tlog.ProveRecord(maxSize, maxSize-1, merkle.HashReader(maxSize, head.Root, src))
		if !errors.Is(err, broken) {
			t.Errorf("ProveRecord without %s = %v, want %v", name, err, broken)
		}
	}
}

func TestProofsAreTlogs(t *testing.T) {
	tree := newTree()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Uint64Range(1, maxSize).Draw(t, "size")
		index := rapid.Uint64Range(0, size-1).Draw(t, "index")
		older := rapid.Uint64Range(1, size).Draw(t, "older size")
		root := wantRoot(t, size)
		hashes := merkle.HashReader(size, root, tree.at(size))

		inclusion, err := tlog.ProveRecord(int64(size), int64(index), hashes)
		if err != nil {
			t.Fatalf("ProveRecord(%d, %d): %v", size, index, err)
		}
		want, err := tlog.ProveRecord(int64(size), int64(index), stored().hashes)
		if err != nil || !slices.Equal(inclusion, want) {
			t.Errorf("ProveRecord(%d, %d) (%v) (-want +got):\n%s", size, index, err, cmp.Diff(want, inclusion))
		}
		err = tlog.CheckRecord(inclusion, int64(size), root, int64(index), merkle.LeafHash(tree.leaves[index]))
		if err != nil {
			t.Errorf("CheckRecord(%d, %d): %v", size, index, err)
		}

		consistency, err := tlog.ProveTree(int64(size), int64(older), hashes)
		if err != nil {
			t.Fatalf("ProveTree(%d, %d): %v", size, older, err)
		}
		wantTree, err := tlog.ProveTree(int64(size), int64(older), stored().hashes)
		if err != nil || !slices.Equal(consistency, wantTree) {
			t.Errorf("ProveTree(%d, %d) (%v) (-want +got):\n%s", size, older, err, cmp.Diff(wantTree, consistency))
		}

		before, err := merkle.RootAt(merkle.Head{Size: size, Root: root}, older, tree.at(size))
		if err != nil || before != wantRoot(t, older) {
			t.Errorf("RootAt(%d) in a tree of %d = %v, %v", older, size, before, err)
		}
	})
}

func TestRootOfTheEmptyTree(t *testing.T) {
	root, err := merkle.RootAt(wantHead(t, 300), 0, merkle.Source{})
	if err != nil || root != merkle.EmptyRoot {
		t.Errorf("RootAt(0) = %v, %v", root, err)
	}
}

// A proof is made from nothing that does not lead to the root.
func TestNoProofOfDamage(t *testing.T) {
	for name, damage := range map[string]func(*tree){
		"a leaf":            func(tree *tree) { tree.leaves[maxSize-1] = flip(tree.leaves[maxSize-1]) },
		"a tile of level 0": func(tree *tree) { tree.tiles[place{0, 272}] = flip(tree.tiles[place{0, 272}]) },
		"a tile of level 1": func(tree *tree) { tree.tiles[place{1, 0}] = flip(tree.tiles[place{1, 0}]) },
	} {
		tree := newTree()
		damage(tree)
		hashes := merkle.HashReader(maxSize, wantRoot(t, maxSize), tree.at(maxSize))
		proof, err := tlog.ProveRecord(maxSize, maxSize-1, hashes)
		if err == nil {
			t.Errorf("with %s changed, ProveRecord = %v", name, proof)
		}
	}
}

func TestHashesOfATile(t *testing.T) {
	src := newTree().at(maxSize)
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.IntRange(0, 2).Draw(t, "level")
		have := uint64(maxSize) >> (level * merkle.TileHeight)
		n := rapid.Uint64Range(0, (have-1)>>merkle.TileHeight).Draw(t, "tile")
		width := rapid.IntRange(1, int(min(merkle.TileWidth, have-n<<merkle.TileHeight))).Draw(t, "width")

		data, err := tlog.ReadTileData(tlog.Tile{H: merkle.TileHeight, L: level, N: int64(n), W: width}, stored().hashes)
		if err != nil {
			t.Fatal(err)
		}

		isFull := (n+1)<<merkle.TileHeight <= have
		for _, full := range []bool{false, true} {
			if full && !isFull {
				continue
			}
			got, err := src.Hashes(level, n, width, full)
			if err != nil || len(got) != width || !bytes.Equal(merkle.JoinHashes(got), data) {
				t.Errorf("Hashes(%d, %d, %d, %t) = %d hashes, %v, want those of package tlog", level, n, width, full, len(got), err)
			}
		}
	})
}

func TestLeafHashIsTlogs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaf := rapid.SliceOfN(rapid.Byte(), 0, 3_000).Draw(t, "leaf")
		if got, want := merkle.LeafHash(leaf), tlog.RecordHash(leaf); got != want {
			t.Errorf("LeafHash(%q) = %v, want %v", leaf, got, want)
		}
	})
}

func TestHashesAreSplitAsTheyWereJoined(t *testing.T) {
	data := newTree().tiles[place{0, 0}]
	for n := range merkle.TileWidth + 1 {
		hashes, err := merkle.SplitHashes(data[:n*len(merkle.Hash{})])
		if err != nil || len(hashes) != n || !bytes.HasPrefix(data, merkle.JoinHashes(hashes)) {
			t.Errorf("%d hashes were split into %d", n, len(hashes))
		}
	}
	if hashes, err := merkle.SplitHashes(data[:63]); err == nil {
		t.Errorf("SplitHashes of 63 bytes = %d hashes, want an error", len(hashes))
	}
}

func TestSplitTileWantsAFullTile(t *testing.T) {
	data := newTree().tiles[place{0, 0}]
	hashes, err := merkle.SplitTile(data)
	if err != nil || !bytes.Equal(merkle.JoinHashes(hashes), data) {
		t.Errorf("JoinHashes(SplitTile(tile)) is not the tile: %v", err)
	}

	for _, data := range [][]byte{nil, data[:8_160], data[:8_191], append(slices.Clone(data), 0)} {
		hashes, err := merkle.SplitTile(data)
		if err == nil {
			t.Errorf("SplitTile of %d bytes = %d hashes, want an error", len(data), len(hashes))
		}
	}
}

func TestFullTilesAreCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Uint64Range(0, maxSize).Draw(t, "size")
		want := uint64(0)
		for _, tile := range tlog.NewTiles(merkle.TileHeight, 0, int64(size)) {
			if tile.W == merkle.TileWidth {
				want++
			}
		}
		if got := merkle.FullTiles(size); got != want {
			t.Errorf("FullTiles(%d) = %d, want %d", size, got, want)
		}
	})
}
