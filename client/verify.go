package client

import (
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"net/url"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/verify"
)

// HashTile returns the first width hashes of a tile, 32 bytes each.
func (c *Client) HashTile(ctx context.Context, level int, n uint64, width int) ([]byte, error) {
	return c.tile(ctx, attestlog.TilePath(level, n, width))
}

// EntryBundle returns width leaves from index n*256 on, each after its length in
// 16 big-endian bits.
func (c *Client) EntryBundle(ctx context.Context, n uint64, width int) ([]byte, error) {
	return c.tile(ctx, attestlog.TilePath(-1, n, width))
}

// tile returns a file of the log's tlog-tiles.
func (c *Client) tile(ctx context.Context, path string) ([]byte, error) {
	target := c.server + "/tiles/" + url.PathEscape(c.name) + "/" + path
	_, data, err := c.callURL(ctx, http.MethodGet, target, nil, nil)
	return data, err
}

// Verify hashes every entry of the newest checkpoint again, from the bundles and
// tiles that the server gives out, and compares the result with the signed
// checkpoint. Sealed values are not part of these files, and are not checked.
// opts.Keys are the verifier keys to trust; Verify asks the server for none.
func (c *Client) Verify(ctx context.Context, opts verify.Options) (verify.Report, error) {
	checkpoint, err := c.Checkpoint(ctx)
	if err != nil {
		return verify.Report{}, err
	}

	source := verify.Source{
		Size:  checkpoint.Size,
		Clear: true,
		Scan: func(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
			return c.scanBundles(ctx, checkpoint.Size, from, to, fn)
		},
		Tile: func(level int, n uint64) ([]byte, error) {
			return c.HashTile(ctx, level, n, attestlog.TileWidth)
		},
		Checkpoints: func(fn func(signed []byte) error) error { return fn(checkpoint.Note) },
	}
	return verify.Entries(ctx, source, "", opts)
}

// scanBundles calls fn with each leaf from ≤ index < to of a log of a size.
func (c *Client) scanBundles(ctx context.Context, size, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	for n := from / attestlog.TileWidth; n*attestlog.TileWidth < to; n++ {
		first := n * attestlog.TileWidth
		width := min(attestlog.TileWidth, size-first)
		data, err := c.EntryBundle(ctx, n, int(width))
		if err != nil {
			return err
		}

		// verify.Entries notices the leaves that a bundle lacks.
		const lengthSize = 2
		for index := first; len(data) >= lengthSize; index++ {
			end := lengthSize + int(binary.BigEndian.Uint16(data))
			if end > len(data) {
				return &attestlog.CorruptError{Index: index, Where: "entry bundle", Err: io.ErrUnexpectedEOF}
			}
			leaf := data[lengthSize:end]
			data = data[end:]

			if index < from || index >= to {
				continue
			}
			err = fn(&attestlog.RawEntry{Index: index, Leaf: leaf})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
