package postgres

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
)

// A stretch is a range of entries, from ≤ index < to.
type stretch struct{ from, to uint64 }

// block is the time that a run of blockWidth entries spans.
type block struct{ lo, hi int64 }

// blockCache holds the blocks that were read before; they never change, other
// than by being written again as they were.
type blockCache struct {
	mu     sync.Mutex
	blocks []block
}

// blocksOf returns the blocks among the first mark entries.
func (q *search) blocksOf(ctx context.Context) ([]block, error) {
	c := &q.s.blocks
	c.mu.Lock()
	defer c.mu.Unlock()
	want := int(q.mark / blockWidth)
	if len(c.blocks) >= want {
		return c.blocks[:want], nil
	}
	fresh := slices.Clone(c.blocks)
	sql := "SELECT n, lo, hi FROM @.blocks WHERE n >= $1 AND n < $2 ORDER BY n"
	err := q.ask(ctx, "SELECT set_config('jit', 'off', true)", sql, []any{int64(len(fresh)), int64(want)}, func(rows pgx.Rows) error {
		var n int64
		var b block
		_, err := pgx.ForEachRow(rows, []any{&n, &b.lo, &b.hi}, func() error {
			if n != int64(len(fresh)) {
				return &attestlog.CorruptError{Index: uint64(len(fresh)) * blockWidth, Where: "search index", Err: fmt.Errorf("block %d is missing", len(fresh))}
			}
			fresh = append(fresh, b)
			return nil
		})
		return err
	})
	if err == nil && len(fresh) < want {
		err = &attestlog.CorruptError{Index: uint64(len(fresh)) * blockWidth, Where: "search index", Err: fmt.Errorf("block %d is missing", len(fresh))}
	}
	if err != nil {
		return nil, err
	}
	c.blocks = fresh
	return fresh, nil
}

// stretches returns the parts of [lo, hi) whose blocks may hold an entry within
// the time bounds, in order.
func (q *search) stretches(ctx context.Context, lo, hi uint64) ([]stretch, error) {
	blocks, err := q.blocksOf(ctx)
	if err != nil {
		return nil, err
	}
	var out []stretch
	for n := lo / blockWidth; n*blockWidth < hi; n++ {
		if n < uint64(len(blocks)) && (blocks[n].hi < q.plan.After || blocks[n].lo >= q.plan.Before) {
			continue
		}
		from, to := max(lo, n*blockWidth), min(hi, (n+1)*blockWidth)
		if last := len(out) - 1; last >= 0 && out[last].to == from {
			out[last].to = to
		} else {
			out = append(out, stretch{from, to})
		}
	}
	return out, nil
}

// at is an entry's place in the order by time.
type at struct {
	time int64
	idx  uint64
}

// newer sorts by time, then by index, newest first.
func newer(a, b at) int {
	if c := cmp.Compare(b.time, a.time); c != 0 {
		return c
	}
	return cmp.Compare(b.idx, a.idx)
}

// top is where the search begins: everything below it, by newer, is wanted.
func (q *search) top() at {
	if q.below != nil {
		return at{q.below.Time, q.below.Index}
	}
	return at{math.MaxInt64, math.MaxInt64}
}

// byTime emits entries newest first by time: a merge of the partitions, each of
// which is opened once it may hold what comes next.
func (q *search) byTime(ctx context.Context) error {
	lanes, err := q.lanes(ctx)
	if err != nil {
		return err
	}
	var ids []uint64
	flush := func() error {
		err := q.emitIDs(ctx, ids)
		ids = ids[:0]
		return err
	}
	for group := 8; ; {
		best, err := newest(ctx, lanes)
		if err != nil {
			return err
		}
		if best == nil {
			return flush()
		}
		ids = append(ids, best.places[0].idx)
		best.places = best.places[1:]
		if len(ids) == group {
			if err := flush(); err != nil {
				return err
			}
			group = emitGroup
		}
	}
}

// newest returns the lane whose next place is the newest of all, or nil at the
// end. Lanes are sorted by their latest time.
func newest(ctx context.Context, lanes []*lane) (*lane, error) {
	var best *lane
	for _, l := range lanes {
		if best != nil && !l.opened && best.places[0].time > l.hi {
			return best, nil // nor can the lanes behind it
		}
		if err := l.load(ctx); err != nil {
			return nil, err
		}
		if len(l.places) > 0 && (best == nil || newer(l.places[0], best.places[0]) < 0) {
			best = l
		}
	}
	return best, nil
}

