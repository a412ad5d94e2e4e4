package attestlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// A Hash is a SHA-256 hash of a leaf or a node (RFC 6962, Section 2.1).
type Hash = tlog.Hash

const (
	tileHeight = 8
	// TileWidth is the number of hashes in a full tile.
	TileWidth = 1 << tileHeight
)

var emptyRoot = Hash(sha256.Sum256(nil)) // RFC 6962, Section 2.1

// LeafHash returns SHA-256(0x00 ‖ leaf).
func LeafHash(leaf []byte) Hash {
	var room [1 << 10]byte
	return sha256.Sum256(append(append(room[:0], 0), leaf...))
}

// An edge is the right edge of the tree: what is needed to add leaves to it.
type edge struct {
	size uint64
	// peaks are the roots of the perfect subtrees, largest first.
	peaks []Hash
	// levels[k] holds the hashes of the level-k tile that is not full yet.
	levels [][]Hash
}

// push adds a leaf's hash and calls full with each tile that it fills.
func (e *edge) push(h Hash, full func(Tile)) {
	e.add(0, h)
	n := e.size
	e.size++
	for height := 1; n&1 == 1; height++ {
		h = tlog.NodeHash(e.peaks[len(e.peaks)-1], h)
		e.peaks = e.peaks[:len(e.peaks)-1]
		n >>= 1
		if height%tileHeight == 0 {
			level := height / tileHeight
			full(Tile{Level: level - 1, N: e.size>>height - 1, Hashes: joinHashes(e.levels[level-1])})
			e.levels[level-1] = e.levels[level-1][:0]
			e.add(level, h)
		}
	}
	e.peaks = append(e.peaks, h)
}

func (e *edge) add(level int, h Hash) {
	if level == len(e.levels) {
		e.levels = append(e.levels, make([]Hash, 0, TileWidth))
	}
	e.levels[level] = append(e.levels[level], h)
}

func (e *edge) root() Hash { return rootOf(e.peaks) }

func rootOf(peaks []Hash) Hash {
	if len(peaks) == 0 {
		return emptyRoot
	}
	h := peaks[len(peaks)-1]
	for i := len(peaks) - 2; i >= 0; i-- {
		h = tlog.NodeHash(peaks[i], h)
	}
	return h
}

func joinHashes(hashes []Hash) []byte {
	out := make([]byte, 0, len(hashes)*tlog.HashSize)
	for i := range hashes {
		out = append(out, hashes[i][:]...)
	}
	return out
}

func splitHashes(data []byte) ([]Hash, error) {
	if len(data) != TileWidth*tlog.HashSize {
		return nil, fmt.Errorf("tile of %d bytes, want %d", len(data), TileWidth*tlog.HashSize)
	}
	hashes := make([]Hash, TileWidth)
	for i := range hashes {
		hashes[i] = Hash(data[i*tlog.HashSize:])
	}
	return hashes, nil
}

// subtreeRoot returns the root over a power of two of hashes, which it
// overwrites.
func subtreeRoot(hashes []Hash) Hash {
	for n := len(hashes) / 2; n > 0; n /= 2 {
		for i := range n {
			hashes[i] = tlog.NodeHash(hashes[2*i], hashes[2*i+1])
		}
	}
	return hashes[0]
}

// tileSource is what an edge, or a proof, is read from.
type tileSource struct {
	tile   func(level int, n uint64) ([]byte, error)
	leaves func(from, to uint64, fn func(index uint64, leaf []byte) error) error
}

// partial returns the first width hashes of a tile, from the tile itself where
// it is full, else from what lies below it.
func (s tileSource) partial(level int, n uint64, width int, full bool) ([]Hash, error) {
	if full {
		data, err := s.tile(level, n)
		if err != nil {
			return nil, err
		}
		hashes, err := splitHashes(data)
		if err != nil {
			return nil, &CorruptError{n << (tileHeight * (level + 1)), fmt.Sprintf("tile %d/%d", level, n), err}
		}
		return hashes[:width], nil
	}
	hashes := make([]Hash, 0, TileWidth)
	if level == 0 {
		from := n << tileHeight
		err := s.leaves(from, from+uint64(width), func(_ uint64, leaf []byte) error {
			hashes = append(hashes, LeafHash(leaf))
			return nil
		})
		if err == nil && len(hashes) != width {
			err = &CorruptError{from + uint64(len(hashes)), "leaf", errors.New("missing")}
		}
		return hashes, err
	}
	for i := range uint64(width) {
		below, err := s.partial(level-1, n<<tileHeight+i, TileWidth, true)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, subtreeRoot(below))
	}
	return hashes, nil
}

