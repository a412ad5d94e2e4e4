package postgres

import (
	"context"
	"errors"

	"github.com/attestlog/attestlog"
)

// Count counts from the index what plan selects among the entries that it has
// from the first on.
func (s *Store) Count(ctx context.Context, plan attestlog.Plan, limit uint64) (n, upto uint64, err error) {
	if s.replica != nil {
		return s.replica.Count(ctx, plan, limit)
	}
	for {
		n, upto, err = s.count(ctx, plan, limit)
		if !errors.Is(err, errGone) {
			return n, upto, err
		}
	}
}

func (s *Store) count(ctx context.Context, plan attestlog.Plan, limit uint64) (n, upto uint64, err error) {
	tree, err := s.Tree(ctx)
	if err != nil {
		return 0, 0, err
	}
	if plan.Terms == nil && !plan.TimeBound() {
		hi := min(plan.To, tree.Size)
		return min(limit, hi-min(plan.From, hi)), tree.Size, nil
	}
	if plan.TimeBound() || s.cfg.NoIndex {
		return 0, 0, nil // the log counts: times are not summed up
	}
	segs, err := s.segments(ctx, s.pool)
	if err != nil {
		return 0, 0, s.clarify(ctx, err)
	}
	for _, seg := range segs {
		if seg.lo != upto {
			break
		}
		upto = seg.hi
		matches := s.setOf(seg, plan.Terms)
		for x := min(seg.hi, plan.To); x > max(seg.lo, plan.From) && n < limit; n++ {
			y, ok, err := matches.upTo(ctx, x-1)
			if err != nil {
				return 0, 0, err
			}
			if !ok || y < plan.From {
				break
			}
			x = y
		}
	}
	return n, upto, nil
}
