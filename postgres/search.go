package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
)

// errBehind ends a search on a replica that has not received what another
// connection, to another server then, told of.
var errBehind = fmt.Errorf("%w: the reader's connections are to servers of which one is behind; ask again", attestlog.ErrUnavailable)

// Search calls fn with the entries that plan selects, and perhaps others. No
// connection is held while fn runs.
func (s *Store) Search(ctx context.Context, plan attestlog.Plan, below *attestlog.Position, fn func(*attestlog.Record) (bool, error)) (uint64, error) {
	if s.replica != nil {
		began := false
		size, err := s.replica.Search(ctx, plan, below, func(r *attestlog.Record) (bool, error) { began = true; return fn(r) })
		if !errors.Is(err, errBehind) || began {
			return size, err
		}
	}
	tree, err := s.Tree(ctx)
	if err != nil {
		return 0, err
	}
	if s.isReplica && below != nil && plan.Order == attestlog.ByIndex && below.Index > tree.Size {
		return 0, errBehind // the page before came from elsewhere
	}
	return tree.Size, s.index.search.Search(ctx, tree.Size, plan, below, fn)
}

// Count counts from the index what plan selects among the entries that it has
// from the first on.
func (s *Store) Count(ctx context.Context, plan attestlog.Plan, limit uint64) (n, upto uint64, err error) {
	if s.replica != nil {
		return s.replica.Count(ctx, plan, limit)
	}
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
	found := 0
	for part, ids := range byPartition(ids) {
		n, err := e.records(ctx, e.pool, part, "idx = ANY($1)", fn, ids)
		if err != nil {
			return err
		}
		found += n
	}
	if e.isReplica && found < len(ids) {
		return errBehind
	}
	return nil
}

func (e entries) Leaves(ctx context.Context, ids []uint64, fn func(index uint64, leaf []byte) error) error {
	for part, ids := range byPartition(ids) {
		rows, err := e.pool.Query(ctx, e.sql(fmt.Sprintf("SELECT idx, leaf FROM @.entries_%d WHERE idx = ANY($1)", part)), ids)
		if err != nil {
			return e.unlessMissing(ctx, err)
		}
		var id int64
		var leaf []byte
		if _, err = pgx.ForEachRow(rows, []any{&id, &leaf}, func() error { return fn(uint64(id), leaf) }); err != nil {
			return e.clarify(ctx, err)
		}
	}
	return nil
}

func byPartition(ids []uint64) map[uint64][]int64 {
	out := map[uint64][]int64{}
	for _, id := range ids {
		out[id/partWidth] = append(out[id/partWidth], int64(id))
	}
	return out
}
