// Package merkle keeps the Merkle tree of a log (RFC 6962, Section 2.1) as
// tiles of 256 hashes (c2sp.org/tlog-tiles).
//
// A tile of level 0 has the hashes of 256 leaves; a hash of level k+1 is the
// root over a full tile of level k. Only full tiles are stored. The rest of the
// tree, its right edge, follows from the last leaves:
//
//	level 1   [ t0 t1 )                     an open tile: two hashes so far
//	level 0   [ t0 ][ t1 ][ l512 l513 )     two full tiles, and an open one
//	peaks     root over l0…l511, root over l512 l513
//
// Hashes and proofs are those of golang.org/x/mod/sumdb/tlog, which is also the
// oracle in the tests; what is here is the edge, because tlog's has to be read
// from stored hashes for each leaf that is added.
package merkle

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// A Hash is a SHA-256 hash of a leaf or a node.
type Hash = tlog.Hash

const (
	// TileHeight is how many levels of the tree a tile spans.
	TileHeight = 8
	// TileWidth is the number of hashes in a full tile.
	TileWidth = 1 << TileHeight
)

// EmptyRoot is the root of a tree without leaves.
var EmptyRoot = Hash(sha256.Sum256(nil))

// LeafHash returns SHA-256(0x00 ‖ leaf).
func LeafHash(leaf []byte) Hash {
	var buf [1 << 10]byte // so that most leaves need no copy on the heap
	node := append(buf[:0], 0)
	node = append(node, leaf...)
	return sha256.Sum256(node)
}

// An Error locates something that does not agree with the rest of the tree.
type Error struct {
	Index uint64 // of the first leaf concerned
	Where string // "leaf", "tile 0/12", "tree"
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("leaf %d: %s: %v", e.Index, e.Where, e.Err) }

// Unwrap returns what differs.
func (e *Error) Unwrap() error { return e.Err }

// LeafMismatch is the error of a leaf that is not the one in the tree.
func LeafMismatch(index uint64) error {
	return &Error{index, "leaf", fmt.Errorf("does not hash to what the tree has for it")}
}

// A Head is a tree with what is needed to check its right edge.
type Head struct {
	Size uint64
	Root Hash
	// Peaks are the roots of the perfect subtrees that the tree consists of,
	// largest first. There are as many as Size has bits set.
	Peaks []Hash
	// OpenTile has the leaf hashes of the level-0 tile that is not full.
	OpenTile []Hash
}

// A Tile is a full tile, as it is stored.
type Tile struct {
	Level  int
	N      uint64 // its place in the level, from 0
	Hashes []byte // 8,192 bytes
}

// Where names a tile in an Error.
func Where(level int, n uint64) string { return fmt.Sprintf("tile %d/%d", level, n) }

// FirstLeaf returns the index of the first leaf below a tile.
func FirstLeaf(level int, n uint64) uint64 { return n << (TileHeight * (level + 1)) }

// FullTiles returns how many full tiles a tree has, of all levels.
func FullTiles(size uint64) uint64 {
	tiles := uint64(0)
	for n := size / TileWidth; n > 0; n /= TileWidth {
		tiles += n
	}
	return tiles
}

// JoinHashes returns the bytes of hashes, one after the other.
func JoinHashes(hashes []Hash) []byte {
	data := make([]byte, 0, len(hashes)*tlog.HashSize)
	for i := range hashes {
		data = append(data, hashes[i][:]...)
	}
	return data
}

// SplitTile returns the hashes of a full tile.
func SplitTile(data []byte) ([]Hash, error) {
	if len(data) != TileWidth*tlog.HashSize {
		return nil, fmt.Errorf("tile of %d bytes, want %d", len(data), TileWidth*tlog.HashSize)
	}
	return SplitHashes(data)
}

// SplitHashes returns the hashes whose bytes JoinHashes gave.
func SplitHashes(data []byte) ([]Hash, error) {
	if len(data)%tlog.HashSize != 0 {
		return nil, fmt.Errorf("hashes of %d bytes, want a multiple of %d", len(data), tlog.HashSize)
	}

	hashes := make([]Hash, len(data)/tlog.HashSize)
	for i := range hashes {
		hashes[i] = Hash(data[i*tlog.HashSize:])
	}
	return hashes, nil
}

// rootOf returns the root over peaks.
func rootOf(peaks []Hash) Hash {
	if len(peaks) == 0 {
		return EmptyRoot
	}

	root := peaks[len(peaks)-1]
	for i := len(peaks) - 2; i >= 0; i-- {
		root = tlog.NodeHash(peaks[i], root)
	}
	return root
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
