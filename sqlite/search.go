package sqlite

import (
	"context"
	"math"
	"strings"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
)

const (
	firstIDs      = 128    // row ids asked of the index at first …
	mostIDs       = 4_096  // … and at most
	maxExpression = 12     // FTS5's parser has a stack of fixed depth
	collectIDs    = 3_000  // matches that are sorted by time one by one …
	collectFew    = 100    // … where blocks of the index are nearly in order
	rarely        = 100    // entries for each match from which on walking does not pay
	timeIDs       = 20_000 // late entries of a time range that are looked at one by one
)

// A search is one Search call. Its bounds already take the cursor in.
type search struct {
	s        *Store
	plan     attestlog.Plan
	match    string // FTS5 expression, or "" where the index has nothing to say
	lo, hi   uint64 // lo ≤ index < hi
	below    *attestlog.Position
	mark     uint64 // the index's watermark
	fn       func(*attestlog.Record) (bool, error)
	finished bool
}

// Search calls fn with the entries that plan selects, and perhaps others. The
// entries behind the index's watermark are read themselves. Nothing is held
// open between two chunks.
func (s *Store) Search(ctx context.Context, plan attestlog.Plan, below *attestlog.Position, fn func(*attestlog.Record) (bool, error)) (uint64, error) {
	// The index first, then the log: what the index has yet to take is then
	// in the log for certain.
	mark, err := s.index.watermark(ctx)
	if err != nil {
		return 0, err
	}
	tree, err := s.Tree(ctx)
	if err != nil {
		return 0, err
	}
	q := &search{s: s, plan: plan, lo: plan.From, hi: min(plan.To, tree.Size), below: below, mark: min(mark, tree.Size), fn: fn}
	if below != nil && plan.Order == attestlog.ByIndex {
		q.hi = min(q.hi, below.Index)
	}
	if plan.Terms != nil && q.mark > 0 {
		q.match, _ = s.index.expression(plan.Terms, 0)
	}
	switch {
	case q.lo >= q.hi || plan.After >= plan.Before:
		return tree.Size, nil
	case plan.Order == attestlog.ByTime:
		return tree.Size, q.byTime(ctx)
	case plan.Ascending:
		return tree.Size, q.ascending(ctx)
	}
	return tree.Size, q.descending(ctx)
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

// done hides the error that ended the search early.
func (q *search) done(err error) error {
	if q.finished {
		return nil
	}
	return err
}

func (q *search) ascending(ctx context.Context) error {
	for _, part := range q.stretches(ctx, q.lo, min(q.hi, q.mark), q.mayHold) {
		var err error
		if q.match != "" {
			err = q.walkTerms(ctx, part.from, part.to, true)
		} else {
			err = q.scanUp(ctx, part.from, part.to)
		}
		if err != nil {
			return q.done(err)
		}
	}
	return q.done(q.scanUp(ctx, max(q.lo, q.mark), q.hi))
}

// scanUp emits the entries in [lo, hi), oldest first. The caller's function runs
// while no connection is held, because it may read the log itself, or be slow.
func (q *search) scanUp(ctx context.Context, lo, hi uint64) error {
	for step := uint64(firstIDs); lo < hi; step = min(2*step, chunk) {
		to := min(hi, lo+step)
		records, err := q.records(ctx, lo, to)
		if err != nil {
			return err
		}
		for i := range records {
			if err := q.emit(&records[i]); err != nil {
				return err
			}
		}
		lo = to
	}
	return nil
}

func (q *search) records(ctx context.Context, lo, hi uint64) ([]attestlog.Record, error) {
	records := make([]attestlog.Record, 0, hi-lo)
	err := q.s.Scan(ctx, lo, hi, func(r *attestlog.Record) error {
		records = append(records, r.Clone())
		return nil
	})
	return records, err
}

func (q *search) descending(ctx context.Context) error {
	if err := q.scanDown(ctx, max(q.lo, q.mark), q.hi); err != nil {
		return q.done(err)
	}
	hi := min(q.hi, q.mark)
	want := q.mayHold
	var late []uint64 // entries outside the stretches, newest first
	if q.plan.TimeBound() {
		limit := timeIDs
		if q.match != "" {
			limit = collectIDs
		}
		ids, all, err := q.lateInTime(ctx, hi, limit)
		if err != nil {
			return err
		}
		if all { // the late ones one by one, and of the rest only the spine
			late, want = ids, q.spineMayHold
		}
	}
	parts := q.stretches(ctx, q.lo, hi, want)
	for i := len(parts) - 1; i >= 0; i-- {
		above := 0
		for above < len(late) && late[above] >= parts[i].to {
			above++
		}
		if err := q.emitIDs(ctx, late[:above]); err != nil {
			return q.done(err)
		}
		for late = late[above:]; len(late) > 0 && late[0] >= parts[i].from; {
			late = late[1:] // the stretch has it
		}
		if err := q.part(ctx, parts[i]); err != nil {
			return q.done(err)
		}
	}
	return q.done(q.emitIDs(ctx, late))
}

// part emits the entries of a stretch, newest first.
func (q *search) part(ctx context.Context, p stretch) error {
	if q.match != "" {
		return q.walkTerms(ctx, p.from, p.to, false)
	}
	return q.scanDown(ctx, p.from, p.to)
}

// scanDown emits the entries in [lo, hi), newest first.
func (q *search) scanDown(ctx context.Context, lo, hi uint64) error {
	for step := uint64(firstIDs); lo < hi; step = min(2*step, chunk) {
		from := max(lo, hi-min(hi, step))
		records, err := q.records(ctx, from, hi)
		if err != nil {
			return err
		}
		for i := len(records) - 1; i >= 0; i-- {
			if err := q.emit(&records[i]); err != nil {
				return err
			}
		}
		hi = from
	}
	return nil
}

// walkTerms emits the entries in [lo, hi) that the index has for the terms.
func (q *search) walkTerms(ctx context.Context, lo, hi uint64, ascending bool) error {
	for limit := firstIDs; lo < hi; limit = min(2*limit, mostIDs) {
		ids, err := q.termIDs(ctx, lo, hi, limit, ascending)
		if err != nil {
			return err
		}
		if err := q.emitIDs(ctx, ids); err != nil {
			return err
		}
		if len(ids) < limit {
			return nil
		}
		if last := ids[len(ids)-1]; ascending {
			lo = last + 1
		} else {
			hi = last
		}
	}
	return nil
}

// termIDs returns up to limit indexes in [lo, hi) that have the terms.
func (q *search) termIDs(ctx context.Context, lo, hi uint64, limit int, ascending bool) ([]uint64, error) {
	order := "DESC"
	if ascending {
		order = "ASC"
	}
	ids := make([]uint64, 0, min(limit, 256))
	err := q.s.index.readAt(ctx, q.mark, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT rowid FROM terms WHERE terms MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rowid " + order + " LIMIT ?")
		if err != nil {
			return err
		}
		stmt.BindText(1, q.match)
		stmt.BindInt64(2, int64(lo))
		stmt.BindInt64(3, int64(hi))
		stmt.BindInt64(4, int64(limit))
		return rows(stmt, func() error {
			ids = append(ids, uint64(stmt.ColumnInt64(0)))
			return nil
		})
	})
	return ids, err
}

