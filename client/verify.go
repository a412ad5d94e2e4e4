package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/verify"
)

// tile returns a file of the log's tlog-tiles.
func (c *Client) tile(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	resp, err := c.request(ctx, http.MethodGet, c.root+"/tiles/"+url.PathEscape(c.name)+"/"+path, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, unavailable(err)
	}
	return data, nil
}

// HashTile returns the first width hashes of a tile, 32 bytes each.
func (c *Client) HashTile(ctx context.Context, level int, n uint64, width int) ([]byte, error) {
	return c.tile(ctx, attestlog.TilePath(level, n, width))
}

// EntryBundle returns width leaves from index n*256 on, each behind its length as
// 16 big-endian bits.
func (c *Client) EntryBundle(ctx context.Context, n uint64, width int) ([]byte, error) {
	return c.tile(ctx, attestlog.TilePath(-1, n, width))
}

// Verify hashes every entry of the newest checkpoint again, from the bundles and
// tiles that the server gives out, and compares the result with the checkpoint's
// signature. Sealed values are not among them. Keys are the verifier keys to trust; what the server says about
// itself is none.
func (c *Client) Verify(ctx context.Context, opts verify.Options) (verify.Report, error) {
	cp, err := c.Checkpoint(ctx)
	if err != nil {
		return verify.Report{}, err
	}
	return verify.Entries(ctx, verify.Source{
		Size: cp.Size, Clear: true,
		Scan: func(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
			return c.scan(ctx, cp.Size, from, to, fn)
		},
		Tile:        func(level int, n uint64) ([]byte, error) { return c.HashTile(ctx, level, n, attestlog.TileWidth) },
		Checkpoints: func(fn func(signed []byte) error) error { return fn(cp.Note) },
	}, "", opts)
}

// scan reads leaves from the bundles of a log of a size.
func (c *Client) scan(ctx context.Context, size, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	for n := from / attestlog.TileWidth; n*attestlog.TileWidth < to; n++ {
		first := n * attestlog.TileWidth
		data, err := c.EntryBundle(ctx, n, int(min(attestlog.TileWidth, size-first)))
		if err != nil {
			return err
		}
		for index := first; len(data) >= 2; index++ {
			end := 2 + int(data[0])<<8 + int(data[1])
			if end > len(data) {
				return &attestlog.CorruptError{Index: index, Where: "entry bundle", Err: io.ErrUnexpectedEOF}
			}
			if index >= from && index < to {
				if err := fn(&attestlog.RawEntry{Index: index, Leaf: data[2:end]}); err != nil {
					return err
				}
			}
			data = data[end:]
		}
	}
	return nil
}
