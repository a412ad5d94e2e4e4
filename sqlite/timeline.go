package sqlite

import (
	"context"
	"math"
	"slices"
	"sort"
	"sync"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
)

// blockSize is how many entries a block summarizes.
const blockSize = 1024

// A block summarizes the times of blockSize entries. It is comparable.
type block struct {
	lo, hi int64 // earliest and latest
	high   int64 // latest of all entries before the block
	spine  int64 // how many of its entries are not late
}

// A timeline sorts entries, given in the order of the log, into the spine,
// whose times never go back, and those that are late.
type timeline struct {
	high   int64 // the latest time so far
	blocks map[uint64]block
}

// add reports whether the entry is late.
func (t *timeline) add(index uint64, at int64) bool {
	n := index / blockSize
	b, seen := t.blocks[n]
	if !seen {
		b = block{lo: math.MaxInt64, hi: math.MinInt64, high: t.high}
	}
	b.lo, b.hi = min(b.lo, at), max(b.hi, at)
	late := at < t.high
	if !late {
		t.high = at
		b.spine++
	}
	t.blocks[n] = b
	return late
}

func readBlock(stmt *sqlite.Stmt) block {
	return block{stmt.ColumnInt64(1), stmt.ColumnInt64(2), stmt.ColumnInt64(3), stmt.ColumnInt64(4)}
}

// A blockCache keeps the blocks; only the newest still change.
type blockCache struct {
	mu     sync.Mutex
	blocks []block
	mark   uint64
}

