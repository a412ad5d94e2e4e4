package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
	"github.com/attestlog/attestlog/internal/leafrow"
	"github.com/attestlog/attestlog/query"
)

// errBehind is returned by a search on a replica that has not received what
// another connection, which must be to another server, has told of.
var errBehind = fmt.Errorf("%w: the reader's connections are to servers of which one is behind; ask again",
	attestlog.ErrUnavailable)

// Search calls fn with the entries that plan selects, and perhaps others. No
// connection is held while fn runs.
func (s *Store) Search(
	ctx context.Context, plan query.Plan, below *query.Position, fn func(*attestlog.RawEntry) (bool, error),
) (uint64, error) {
	if s.replica != nil {
		began := false
		size, err := s.replica.Search(ctx, plan, below, func(e *attestlog.RawEntry) (bool, error) {
			began = true
			return fn(e)
		})
		// The search can be done here instead if fn has seen nothing yet.
		if began || !errors.Is(err, errBehind) {
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

// Count counts from the index what plan selects among the entries below upto,
// which are those that the index has.
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

// indexedLog is the log as the search index reads it.
type indexedLog struct{ *Store }

var _ inverted.Log = indexedLog{}

// Entries calls fn with entries, in no order. The bytes are valid only during
// the call.
func (l indexedLog) Entries(ctx context.Context, indexes []uint64, fn func(*attestlog.RawEntry) error) error {
	found := 0
	for partition, list := range splitIndexes(indexes) {
		sql := l.selectEntries(partition, rowsOfList, ofList)
		n, err := l.readEntries(ctx, l.pool, sql, list.has, fn, []int64(list))
		if err != nil {
			return err
		}
		found += n
	}

	if l.isReplica && found < len(indexes) {
		return errBehind
	}
	return nil
}

// Leaves is Entries without disclosures.
func (l indexedLog) Leaves(ctx context.Context, indexes []uint64, fn func(index uint64, leaf []byte) error) error {
	for partition, list := range splitIndexes(indexes) {
		sql := l.sql(fmt.Sprintf("SELECT idx, n, leaves FROM @.entries_%[1]d WHERE "+rowsOfList, partition))
		rows, err := l.pool.Query(ctx, sql, []int64(list))
		if err != nil {
			return l.unlessNoPartition(ctx, err)
		}

		var row leafrow.Row
		_, err = pgx.ForEachRow(rows, []any{&row.First, &row.Count, &row.Leaves}, func() error {
			return row.Each(row.First, math.MaxUint64, func(index uint64, leaf []byte) error {
				if !list.has(index) {
					return nil
				}
				return fn(index, leaf)
			})
		})
		if err != nil {
			return l.readError(ctx, err)
		}
	}
	return nil
}
