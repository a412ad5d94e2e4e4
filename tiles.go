package attestlog

import (
	"context"
	"encoding/binary"
	"fmt"
)

// HashTile returns the first width hashes of a tile of the log, 32 bytes each
// (c2sp.org/tlog-tiles). width is 1 to 256.
func (l *Log) HashTile(ctx context.Context, level int, n uint64, width int) ([]byte, error) {
	tree, err := l.store.Tree(ctx)
	if err != nil {
		return nil, err
	}
	if level < 0 {
		return nil, fmt.Errorf("tile %d/%d: %w", level, n, ErrNotFound)
	}
	have := tree.Size >> (tileHeight * level)
	if n > have || width < 1 || width > TileWidth || n<<tileHeight+uint64(width) > have {
		return nil, fmt.Errorf("tile %d/%d of width %d: %w", level, n, width, ErrNotFound)
	}
	hashes, err := storeSource(ctx, l.store).partial(level, n, width, (n+1)<<tileHeight <= have)
	if err != nil {
		return nil, err
	}
	return joinHashes(hashes), nil
}

// EntryBundle returns width leaves from index n*256 on, each behind its length
// as 16 big-endian bits (c2sp.org/tlog-tiles). It never holds disclosures.
func (l *Log) EntryBundle(ctx context.Context, n uint64, width int) ([]byte, error) {
	if n > maxIndex>>tileHeight || width < 1 || width > TileWidth {
		return nil, fmt.Errorf("entry bundle %d of width %d: %w", n, width, ErrNotFound)
	}
	var out []byte
	got := 0
	from := n << tileHeight
	err := l.store.Scan(ctx, from, from+uint64(width), func(r *RawEntry) error {
		got++
		out = binary.BigEndian.AppendUint16(out, uint16(len(r.Leaf))) // MaxLeaf fits
		out = append(out, r.Leaf...)
		return nil
	})
	if err == nil && got != width {
		err = fmt.Errorf("entry bundle %d of width %d: %w", n, width, ErrNotFound)
	}
	return out, err
}

// TilePath returns the path of a tile below a log's prefix; level -1 means
// entry bundles (c2sp.org/tlog-tiles).
func TilePath(level int, n uint64, width int) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	if width < TileWidth {
		path += fmt.Sprintf(".p/%d", width)
	}
	if level < 0 {
		return "tile/entries/" + path
	}
	return fmt.Sprintf("tile/%d/%s", level, path)
}
