package merkle

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
)

// maxProven is how many tiles a Proven keeps: 15.5 MiB of hashes.
const maxProven = 1_984

// maxGrown is how many leaves a Proven adds one by one to go on to a larger tree.
const maxGrown = 1 << 16

// ErrNotProven is returned for a leaf that is not in the tree that was adopted.
var ErrNotProven = errors.New("the leaf is not in the tree")

// A Proven gives the hashes of a tree's leaves, each of which it has followed up to
// the root of a tree that it was told to trust, and of larger trees that go on from
// that one. What it reads may have been changed by anybody: only what fits is given
// out. Its methods are safe for concurrent use, except that one call of Adopt is made
// at a time.
type Proven struct {
	mu    sync.Mutex
	edge  *Edge // of the adopted tree, never changed; nil before the first. Guarded by mu.
	tiles map[place][]Hash
	order []place // of tiles, oldest first from next on
	next  int
}

// A place is that of a full tile.
type place struct {
	level int
	n     uint64
}

// Size returns the size of the adopted tree.
func (p *Proven) Size() uint64 {
	e := p.adopted()
	if e == nil {
		return 0
	}
	return e.size
}

func (p *Proven) adopted() *Edge {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.edge
}

// Adopt goes on to a larger tree, once that has been proven to hold the adopted one.
// The first tree is adopted if it holds the trusted one of the given size and root; if
// that size is 0, nothing vouches for it. A smaller tree is left alone. An error that
// is about the trees is an *Error.
func (p *Proven) Adopt(tree Head, trustedSize uint64, trustedRoot Hash, src Source) error {
	before := p.adopted()
	if before != nil && tree.Size <= before.size {
		if tree.Size == before.size && tree.Root != before.Root() {
			return notExtended(before.size)
		}
		return nil
	}
	if before == nil && tree.Size < trustedSize {
		return &Error{tree.Size, "tree", fmt.Errorf("it has %d leaves and had %d", tree.Size, trustedSize)}
	}

	var edge *Edge
	var err error
	if before != nil && tree.Size-before.size <= maxGrown {
		edge, err = before.grown(tree, src)
	} else {
		edge, err = edgeOf(tree, src)
		if err == nil {
			size, root := trustedSize, trustedRoot
			if before != nil {
				size, root = before.size, before.Root()
			}
			err = checkHolds(tree, size, root, src)
		}
	}
	if err != nil {
		return err
	}

	p.set(edge)
	return nil
}

// Begin adopts the first tree, by its edge, which was checked before.
func (p *Proven) Begin(edge *Edge) { p.set(edge.clone()) }

func (p *Proven) set(edge *Edge) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.edge = edge
}

func notExtended(size uint64) error {
	return &Error{size, "tree", fmt.Errorf("it does not go on from the tree of %d leaves that was there before", size)}
}

// checkHolds checks that a tree's first leaves are those of a smaller one.
func checkHolds(tree Head, size uint64, root Hash, src Source) error {
	if size == 0 {
		return nil
	}
	got, err := RootAt(tree, size, src)
	if err == nil && got != root {
		err = notExtended(size)
	}
	return err
}

// edgeOf reads the right edge of a tree, with the leaf hashes that the tree says its
// open tile has, and checks it against the root.
func edgeOf(tree Head, src Source) (*Edge, error) {
	if uint64(len(tree.OpenTile)) != tree.Size%TileWidth || len(tree.Peaks) != bits.OnesCount64(tree.Size) {
		return nil, &Error{tree.Size, "tree", errors.New("its open tile and peaks are not those of its size")}
	}

	e := &Edge{size: tree.Size, levels: [][]Hash{slices.Clone(tree.OpenTile)}}
	for level := 1; tree.Size>>(level*TileHeight) > 0; level++ {
		have := tree.Size >> (level * TileHeight)
		open, err := src.Hashes(level, have>>TileHeight, int(have%TileWidth), false)
		if err != nil {
			return nil, err
		}
		e.levels = append(e.levels, open)
	}
	e.peaks = peaksOf(e.levels)
	if e.Root() != tree.Root {
		return nil, &Error{0, "tree", errors.New("root does not follow from the tiles")}
	}
	return e, nil
}

// grown returns the edge after the leaves that a larger tree has in addition. It has
// the larger tree's root only if that tree goes on from this one.
func (e *Edge) grown(tree Head, src Source) (*Edge, error) {
	out := e.clone()
	for out.size < tree.Size {
		hashes := tree.OpenTile
		n := out.size / TileWidth
		if n < tree.Size/TileWidth {
			var err error
			hashes, err = src.Hashes(0, n, TileWidth, true)
			if err != nil {
				return nil, err
			}
		}
		from := int(out.size % TileWidth)
		if len(hashes) <= from {
			return nil, &Error{tree.Size, "tree", errors.New("its open tile is not that of its size")}
		}
		for _, h := range hashes[from:] {
			out.Push(h, func(Tile) {})
		}
	}
	if out.size != tree.Size || out.Root() != tree.Root {
		return nil, notExtended(e.size)
	}
	return out, nil
}

func (e *Edge) clone() *Edge {
	out := &Edge{size: e.size, peaks: slices.Clone(e.peaks)}
	for _, hashes := range e.levels {
		out.levels = append(out.levels, append(make([]Hash, 0, TileWidth), hashes...))
	}
	return out
}

// Leaf returns the hash of a leaf. The error is ErrNotProven if the adopted tree does
// not have it, and an *Error if a tile does not fit.
func (p *Proven) Leaf(index uint64, src Source) (Hash, error) {
	e := p.adopted()
	if e == nil || index >= e.size {
		return Hash{}, ErrNotProven
	}

	n := index / TileWidth
	if n == e.size/TileWidth {
		return e.levels[0][index%TileWidth], nil
	}
	hashes, err := p.tile(e, place{0, n}, src)
	if err != nil {
		return Hash{}, err
	}
	return hashes[index%TileWidth], nil
}

// tile returns the hashes of a full tile, which are not to be changed.
func (p *Proven) tile(e *Edge, at place, src Source) ([]Hash, error) {
	known := p.known(at)
	if known != nil {
		return known, nil
	}
	hashes, err := src.Hashes(at.level, at.n, TileWidth, true)
	if err != nil {
		return nil, err
	}

	// Its root is a hash of the level above.
	above := place{at.level + 1, at.n / TileWidth}
	var want Hash
	if above.n == e.size>>(above.level*TileHeight)/TileWidth {
		want = e.levels[above.level][at.n%TileWidth]
	} else {
		parents, err := p.tile(e, above, src)
		if err != nil {
			return nil, err
		}
		want = parents[at.n%TileWidth]
	}
	if subtreeRoot(slices.Clone(hashes)) != want {
		return nil, &Error{FirstLeaf(at.level, at.n), Where(at.level, at.n), errors.New("does not hash to what the tree has for it")}
	}

	p.keep(at, hashes)
	return hashes, nil
}

func (p *Proven) known(at place) []Hash {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tiles[at]
}

// keep keeps a tile, in the place of the oldest one if there are too many.
func (p *Proven) keep(at place, hashes []Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tiles[at] != nil {
		return
	}

	if p.tiles == nil {
		p.tiles = map[place][]Hash{}
	}
	if len(p.order) < maxProven {
		p.order = append(p.order, at)
	} else {
		delete(p.tiles, p.order[p.next])
		p.order[p.next] = at
		p.next = (p.next + 1) % maxProven
	}
	p.tiles[at] = hashes
}
