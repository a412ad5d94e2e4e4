package sqlite

import (
	"context"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
	"github.com/attestlog/attestlog/internal/leafrow"
	"github.com/attestlog/attestlog/query"
)

// Search calls fn with the entries that plan selects, and perhaps others. No
// connection is held while fn runs.
func (s *Store) Search(ctx context.Context, plan query.Plan, below *query.Position, fn func(*attestlog.RawEntry) (bool, error)) (uint64, error) {
	tree, err := s.Tree(ctx)
	if err != nil {
		return 0, err
	}
	return tree.Size, s.index.search.Search(ctx, tree.Size, plan, below, fn)
}

// Count counts from the index what plan selects among the entries that it has
// from the first on.
func (s *Store) Count(ctx context.Context, plan query.Plan, limit uint64) (n, upto uint64, err error) {
	tree, err := s.Tree(ctx)
	if err != nil {
		return 0, 0, err
	}
	return s.index.search.Count(ctx, tree.Size, plan, limit)
}

// entries reads the log for the search index.
type entries struct{ *Store }

var _ inverted.Entries = entries{}

func (e entries) Records(ctx context.Context, ids []uint64, fn func(*attestlog.RawEntry) error) error {
	sorted := slices.Sorted(slices.Values(ids))
	return e.read(ctx, func(conn *sqlite.Conn) error {
		for len(sorted) > 0 { // neighbours stand in the same row
			n := 1
			for n < len(sorted) && sorted[n] == sorted[n-1]+1 {
				n++
			}
			if _, err := scanChunk(conn, sorted[0], sorted[n-1]+1, fn); err != nil {
				return err
			}
			sorted = sorted[n:]
		}
		return nil
	})
}

func (e entries) Leaves(ctx context.Context, ids []uint64, fn func(index uint64, leaf []byte) error) error {
	return e.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT idx, n, leaves FROM entries WHERE idx <= ? ORDER BY idx DESC LIMIT 1")
		if err != nil {
			return err
		}
		var row leafrow.Row
		for _, id := range ids {
			if row.Count == 0 || id < row.First || id >= row.Next() {
				stmt.BindInt64(1, int64(id))
				err := rows(stmt, func() error {
					row = leafrow.Row{First: uint64(stmt.ColumnInt64(0)), Count: stmt.ColumnInt(1), Leaves: readInto(stmt, 2, row.Leaves)}
					return nil
				})
				if err != nil {
					return err
				}
			}
			if err := row.Each(id, id+1, fn); err != nil {
				return err
			}
		}
		return nil
	})
}
