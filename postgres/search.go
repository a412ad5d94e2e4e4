package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
)

const (
	walkFirst  = 256    // rows of the index that one query walks through at first …
	walkMost   = 8_192  // … and at most
	walkSparse = 6_000  // rows after which walking has to have paid …
	walkDense  = 200    // … with a match for every so many
	gatherMost = 20_000 // matches of one partition that are taken in together
	emitGroup  = 64     // entries that one query reads
)

// errDone ends a search whose caller wants no more.
var errDone = errors.New("done")

// errRebuilt ends a query that began before the index was emptied.
var errRebuilt = fmt.Errorf("%w: the search index is being built again; ask again", attestlog.ErrUnavailable)

// A search is one Search call. Its bounds already take the cursor in.
type search struct {
	s        *Store
	plan     attestlog.Plan
	cond     condition
	lo, hi   uint64 // lo ≤ index < hi
	below    *attestlog.Position
	mark     uint64 // entries that the index has
	emptied  int64
	fn       func(*attestlog.Record) (bool, error)
	finished bool

	walked, hits int // rows of the index, and matches among them
}

// Search calls fn with the entries that plan selects, and perhaps others. The
// entries that the index lacks are read themselves. No connection is held
// while fn runs.
func (s *Store) Search(ctx context.Context, plan attestlog.Plan, below *attestlog.Position, fn func(*attestlog.Record) (bool, error)) error {
	st, err := s.indexState(ctx, s.pool)
	if err != nil {
		return s.clarify(ctx, err)
	}
	q := &search{s: s, plan: plan, lo: plan.From, hi: min(plan.To, st.size), below: below, mark: st.indexed, emptied: st.emptied, fn: fn}
	if below != nil && plan.Order == attestlog.ByIndex {
		q.hi = min(q.hi, below.Index)
	}
	if q.lo >= q.hi || plan.After >= plan.Before {
		return nil
	}
	q.cond = s.condition(plan.Terms)
	switch {
	case plan.Order == attestlog.ByTime:
		err = q.byTime(ctx)
	case plan.Ascending:
		err = q.ascending(ctx)
	default:
		err = q.descending(ctx)
	}
	if q.finished {
		return nil
	}
	return err
}

// emit gives an entry to the caller unless its time is out of bounds.
func (q *search) emit(r *attestlog.Record) error {
	if q.plan.TimeBound() {
		if at, ok := attestlog.LeafTime(r.Leaf); ok && (at < q.plan.After || at >= q.plan.Before) {
			return nil
		}
	}
	more, err := q.fn(r)
	if err == nil && !more {
		q.finished = true
		err = errDone
	}
	return err
}

// indexHelps reports whether the index narrows the search at all.
func (q *search) indexHelps() bool { return q.plan.Terms != nil || q.plan.TimeBound() }

func (q *search) ascending(ctx context.Context) error {
	ranges, err := q.ranges(ctx, q.lo, min(q.hi, q.mark))
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if err := q.visit(ctx, r, true); err != nil {
			return err
		}
	}
	return q.scan(ctx, stretch{max(q.lo, q.mark), q.hi}, true)
}

func (q *search) descending(ctx context.Context) error {
	if err := q.scan(ctx, stretch{max(q.lo, q.mark), q.hi}, false); err != nil {
		return err
	}
	ranges, err := q.ranges(ctx, q.lo, min(q.hi, q.mark))
	if err != nil {
		return err
	}
	for _, r := range slices.Backward(ranges) {
		if err := q.visit(ctx, r, false); err != nil {
			return err
		}
	}
	return nil
}

// ranges returns the parts of [lo, hi) that may hold what is sought, each
// within one partition.
func (q *search) ranges(ctx context.Context, lo, hi uint64) ([]stretch, error) {
	if lo >= hi {
		return nil, nil
	}
	whole := []stretch{{lo, hi}}
	if q.plan.TimeBound() {
		var err error
		if whole, err = q.stretches(ctx, lo, hi); err != nil {
			return nil, err
		}
	}
	var out []stretch
	for _, r := range whole {
		for r.from < r.to {
			end := min(r.to, (r.from/partWidth+1)*partWidth)
			out = append(out, stretch{r.from, end})
			r.from = end
		}
	}
	return out, nil
}

