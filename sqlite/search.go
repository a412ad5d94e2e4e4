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
func (s *Store) Search(
	ctx context.Context,
	plan query.Plan,
	below *query.Position,
	fn func(*attestlog.RawEntry) (bool, error),
) (size uint64, err error) {
	tree, err := s.Tree(ctx)
	if err != nil {
		return 0, err
	}
	return tree.Size, s.index.search.Search(ctx, tree.Size, plan, below, fn)
}

// Count counts the entries below upto that plan selects, from the index alone.
func (s *Store) Count(ctx context.Context, plan query.Plan, limit uint64) (n, upto uint64, err error) {
	tree, err := s.Tree(ctx)
	if err != nil {
		return 0, 0, err
	}
	return s.index.search.Count(ctx, tree.Size, plan, limit)
}

// entries reads the log for the search index.
type entries struct{ *Store }

var _ inverted.Log = entries{}

func (e entries) Entries(ctx context.Context, indexes []uint64, fn func(*attestlog.RawEntry) error) error {
	sorted := slices.Sorted(slices.Values(indexes))
	return e.read(ctx, func(conn *sqlite.Conn) error {
		for len(sorted) > 0 {
			// Consecutive entries are often in the same row.
			n := 1
			for n < len(sorted) && sorted[n] == sorted[n-1]+1 {
				n++
			}
			_, err := scanChunk(conn, sorted[0], sorted[n-1]+1, fn)
			if err != nil {
				return err
			}
			sorted = sorted[n:]
		}
		return nil
	})
}

func (e entries) Leaves(ctx context.Context, indexes []uint64, fn func(index uint64, leaf []byte) error) error {
	return e.read(ctx, func(conn *sqlite.Conn) error {
		// The row that holds an entry is the last that does not begin after it.
		stmt, err := prepare(conn, "SELECT idx, n, leaves FROM entries WHERE idx <= ? ORDER BY idx DESC LIMIT 1")
		if err != nil {
			return err
		}

		// The next index is often in the row that was read last.
		var row leafrow.Row
		for _, index := range indexes {
			inRow := row.Count > 0 && index >= row.First && index < row.Next()
			if !inRow {
				stmt.BindInt64(1, int64(index))
				err := rows(stmt, func() error {
					row.First = uint64(stmt.ColumnInt64(0))
					row.Count = stmt.ColumnInt(1)
					row.Leaves = readInto(stmt, 2, row.Leaves)
					return nil
				})
				if err != nil {
					return err
				}
			}
			if err := row.Each(index, index+1, fn); err != nil {
				return err
			}
		}
		return nil
	})
}