// summary returns the blocks below the watermark. The caller must not change
// them.
func (ix *index) summary(ctx context.Context, mark uint64) ([]block, error) {
	c := &ix.blocks
	c.mu.Lock()
	defer c.mu.Unlock()
	if mark < c.mark {
		c.blocks, c.mark = nil, 0 // the index was built again
	}
	if mark == c.mark {
		return c.blocks, nil
	}
	from := int(c.mark / blockSize) // a block that was not full has changed
	fresh := slices.Clone(c.blocks[:from])
	err := ix.readAt(ctx, mark, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT n, lo, hi, high, spine FROM blocks WHERE n >= ? ORDER BY n")
		if err != nil {
			return err
		}
		stmt.BindInt64(1, int64(from))
		return rows(stmt, func() error {
			if n := stmt.ColumnInt64(0); n == int64(len(fresh)) {
				fresh = append(fresh, readBlock(stmt))
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	c.blocks, c.mark = fresh, mark
	return fresh, nil
}

// A walker goes through all indexed entries by time, newest first, by merging
// the late entries with the spine.
type walker struct {
	q      *search
	from   at // everything below it is still to come
	blocks []block
	n      int  // the next block of the spine, downwards
	spine  []at // its members that are still to come, newest first
	late   []at
	ended  bool // there are no late entries beyond late
	ask    int
}

// newWalker begins below a place.
func (q *search) newWalker(ctx context.Context, from at) (*walker, error) {
	blocks, err := q.s.index.summary(ctx, q.mark)
	if err != nil {
		return nil, err
	}
	w := &walker{q: q, from: from, blocks: blocks, ask: firstIDs}
	// Spine members of a block are not before what lies before the block.
	w.n = sort.Search(len(blocks), func(n int) bool { return blocks[n].high > from.time }) - 1
	return w, nil
}

// next returns up to limit places in order; none at the end.
func (w *walker) next(ctx context.Context, limit int) ([]at, error) {
	out := make([]at, 0, limit)
	for len(out) < limit {
		if err := w.load(ctx); err != nil {
			return nil, err
		}
		switch {
		case len(w.spine) == 0 && len(w.late) == 0:
			return out, nil
		case len(w.late) == 0 || len(w.spine) > 0 && newer(w.spine[0], w.late[0]) < 0:
			out, w.spine = append(out, w.spine[0]), w.spine[1:]
		default:
			out, w.late = append(out, w.late[0]), w.late[1:]
		}
		w.from = out[len(out)-1]
	}
	return out, nil
}

// load sees to it that both sides know their next place.
func (w *walker) load(ctx context.Context) error {
	if len(w.late) == 0 && !w.ended {
		late, err := w.q.lateBelow(ctx, w.from, w.ask)
		if err != nil {
			return err
		}
		w.late, w.ended = late, len(late) < w.ask
		w.ask = min(2*w.ask, mostIDs)
	}
	for len(w.spine) == 0 && w.n >= 0 {
		n := uint64(w.n)
		b := w.blocks[w.n]
		w.n--
		if b.hi < w.q.plan.After && b.high < w.q.plan.After {
			w.n = -1 // all that is left is older than what is asked for
			return nil
		}
		if b.spine == 0 || (n+1)*blockSize <= w.q.lo || n*blockSize >= w.q.hi {
			continue
		}
		spine, err := w.q.spineOf(ctx, n, b, w.from)
		if err != nil {
			return err
		}
		w.spine = spine
	}
	return nil
}

// spineOf returns the places of a block's spine below one, newest first.
func (q *search) spineOf(ctx context.Context, n uint64, b block, from at) ([]at, error) {
	places := make([]at, 0, b.spine)
	high := b.high
	err := q.s.Scan(ctx, n*blockSize, min((n+1)*blockSize, q.mark), func(r *attestlog.Record) error {
		t, ok := attestlog.LeafTime(r.Leaf)
		if !ok || t < high {
			return nil
		}
		high = t
		if p := (at{t, r.Index}); q.wants(p) && newer(p, from) > 0 {
			places = append(places, p)
		}
		return nil
	})
	slices.SortFunc(places, newer)
	return places, err
}

// lateBelow returns up to limit late places below one, newest first.
func (q *search) lateBelow(ctx context.Context, from at, limit int) ([]at, error) {
	places := make([]at, 0, min(limit, 256))
	err := q.s.index.readAt(ctx, q.mark, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare(`SELECT time, idx FROM late
			WHERE (time, idx) < (?1, ?2) AND time >= ?3 AND time < ?4 AND idx >= ?5 AND idx < ?6
			ORDER BY time DESC, idx DESC LIMIT ?7`)
		if err != nil {
			return err
		}
		stmt.BindInt64(1, from.time)
		stmt.BindInt64(2, int64(min(from.idx, math.MaxInt64)))
		stmt.BindInt64(3, q.plan.After)
		stmt.BindInt64(4, q.plan.Before)
		stmt.BindInt64(5, int64(q.lo))
		stmt.BindInt64(6, int64(min(q.hi, q.mark)))
		stmt.BindInt64(7, int64(limit))
		return rows(stmt, func() error {
			places = append(places, at{stmt.ColumnInt64(0), uint64(stmt.ColumnInt64(1))})
			return nil
		})
	})
	return places, err
}

// lateInTime returns the indexes in [lo, hi) of late entries within the plan's
// time bounds, newest first by index, and whether that is all of them.
func (q *search) lateInTime(ctx context.Context, hi uint64, limit int) (ids []uint64, all bool, err error) {
	if q.s.index.readers == nil {
		return nil, false, nil
	}
	scanned := 0
	err = q.s.index.readAt(ctx, q.mark, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT idx FROM late WHERE time >= ? AND time < ? LIMIT ?")
		if err != nil {
			return err
		}
		stmt.BindInt64(1, q.plan.After)
		stmt.BindInt64(2, q.plan.Before)
		stmt.BindInt64(3, int64(limit)+1)
		return rows(stmt, func() error {
			scanned++
			if id := uint64(stmt.ColumnInt64(0)); id >= q.lo && id < hi {
				ids = append(ids, id)
			}
			return nil
		})
	})
	slices.Sort(ids)
	slices.Reverse(ids)
	return ids, scanned <= limit, err
}

// A stretch is a range of entries, from ≤ index < to.
type stretch struct{ from, to uint64 }

// stretches returns the parts of [lo, hi) whose blocks satisfy want, in order.
// Without a summary that is all of it.
func (q *search) stretches(ctx context.Context, lo, hi uint64, want func(block) bool) []stretch {
	if lo >= hi {
		return nil
	}
	blocks, err := q.s.index.summary(ctx, q.mark)
	if err != nil || !q.plan.TimeBound() {
		return []stretch{{lo, hi}}
	}
	var out []stretch
	for n := lo / blockSize; n*blockSize < hi; n++ {
		if n < uint64(len(blocks)) && !want(blocks[n]) {
			continue
		}
		from, to := max(lo, n*blockSize), min(hi, (n+1)*blockSize)
		if last := len(out) - 1; last >= 0 && out[last].to == from {
			out[last].to = to
		} else {
			out = append(out, stretch{from, to})
		}
	}
	return out
}

// mayHold reports whether a block can have an entry within the time bounds.
func (q *search) mayHold(b block) bool { return b.hi >= q.plan.After && b.lo < q.plan.Before }

// spineMayHold reports whether a block can have one that is not late.
func (q *search) spineMayHold(b block) bool {
	return b.spine > 0 && b.hi >= q.plan.After && b.high < q.plan.Before
}
