package sqlite

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
)

// Search calls fn with the entries that plan selects, and perhaps others. No
// connection is held while fn runs.
func (s *Store) Search(ctx context.Context, plan attestlog.Plan, below *attestlog.Position, fn func(*attestlog.Record) (bool, error)) (uint64, error) {
	tree, err := s.Tree(ctx)
	if err != nil {
		return 0, err
	}
	return tree.Size, s.index.search.Search(ctx, tree.Size, plan, below, fn)
}

// Count counts from the index what plan selects among the entries that it has
// from the first on.
func (s *Store) Count(ctx context.Context, plan attestlog.Plan, limit uint64) (n, upto uint64, err error) {
	tree, err := s.Tree(ctx)
	if err != nil {
		return 0, 0, err
	}
	return s.index.search.Count(ctx, tree.Size, plan, limit)
}

// entries reads the log for the search index.
type entries struct{ *Store }

var _ inverted.Entries = entries{}

func (e entries) Records(ctx context.Context, ids []uint64, fn func(*attestlog.Record) error) error {
	return e.read(ctx, func(conn *sqlite.Conn) error {
		for _, id := range ids {
			if _, err := scanChunk(conn, id, id+1, fn); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e entries) Leaves(ctx context.Context, ids []uint64, fn func(index uint64, leaf []byte) error) error {
	return e.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT leaf FROM entries WHERE idx = ?")
		if err != nil {
			return err
		}
		var leaf []byte
		for _, id := range ids {
			stmt.BindInt64(1, int64(id))
			err := rows(stmt, func() error {
				leaf = readInto(stmt, 0, leaf)
				return fn(id, leaf)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}
