package merkle

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// An Edge is the right edge of a tree: what is needed to add leaves to it. The
// zero Edge is that of the empty tree. It is not safe for concurrent use.
type Edge struct {
	size uint64
	// peaks are the roots of the perfect subtrees, largest first.
	peaks []Hash
	// levels[k] holds the hashes of the level-k tile that is not full yet.
	levels [][]Hash
}

// Size returns the number of leaves.
func (e *Edge) Size() uint64 { return e.size }

// Root returns the tree's root.
func (e *Edge) Root() Hash { return rootOf(e.peaks) }

// Peaks returns the roots of the perfect subtrees, largest first, until the
// next Push.
func (e *Edge) Peaks() []Hash { return e.peaks }

// OpenTile returns the leaf hashes of the level-0 tile that is not full, until
// the next Push.
func (e *Edge) OpenTile() []Hash {
	if len(e.levels) == 0 {
		return nil
	}
	return e.levels[0]
}

// Head describes the tree.
func (e *Edge) Head() Head {
	return Head{
		Size:     e.size,
		Root:     e.Root(),
		Peaks:    slices.Clone(e.peaks),
		OpenTile: slices.Clone(e.OpenTile()),
	}
}

// Push adds a leaf's hash and calls full with each tile that it fills.
func (e *Edge) Push(h Hash, full func(Tile)) {
	e.append(0, h)
	before := e.size
	e.size++

	// Each bit that is set at the end of the old size is a peak that the new
	// leaf completes to one of twice its size.
	for height := 1; before&1 == 1; height++ {
		last := len(e.peaks) - 1
		h = tlog.NodeHash(e.peaks[last], h)
		e.peaks = e.peaks[:last]
		before >>= 1

		if height%TileHeight == 0 {
			level := height / TileHeight
			full(Tile{level - 1, e.size>>height - 1, JoinHashes(e.levels[level-1])})
			e.levels[level-1] = e.levels[level-1][:0]
			e.append(level, h)
		}
	}

	e.peaks = append(e.peaks, h)
}

func (e *Edge) append(level int, h Hash) {
	if level == len(e.levels) {
		e.levels = append(e.levels, make([]Hash, 0, TileWidth))
	}
	e.levels[level] = append(e.levels[level], h)
}

// LoadEdge reads the right edge of a tree and checks it against the tree's open
// tile, peaks and root. What does not fit is an *Error.
func LoadEdge(tree Head, src Source) (*Edge, error) {
	if bits.OnesCount64(tree.Size) != len(tree.Peaks) {
		return nil, &Error{tree.Size, "tree", fmt.Errorf("%d peaks for %d entries", len(tree.Peaks), tree.Size)}
	}

	// Each level has an open tile, whose hashes follow from the full tiles below
	// it, and at level 0 from the leaves.
	e := &Edge{size: tree.Size}
	for level := 0; level == 0 || tree.Size>>(level*TileHeight) > 0; level++ {
		have := tree.Size >> (level * TileHeight)
		width := int(have % TileWidth)
		hashes := make([]Hash, 0, TileWidth)
		if width > 0 {
			open, err := src.Hashes(level, have>>TileHeight, width, false)
			if err != nil {
				return nil, err
			}
			hashes = append(hashes, open...)
		}
		e.levels = append(e.levels, hashes)
	}

	open := e.levels[0]
	firstOpen := tree.Size - uint64(len(open))
	for i, h := range open {
		if i >= len(tree.OpenTile) || h != tree.OpenTile[i] {
			return nil, LeafMismatch(firstOpen + uint64(i))
		}
	}
	if len(tree.OpenTile) > len(open) {
		return nil, &Error{tree.Size, "tree", fmt.Errorf("%d hashes in an open tile of %d", len(tree.OpenTile), len(open))}
	}

	e.peaks = peaksOf(e.levels)
	for i, p := range e.peaks {
		if p != tree.Peaks[i] {
			return nil, &Error{firstBelowPeak(tree.Size, i), "tree", fmt.Errorf("peak %d does not follow from the entries and tiles", i)}
		}
	}
	if e.Root() != tree.Root {
		return nil, &Error{0, "tree", errors.New("root does not follow from its peaks")}
	}

	return e, nil
}

// firstBelowPeak returns the index of the first leaf below a peak. The bits of
// size are the peaks, so that this is size without those of the peak and of all
// that come after it.
func firstBelowPeak(size uint64, peak int) uint64 {
	first := size
	for range bits.OnesCount64(size) - peak {
		first &= first - 1
	}
	return first
}

// peaksOf folds the open tiles of each level into perfect subtrees.
func peaksOf(levels [][]Hash) []Hash {
	var peaks []Hash
	for level := len(levels) - 1; level >= 0; level-- {
		rest := levels[level]
		for size := TileWidth / 2; size > 0; size /= 2 {
			if len(rest) >= size {
				peaks = append(peaks, subtreeRoot(slices.Clone(rest[:size])))
				rest = rest[size:]
			}
		}
	}
	return peaks
}
