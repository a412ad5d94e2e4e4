package inverted

import (
	"context"
	"errors"

	"github.com/attestlog/attestlog/query"
)

// Count is attestlog.Store's, for a log of size entries.
func (ix *Index) Count(ctx context.Context, size uint64, plan query.Plan, limit uint64) (n, upto uint64, err error) {
	if plan.Terms == nil && !plan.TimeBound() {
		hi := min(plan.To, size)
		return min(limit, hi-min(plan.From, hi)), size, nil
	}
	if plan.TimeBound() {
		return 0, 0, nil // the log counts: times are not summed up
	}
	counted := map[Segment]uint64{} // segments that stay need not be counted again
	for {
		n, upto, err = ix.count(ctx, plan, limit, counted)
		if !errors.Is(err, ErrGone) {
			return n, upto, err
		}
	}
}

func (ix *Index) count(ctx context.Context, plan query.Plan, limit uint64, counted map[Segment]uint64) (n, upto uint64, err error) {
	segs, err := ix.reader.Segments(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, seg := range segs {
		if seg.Lo != upto {
			break
		}
		upto = seg.Hi
		matches, known := counted[seg]
		if !known {
			if matches, err = ix.countSegment(ctx, seg, plan, limit); err != nil {
				return 0, 0, err
			}
			counted[seg] = matches
		}
		if n = min(n+matches, limit); n == limit {
			continue // upto still has to be found out
		}
	}
	return n, upto, nil
}

func (ix *Index) countSegment(ctx context.Context, seg Segment, plan query.Plan, limit uint64) (n uint64, err error) {
	matches := ix.setOf(seg, plan.Terms)
	for x := min(seg.Hi, plan.To); x > max(seg.Lo, plan.From) && n < limit; n++ {
		y, ok, err := matches.upTo(ctx, x-1)
		if err != nil {
			return 0, err
		}
		if !ok || y < plan.From {
			break
		}
		x = y
	}
	return n, nil
}