// A lane gives the places of one partition in order.
type lane struct {
	q      *search
	r      stretch
	hi     int64 // no time in it is later
	from   at    // what is still to be asked for lies below
	places []at
	opened bool
	ended  bool
	step   int

	walked, hits int
}

// lanes returns the partitions, and the entries behind the index.
func (q *search) lanes(ctx context.Context) ([]*lane, error) {
	tail := &lane{q: q, hi: math.MaxInt64, opened: true, ended: true}
	err := q.s.Scan(ctx, max(q.lo, q.mark), q.hi, func(r *attestlog.Record) error {
		t, ok := attestlog.LeafTime(r.Leaf)
		if p := (at{t, r.Index}); ok && t >= q.plan.After && t < q.plan.Before && newer(p, q.top()) > 0 {
			tail.places = append(tail.places, p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(tail.places, newer)
	blocks, err := q.blocksOf(ctx)
	if err != nil {
		return nil, err
	}
	out := []*lane{tail}
	for from, to := q.lo, min(q.hi, q.mark); from < to; {
		end := min(to, (from/partWidth+1)*partWidth)
		l := &lane{q: q, r: stretch{from, end}, from: q.top(), hi: math.MinInt64, step: walkFirst}
		for n := from / blockWidth; n*blockWidth < end; n++ {
			if n < uint64(len(blocks)) {
				l.hi = max(l.hi, blocks[n].hi)
			} else {
				l.hi = math.MaxInt64 // a run that is not full yet
			}
		}
		out = append(out, l)
		from = end
	}
	slices.SortStableFunc(out, func(a, b *lane) int { return cmp.Compare(b.hi, a.hi) })
	return out, nil
}

// load sees to it that the lane knows its next place.
func (l *lane) load(ctx context.Context) error {
	l.opened = true
	for len(l.places) == 0 && !l.ended {
		if l.walked >= walkSparse && l.hits*walkDense < l.walked {
			if err := l.gather(ctx); err != nil {
				return err
			}
			continue
		}
		if err := l.walk(ctx); err != nil {
			return err
		}
	}
	return nil
}

const (
	walkTimes = `SELECT idx, time, (%s) FROM @.search_%d WHERE idx >= $1 AND idx < $2 AND time >= $3 AND time < $4
		AND (time, idx) < ($6, $7) ORDER BY time DESC, idx DESC LIMIT $5`
	gatherTimes = `SELECT idx, time, true FROM @.search_%[2]d WHERE idx >= $1 AND idx < $2 AND time >= $3 AND time < $4
		AND (time, idx) < ($6, $7) AND (%[1]s) ORDER BY time DESC, idx DESC LIMIT $5`
)

// walk goes on through the partition's entries by time.
func (l *lane) walk(ctx context.Context) error {
	n, err := l.ask(ctx, walkSet, walkTimes, l.step)
	l.walked += n
	l.hits += len(l.places)
	l.ended = n < l.step
	l.step = min(2*l.step, walkMost)
	return err
}

// gather looks the matches up.
func (l *lane) gather(ctx context.Context) error {
	const most = 512
	n, err := l.ask(ctx, gatherSet, gatherTimes, most)
	l.ended = n < most
	return err
}

// ask adds the matches among the next rows to places. It returns how many rows
// there were.
func (l *lane) ask(ctx context.Context, set, sql string, limit int) (n int, err error) {
	q := l.q
	args := append([]any{int64(l.r.from), int64(l.r.to), q.plan.After, q.plan.Before, int64(limit), l.from.time, int64(min(l.from.idx, math.MaxInt64))}, q.cond.args...)
	err = q.ask(ctx, set, fmt.Sprintf(sql, q.cond.sql(8), l.r.from/partWidth), args, func(rows pgx.Rows) error {
		var idx, time int64
		var match bool
		_, err := pgx.ForEachRow(rows, []any{&idx, &time, &match}, func() error {
			n++
			l.from = at{time, uint64(idx)}
			if match {
				l.places = append(l.places, l.from)
			}
			return nil
		})
		return err
	})
	return n, err
}