// loadEdge reads the right edge of tree and checks it against the tree's
// peaks and root.
func loadEdge(tree Tree, src tileSource) (*edge, error) {
	e := &edge{size: tree.Size}
	if bits.OnesCount64(tree.Size) != len(tree.Peaks) {
		return nil, &CorruptError{tree.Size, "tree", fmt.Errorf("%d peaks for %d entries", len(tree.Peaks), tree.Size)}
	}
	for level := 0; level == 0 || tree.Size>>(level*tileHeight) > 0; level++ {
		have := tree.Size >> (level * tileHeight)
		width := int(have % TileWidth)
		hashes := make([]Hash, 0, TileWidth)
		if width > 0 {
			got, err := src.partial(level, have>>tileHeight, width, false)
			if err != nil {
				return nil, err
			}
			hashes = append(hashes, got...)
		}
		e.levels = append(e.levels, hashes)
	}
	for i, h := range e.levels[0] {
		if i >= len(tree.Tail) || h != tree.Tail[i] {
			return nil, leafMismatch(tree.Size - uint64(len(e.levels[0])) + uint64(i))
		}
	}
	e.peaks = peaksOf(e.levels)
	for i, p := range e.peaks {
		if p != tree.Peaks[i] {
			from := tree.Size >> bits.Len64(tree.Size-1) << bits.Len64(tree.Size-1)
			return nil, &CorruptError{from, "tree", fmt.Errorf("peak %d does not follow from the entries and tiles", i)}
		}
	}
	if e.root() != tree.Root {
		return nil, &CorruptError{0, "tree", fmt.Errorf("root does not follow from its peaks")}
	}
	return e, nil
}

func leafMismatch(index uint64) error {
	return &CorruptError{index, "leaf", errors.New("does not hash to what the tree has for it")}
}

// tree describes the edge as a store keeps it.
func (e *edge) tree(logged time.Time) Tree {
	t := Tree{Size: e.size, Root: e.root(), Peaks: slices.Clone(e.peaks), LoggedTime: logged}
	t.Tail = slices.Clone(e.open())
	return t
}

// open returns the leaf hashes of the tile that is not full yet.
func (e *edge) open() []Hash {
	if len(e.levels) == 0 {
		return nil
	}
	return e.levels[0]
}

// peaksOf folds the unfinished tiles of each level into perfect subtrees.
func peaksOf(levels [][]Hash) []Hash {
	var peaks []Hash
	for level := len(levels) - 1; level >= 0; level-- {
		rest := levels[level]
		for size := TileWidth / 2; size > 0; size /= 2 {
			if len(rest) >= size {
				peaks = append(peaks, subtreeRoot(append([]Hash(nil), rest[:size]...)))
				rest = rest[size:]
			}
		}
	}
	return peaks
}

// tileReader gives x/mod's tlog the tiles of a tree.
type tileReader struct {
	size  uint64
	src   tileSource
	mu    sync.Mutex
	cache map[tlog.Tile][]byte
}

func (r *tileReader) Height() int { return tileHeight }

func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		r.mu.Lock()
		data := r.cache[t]
		r.mu.Unlock()
		if data == nil {
			have := r.size >> (t.L * tileHeight)
			full := uint64(t.N+1)<<tileHeight <= have
			hashes, err := r.src.partial(t.L, uint64(t.N), t.W, full)
			if err != nil {
				return nil, err
			}
			data = joinHashes(hashes)
		}
		out[i] = data
	}
	return out, nil
}

func (r *tileReader) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, t := range tiles {
		r.cache[t] = data[i]
	}
}

// hashReader returns a reader of tree's hashes that checks what it reads
// against tree's root.
func hashReader(tree Tree, src tileSource) tlog.HashReader {
	r := &tileReader{size: tree.Size, src: src, cache: map[tlog.Tile][]byte{}}
	return tlog.TileHashReader(tlog.Tree{N: int64(tree.Size), Hash: tree.Root}, r)
}

// rootAt returns the root that tree had when it held size entries.
func rootAt(tree Tree, size uint64, src tileSource) (Hash, error) {
	switch size {
	case 0:
		return emptyRoot, nil
	case tree.Size:
		return tree.Root, nil
	}
	return tlog.TreeHash(int64(size), hashReader(tree, src))
}

func storeSource(ctx context.Context, s Store) tileSource {
	return tileSource{
		tile: func(level int, n uint64) ([]byte, error) { return s.Tile(ctx, level, n) },
		leaves: func(from, to uint64, fn func(uint64, []byte) error) error {
			return s.Scan(ctx, from, to, func(r *RawEntry) error { return fn(r.Index, r.Leaf) })
		},
	}
}

func txSource(tx Tx) tileSource {
	return tileSource{
		tile: tx.Tile,
		leaves: func(from, to uint64, fn func(uint64, []byte) error) error {
			return tx.Scan(from, to, func(r *RawEntry) error { return fn(r.Index, r.Leaf) })
		},
	}
}