// emitIDs emits entries by index. fn runs outside the read transaction of any
// more than one group of entries.
func (q *search) emitIDs(ctx context.Context, ids []uint64) error {
	const most = 64
	for len(ids) > 0 {
		n := min(most, len(ids))
		records := make([]attestlog.Record, 0, n)
		err := q.s.read(ctx, func(conn *sqlite.Conn) error {
			for _, id := range ids[:n] {
				_, err := scanChunk(conn, id, id+1, func(r *attestlog.Record) error {
					records = append(records, r.Clone())
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i := range records {
			if err := q.emit(&records[i]); err != nil {
				return err
			}
		}
		ids = ids[n:]
	}
	return nil
}

// Count counts from the index what plan selects below the watermark.
func (s *Store) Count(ctx context.Context, plan attestlog.Plan, limit uint64) (n, upto uint64, err error) {
	mark, err := s.index.watermark(ctx)
	if err != nil {
		return 0, 0, err
	}
	tree, err := s.Tree(ctx)
	if err != nil {
		return 0, 0, err
	}
	limit = min(limit, math.MaxInt64)
	lo, hi := plan.From, min(plan.To, tree.Size)
	if plan.Terms == nil && !plan.TimeBound() {
		return min(limit, hi-min(lo, hi)), tree.Size, nil
	}
	hi = min(hi, mark)
	if lo >= hi || plan.After >= plan.Before {
		return 0, mark, nil
	}
	if plan.TimeBound() {
		return 0, 0, nil // the log counts: times are not summed up
	}
	match, exact := s.index.expression(plan.Terms, 0)
	if !exact {
		return 0, 0, nil
	}
	err = s.index.readAt(ctx, mark, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT count(*) FROM (SELECT 1 FROM terms WHERE terms MATCH ? AND rowid >= ? AND rowid < ? LIMIT ?)")
		if err != nil {
			return err
		}
		stmt.BindText(1, match)
		stmt.BindInt64(2, int64(lo))
		stmt.BindInt64(3, int64(hi))
		stmt.BindInt64(4, int64(limit))
		return rows(stmt, func() error { n = uint64(stmt.ColumnInt64(0)); return nil })
	})
	return n, mark, err
}

// expression writes a tree of terms as an FTS5 expression. Where FTS5 cannot
// say all of it, it says less and reports false; "" says nothing at all.
func (ix *index) expression(t *attestlog.TermTree, depth int) (string, bool) {
	if depth > maxExpression {
		return "", false
	}
	switch t.Op {
	case attestlog.OpTerm:
		token, _ := ix.appendToken(nil, nil, t.Term.Field, []byte(t.Term.Value))
		return string(token), true
	case attestlog.OpOr:
		parts := make([]string, len(t.Kids))
		all := true
		for i, kid := range t.Kids {
			part, exact := ix.expression(kid, depth+1)
			if part == "" {
				return "", false
			}
			parts[i], all = part, all && exact
		}
		return "(" + strings.Join(parts, " OR ") + ")", all
	case attestlog.OpAnd:
		return ix.conjunction(t.Kids, depth)
	}
	return "", false // FTS5 has no NOT without something to take from
}

func (ix *index) conjunction(kids []*attestlog.TermTree, depth int) (string, bool) {
	var have, not []string
	all := true
	for _, kid := range kids {
		inner := kid
		if kid.Op == attestlog.OpNot {
			inner = kid.Kids[0]
		}
		part, exact := ix.expression(inner, depth+1)
		switch {
		case kid.Op == attestlog.OpNot && exact:
			not = append(not, part)
		case kid.Op != attestlog.OpNot && part != "":
			have = append(have, part)
			all = all && exact
		default:
			all = false
		}
	}
	if len(have) == 0 {
		return "", false
	}
	out := "(" + strings.Join(have, " AND ") + ")"
	if len(not) > 0 {
		out = "(" + out + " NOT (" + strings.Join(not, " OR ") + "))"
	}
	return out, all
}