// visit emits the matches in a range of one partition. It walks through the
// index while that yields enough, and otherwise has all matches looked up.
func (q *search) visit(ctx context.Context, r stretch, ascending bool) error {
	if !q.indexHelps() {
		return q.scan(ctx, r, ascending)
	}
	gathered := false
	for step := uint64(walkFirst); r.from < r.to; step = min(2*step, walkMost) {
		if !gathered && q.walked >= walkSparse && q.hits*walkDense < q.walked {
			gathered = true // if that is too much, walking pays here after all
			ids, err := q.ids(ctx, gatherIDs, r, gatherMost+1)
			if err != nil {
				return err
			}
			if len(ids) <= gatherMost {
				return q.emitIDs(ctx, ordered(ids, ascending))
			}
		}
		now := stretch{max(r.from, r.to-min(r.to, step)), r.to}
		if ascending {
			now = stretch{r.from, min(r.to, r.from+step)}
		}
		ids, err := q.ids(ctx, walkIDs, now, walkMost)
		if err != nil {
			return err
		}
		q.walked += int(now.to - now.from)
		q.hits += len(ids)
		if err := q.emitIDs(ctx, ordered(ids, ascending)); err != nil {
			return err
		}
		if ascending {
			r.from = now.to
		} else {
			r.to = now.from
		}
	}
	return nil
}

func ordered(ids []uint64, ascending bool) []uint64 {
	slices.Sort(ids)
	if !ascending {
		slices.Reverse(ids)
	}
	return ids
}

// How the index is asked. The planner cannot know which is right, because the
// frequency of a term changes along the log.
const (
	walkIDs = `SELECT idx FROM @.search_%d WHERE idx >= $1 AND idx < $2 AND time >= $3 AND time < $4 AND (%s) ORDER BY idx LIMIT $5`
	walkSet = `SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)`

	gatherIDs = `SELECT idx FROM @.search_%d WHERE idx >= $1 AND idx < $2 AND time >= $3 AND time < $4 AND (%s) LIMIT $5`
	gatherSet = `SELECT set_config('enable_indexscan', 'off', true), set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)`
)

// ids returns the indexes of matches in a range of one partition.
func (q *search) ids(ctx context.Context, sql string, r stretch, limit int) ([]uint64, error) {
	set := gatherSet
	if sql == walkIDs {
		set = walkSet
	}
	var ids []uint64
	args := append([]any{int64(r.from), int64(r.to), q.plan.After, q.plan.Before, int64(limit)}, q.cond.args...)
	err := q.ask(ctx, set, fmt.Sprintf(sql, r.from/partWidth, q.cond.sql(6)), args, func(rows pgx.Rows) error {
		var id int64
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error { ids = append(ids, uint64(id)); return nil })
		return err
	})
	return ids, err
}

// ask runs a query of the index with settings of its own, in one round trip,
// and makes sure that the index was not emptied before it was read.
func (q *search) ask(ctx context.Context, set, sql string, args []any, read func(pgx.Rows) error) error {
	var b pgx.Batch
	b.Queue("BEGIN READ ONLY")
	b.Queue(set)
	b.Queue(q.s.sql(sql), args...).Query(read)
	b.Queue(q.s.sql("SELECT emptied FROM @.tree")).QueryRow(func(row pgx.Row) error {
		var emptied int64
		if err := row.Scan(&emptied); err != nil {
			return err
		}
		if emptied != q.emptied {
			return errRebuilt
		}
		return nil
	})
	b.Queue("COMMIT")
	err := q.s.pool.SendBatch(ctx, &b).Close()
	if errors.Is(err, errRebuilt) {
		return err
	}
	return q.s.clarify(ctx, err)
}

// scan emits the entries of a range.
func (q *search) scan(ctx context.Context, r stretch, ascending bool) error {
	for step := uint64(emitGroup); r.from < r.to; step = min(2*step, chunk) {
		now := stretch{max(r.from, r.to-min(r.to, step)), r.to}
		if ascending {
			now = stretch{r.from, min(r.to, r.from+step)}
		}
		records := make([]attestlog.Record, 0, now.to-now.from)
		err := q.s.Scan(ctx, now.from, now.to, func(rec *attestlog.Record) error {
			records = append(records, rec.Clone())
			return nil
		})
		if err != nil {
			return err
		}
		if !ascending {
			slices.Reverse(records)
		}
		for i := range records {
			if err := q.emit(&records[i]); err != nil {
				return err
			}
		}
		if ascending {
			r.from = now.to
		} else {
			r.to = now.from
		}
	}
	return nil
}

