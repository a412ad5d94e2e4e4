package merkle

import (
	"errors"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
)

// A Source is what the hashes of a tree are read from.
type Source struct {
	// Tile returns a full tile's 8,192 bytes.
	Tile func(level int, n uint64) ([]byte, error)
	// Leaves calls fn with each leaf from ≤ index < to, in order. The bytes are
	// valid only during the call.
	Leaves func(from, to uint64, fn func(index uint64, leaf []byte) error) error
}

// Hashes returns the first width hashes of a tile: from the tile itself if it is
// full, and otherwise from what lies below it.
func (s Source) Hashes(level int, n uint64, width int, full bool) ([]Hash, error) {
	switch {
	case full:
		data, err := s.Tile(level, n)
		if err != nil {
			return nil, err
		}
		hashes, err := SplitTile(data)
		if err != nil {
			return nil, &Error{FirstLeaf(level, n), Where(level, n), err}
		}
		return hashes[:width], nil

	case level == 0:
		return s.leafHashes(n<<TileHeight, width)
	}

	// Every hash of an open tile is the root over a full tile of the level below.
	hashes := make([]Hash, 0, TileWidth)
	for i := range uint64(width) {
		below, err := s.Hashes(level-1, n<<TileHeight+i, TileWidth, true)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, subtreeRoot(below))
	}
	return hashes, nil
}

func (s Source) leafHashes(from uint64, width int) ([]Hash, error) {
	hashes := make([]Hash, 0, TileWidth)
	err := s.Leaves(from, from+uint64(width), func(_ uint64, leaf []byte) error {
		hashes = append(hashes, LeafHash(leaf))
		return nil
	})
	if err == nil && len(hashes) != width {
		err = &Error{from + uint64(len(hashes)), "leaf", errors.New("missing")}
	}
	return hashes, err
}

// HashReader returns a reader of the hashes of a tree, for the proofs of package
// tlog. It checks what it reads against the root.
func HashReader(size uint64, root Hash, src Source) tlog.HashReader {
	r := &tileReader{size: size, src: src, saved: map[tlog.Tile][]byte{}}
	return tlog.TileHashReader(tlog.Tree{N: int64(size), Hash: root}, r)
}

// RootAt returns the root that a tree had when it held size leaves.
func RootAt(tree Head, size uint64, src Source) (Hash, error) {
	switch size {
	case 0:
		return EmptyRoot, nil
	case tree.Size:
		return tree.Root, nil
	}
	return tlog.TreeHash(int64(size), HashReader(tree.Size, tree.Root, src))
}

// A tileReader gives package tlog the tiles of a tree.
type tileReader struct {
	size uint64
	src  Source

	mu    sync.Mutex
	saved map[tlog.Tile][]byte // by mu
}

func (r *tileReader) Height() int { return TileHeight }

func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		data := r.load(t)
		if data == nil {
			have := r.size >> (t.L * TileHeight)
			full := uint64(t.N+1)<<TileHeight <= have
			hashes, err := r.src.Hashes(t.L, uint64(t.N), t.W, full)
			if err != nil {
				return nil, err
			}
			data = JoinHashes(hashes)
		}
		out[i] = data
	}
	return out, nil
}

func (r *tileReader) load(t tlog.Tile) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.saved[t]
}

// SaveTiles is called with tiles that were checked against the root.
func (r *tileReader) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, t := range tiles {
		r.saved[t] = data[i]
	}
}
