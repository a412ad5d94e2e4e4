package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
	"github.com/attestlog/attestlog/internal/leafrow"
	"github.com/attestlog/attestlog/query"
)

// errBehind ends a search on a replica that has not received what another
// connection, to another server then, told of.
var errBehind = fmt.Errorf("%w: the reader's connections are to servers of which one is behind; ask again", attestlog.ErrUnavailable)

// Search calls fn with the entries that plan selects, and perhaps others. No
// connection is held while fn runs.
func (s *Store) Search(ctx context.Context, plan query.Plan, below *query.Position, fn func(*attestlog.RawEntry) (bool, error)) (uint64, error) {
	if s.replica != nil {
		began := false
		size, err := s.replica.Search(ctx, plan, below, func(r *attestlog.RawEntry) (bool, error) { began = true; return fn(r) })
		if !errors.Is(err, errBehind) || began {
			return size, err
		}
	}
	tree, err := s.Tree(ctx)
	if err != nil {
		return 0, err
	}
	if s.isReplica && below != nil && plan.Order == query.ByIndex && below.Index > tree.Size {
		return 0, errBehind // the page before came from elsewhere
	}
	return tree.Size, s.index.search.Search(ctx, tree.Size, plan, below, fn)
}

// Count counts from the index what plan selects among the entries that it has
// from the first on.
func (s *Store) Count(ctx context.Context, plan query.Plan, limit uint64) (n, upto uint64, err error) {
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

func (e entries) Records(ctx context.Context, ids []uint64, fn func(*attestlog.RawEntry) error) error {
	found := 0
	for part, list := range byPartition(ids) {
		n, err := e.records(ctx, e.pool, part, rowsOfList, "idx = ANY($1)", list.has, fn, []int64(list))
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
	for part, list := range byPartition(ids) {
		rows, err := e.pool.Query(ctx, e.sql(fmt.Sprintf("SELECT idx, n, leaves FROM @.entries_%[1]d WHERE "+rowsOfList, part)), []int64(list))
		if err != nil {
			return e.unlessMissing(ctx, err)
		}
		var row leafrow.Row
		_, err = pgx.ForEachRow(rows, []any{&row.First, &row.Count, &row.Leaves}, func() error {
			return row.Each(row.First, math.MaxUint64, func(index uint64, leaf []byte) error {
				if list.has(index) {
					return fn(index, leaf)
				}
				return nil
			})
		})
		if err != nil {
			return e.clarify(ctx, err)
		}
	}
	return nil
}

// A sortedIDs is a list of indexes within a partition.
type sortedIDs []int64

func (l sortedIDs) has(index uint64) bool {
	_, found := slices.BinarySearch(l, int64(index))
	return found
}

// byPartition returns the indexes by the partition they are in.
func byPartition(ids []uint64) map[uint64]sortedIDs {
	out := map[uint64]sortedIDs{}
	for _, id := range ids {
		out[id/partWidth] = append(out[id/partWidth], int64(id))
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
}