// emitIDs emits entries in the order of their ids in the list.
func (q *search) emitIDs(ctx context.Context, ids []uint64) error {
	for len(ids) > 0 {
		group := ids[:min(len(ids), emitGroup)]
		ids = ids[len(group):]
		records, err := q.s.recordsOf(ctx, group)
		if err != nil {
			return err
		}
		for _, id := range group {
			r, ok := records[id]
			if !ok {
				continue // the index names what is not in the log: verify tells
			}
			if err := q.emit(&r); err != nil {
				return err
			}
		}
	}
	return nil
}

// recordsOf reads entries by index.
func (s *Store) recordsOf(ctx context.Context, ids []uint64) (map[uint64]attestlog.Record, error) {
	byPart := map[uint64][]int64{}
	for _, id := range ids {
		byPart[id/partWidth] = append(byPart[id/partWidth], int64(id))
	}
	out := make(map[uint64]attestlog.Record, len(ids))
	for part, ids := range byPart {
		_, err := s.records(ctx, s.pool, part, "idx = ANY($1)", func(r *attestlog.Record) error {
			out[r.Index] = r.Clone()
			return nil
		}, ids)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Count counts from the index what plan selects among the entries that it has.
func (s *Store) Count(ctx context.Context, plan attestlog.Plan, limit uint64) (n, upto uint64, err error) {
	st, err := s.indexState(ctx, s.pool)
	if err != nil {
		return 0, 0, s.clarify(ctx, err)
	}
	limit = min(limit, 1<<62)
	q := &search{s: s, plan: plan, mark: st.indexed, emptied: st.emptied}
	if !q.indexHelps() {
		hi := min(plan.To, st.size)
		return min(limit, hi-min(plan.From, hi)), st.size, nil
	}
	lo, hi := plan.From, min(plan.To, st.indexed)
	if lo >= hi || plan.After >= plan.Before {
		return 0, st.indexed, nil
	}
	q.cond = s.condition(plan.Terms)
	ranges, err := q.ranges(ctx, lo, hi)
	if err != nil {
		return 0, 0, err
	}
	for _, r := range ranges {
		args := append([]any{int64(r.from), int64(r.to), plan.After, plan.Before, int64(limit - n)}, q.cond.args...)
		err := q.ask(ctx, "SELECT set_config('jit', 'off', true)", fmt.Sprintf("SELECT count(*) FROM ("+gatherIDs+") m", r.from/partWidth, q.cond.sql(6)), args, func(rows pgx.Rows) error {
			var part int64
			_, err := pgx.ForEachRow(rows, []any{&part}, func() error { n += uint64(part); return nil })
			return err
		})
		if err != nil {
			return 0, 0, err
		}
		if n >= limit {
			return limit, st.indexed, nil
		}
	}
	return n, st.indexed, nil
}

// A condition is a tree of terms as SQL over the column terms; each of args is
// an array of tokens, and stands in text as a %s.
type condition struct {
	text string
	args []any
}

// sql numbers the parameters from first on.
func (c *condition) sql(first int) string {
	names := make([]any, len(c.args))
	for i := range names {
		names[i] = fmt.Sprintf("$%d::bigint[]", first+i)
	}
	return fmt.Sprintf(c.text, names...)
}

func (s *Store) condition(t *attestlog.TermTree) condition {
	c := condition{text: "true"}
	if t != nil {
		c.text = c.of(s, t)
	}
	return c
}

func (c *condition) of(s *Store, t *attestlog.TermTree) string {
	switch t.Op {
	case attestlog.OpTerm:
		return c.array("@>", s.termsOf(t))
	case attestlog.OpNot:
		return "NOT (" + c.of(s, t.Kids[0]) + ")"
	}
	// Terms that stand side by side are one look-up.
	var plain []*attestlog.TermTree
	var parts []string
	for _, kid := range t.Kids {
		if kid.Op == attestlog.OpTerm {
			plain = append(plain, kid)
		} else {
			parts = append(parts, "("+c.of(s, kid)+")")
		}
	}
	operator, join := "@>", " AND "
	if t.Op == attestlog.OpOr {
		operator, join = "&&", " OR "
	}
	if len(plain) > 0 {
		// The arguments are numbered in the order of the text.
		parts = append(parts, c.array(operator, s.termsOf(plain...)))
	}
	return strings.Join(parts, join)
}

func (c *condition) array(operator string, tokens []int64) string {
	c.args = append(c.args, tokens)
	return "terms " + operator + " %s"
}

func (s *Store) termsOf(terms ...*attestlog.TermTree) []int64 {
	out := make([]int64, len(terms))
	for i, t := range terms {
		out[i], _ = s.tokens.token(nil, t.Term.Field, []byte(t.Term.Value))
	}
	return out
}
