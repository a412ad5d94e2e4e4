package attestlog

import (
	"context"
	"encoding/binary"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestlog/attestlog/internal/merkle"
	"github.com/attestlog/attestlog/query"
)

// InclusionProof proves an entry to the newest signed checkpoint. An entry that
// no checkpoint covers yet is ErrNotFound; Publish signs one.
func (l *Log) InclusionProof(ctx context.Context, index uint64) (InclusionProof, error) {
	c, err := l.Checkpoint(ctx)
	if err != nil {
		return InclusionProof{}, err
	}
	return l.InclusionProofTo(ctx, index, c)
}

// InclusionProofTo proves an entry to a checkpoint of this log, such as one that
// witnesses cosigned.
func (l *Log) InclusionProofTo(ctx context.Context, index uint64, c Checkpoint) (InclusionProof, error) {
	if index >= c.Size {
		return InclusionProof{}, fmt.Errorf("entry %d: the checkpoint covers %d entries: %w", index, c.Size, ErrNotFound)
	}

	p := InclusionProof{Index: index, Checkpoint: c}
	err := l.reader.Scan(ctx, index, index+1, func(r *RawEntry) error {
		p.Leaf = append([]byte(nil), r.Leaf...)
		return r.Err
	})
	if err != nil {
		return p, err
	}

	p.Hashes, err = tlog.ProveRecord(int64(c.Size), int64(index), l.hashes(ctx, c))
	if err != nil {
		return p, fmt.Errorf("prove entry %d: %w", index, corruptError(err))
	}
	return p, p.check()
}

// ConsistencyProof proves that the log of size from is a prefix of the log of
// size to; to may be at most the newest checkpoint's size.
func (l *Log) ConsistencyProof(ctx context.Context, from, to uint64) ([]Hash, error) {
	c, err := l.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	if from > to || to > c.Size {
		return nil, fmt.Errorf("consistency of %d and %d: the newest checkpoint covers %d entries: %w", from, to, c.Size, ErrNotFound)
	}
	if from == 0 {
		return nil, nil
	}

	hashes, err := tlog.ProveTree(int64(to), int64(from), l.hashes(ctx, c))
	return hashes, corruptError(err)
}

// hashes reads the hashes of the tree that a checkpoint describes.
func (l *Log) hashes(ctx context.Context, c Checkpoint) tlog.HashReader {
	return merkle.HashReader(c.Size, c.Root, l.reader.source(ctx))
}

// HashTile returns the first width hashes of a tile of the log, 32 bytes each
// (c2sp.org/tlog-tiles). width is 1 to 256.
func (l *Log) HashTile(ctx context.Context, level int, n uint64, width int) ([]byte, error) {
	tree, err := l.reader.Tree(ctx)
	if err != nil {
		return nil, err
	}
	if level < 0 {
		return nil, fmt.Errorf("tile %d/%d: %w", level, n, ErrNotFound)
	}

	have := tree.Size >> (merkle.TileHeight * level) // hashes of the level
	first := n << merkle.TileHeight
	if n > have || width < 1 || width > TileWidth || first+uint64(width) > have {
		return nil, fmt.Errorf("tile %d/%d of width %d: %w", level, n, width, ErrNotFound)
	}

	full := first+TileWidth <= have
	hashes, err := l.reader.source(ctx).Hashes(level, n, width, full)
	if err != nil {
		return nil, corruptError(err)
	}
	return merkle.JoinHashes(hashes), nil
}

// EntryBundle returns width leaves from index n*256 on, each after its length as
// 16 big-endian bits (c2sp.org/tlog-tiles). It never holds disclosures.
func (l *Log) EntryBundle(ctx context.Context, n uint64, width int) ([]byte, error) {
	if n > query.MaxIndex>>merkle.TileHeight || width < 1 || width > TileWidth {
		return nil, fmt.Errorf("entry bundle %d of width %d: %w", n, width, ErrNotFound)
	}

	var bundle []byte
	entries := 0
	from := n << merkle.TileHeight
	err := l.reader.Scan(ctx, from, from+uint64(width), func(r *RawEntry) error {
		entries++
		bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(r.Leaf))) // MaxLeaf fits
		bundle = append(bundle, r.Leaf...)
		return r.Err
	})
	if err == nil && entries != width {
		err = fmt.Errorf("entry bundle %d of width %d: %w", n, width, ErrNotFound)
	}
	return bundle, err
}
