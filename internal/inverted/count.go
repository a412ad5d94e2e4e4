package inverted

import (
	"context"
	"errors"

	"github.com/attestlog/attestlog/query"
)

// Count is attestlog.Store's, for a log of size entries.
func (ix *Index) Count(ctx context.Context, size uint64, plan query.Plan, limit uint64) (n, upto uint64, err error) {
	if plan.TimeBound() {
		return 0, 0, nil // the log counts: nothing here is summed up by time
	}
	if plan.Terms == nil {
		to := min(plan.To, size)
		return min(limit, to-min(plan.From, to)), size, nil
	}

	// If a segment is gone, those that are still there need not be counted again.
	counted := map[Segment]uint64{}
	for {
		n, upto, err = ix.count(ctx, plan, limit, counted)
		if !errors.Is(err, ErrGone) {
			return n, upto, err
		}
	}
}

// count counts the segments as they are now, except those that are in counted,
// and adds the others to it.
func (ix *Index) count(
	ctx context.Context,
	plan query.Plan,
	limit uint64,
	counted map[Segment]uint64,
) (n, upto uint64, err error) {
	segs, err := ix.reader.Segments(ctx)
	if err != nil {
		return 0, 0, err
	}

	for _, seg := range segs {
		if seg.Lo != upto {
			break
		}
		upto = seg.Hi
		if n == limit {
			continue // only the watermark is still to be found
		}

		matches, known := counted[seg]
		if !known {
			matches, err = ix.countSegment(ctx, seg, plan, limit)
			if err != nil {
				return 0, 0, err
			}
			counted[seg] = matches
		}
		n = min(n+matches, limit)
	}
	return n, upto, nil
}

// countSegment returns how many entries of a segment the plan selects, or limit
// if there are at least as many.
func (ix *Index) countSegment(ctx context.Context, seg Segment, plan query.Plan, limit uint64) (uint64, error) {
	from, to := max(seg.Lo, plan.From), min(seg.Hi, plan.To)
	if limit == 0 {
		return 0, nil
	}

	n := uint64(0)
	for _, err := range members(ctx, ix.setOf(seg, plan.Terms), from, to) {
		if err != nil {
			return 0, err
		}
		n++
		if n == limit {
			break
		}
	}
	return n, nil
}
