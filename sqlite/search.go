package sqlite

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
)

const (
	firstIDs   = 128    // row ids asked of the index at first …
	mostIDs    = 4_096  // … and at most
	collectIDs = 3_000  // matches that are sorted by time one by one
	timeIDs    = 20_000 // matches of a time range that are sorted by index
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
func (s *Store) Search(ctx context.Context, plan attestlog.Plan, below *attestlog.Position, fn func(*attestlog.Record) (bool, error)) error {
	// The index first, then the log: what the index has yet to take is then
	// in the log for certain.
	mark, err := s.index.watermark(ctx)
	if err != nil {
		return err
	}
	tree, err := s.Tree(ctx)
	if err != nil {
		return err
	}
	q := &search{s: s, plan: plan, lo: plan.From, hi: min(plan.To, tree.Size), below: below, mark: min(mark, tree.Size), fn: fn}
	if below != nil && plan.Order == attestlog.ByIndex {
		q.hi = min(q.hi, below.Index)
	}
	if plan.Terms != nil && q.mark > 0 {
		q.match, _ = s.index.expression(plan.Terms)
	}
	switch {
	case q.lo >= q.hi || plan.After >= plan.Before:
		return nil
	case plan.Order == attestlog.ByTime:
		return q.byTime(ctx)
	case plan.Ascending:
		return q.ascending(ctx)
	}
	return q.descending(ctx)
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
	for _, run := range q.runs(ctx, q.lo, min(q.hi, q.mark), false) {
		var err error
		if q.match != "" {
			err = q.walkTerms(ctx, run.from, run.to, true)
		} else {
			err = q.s.Scan(ctx, run.from, run.to, q.emit)
		}
		if err != nil {
			return q.done(err)
		}
	}
	return q.done(q.s.Scan(ctx, max(q.lo, q.mark), q.hi, q.emit))
}

func (q *search) descending(ctx context.Context) error {
	if err := q.scanDown(ctx, max(q.lo, q.mark), q.hi); err != nil {
		return q.done(err)
	}
	hi := min(q.hi, q.mark)
	if q.plan.TimeBound() {
		limit := timeIDs
		if q.match != "" {
			limit = collectIDs
		}
		ids, all, err := q.idsInTime(ctx, hi, limit)
		if err != nil {
			return err
		}
		if all {
			slices.SortFunc(ids, func(a, b uint64) int { return cmp.Compare(b, a) })
			return q.done(q.emitIDs(ctx, ids))
		}
	}
	for _, run := range q.runs(ctx, q.lo, hi, true) {
		var err error
		if q.match != "" {
			err = q.walkTerms(ctx, run.from, run.to, false)
		} else {
			err = q.scanDown(ctx, run.from, run.to)
		}
		if err != nil {
			return q.done(err)
		}
	}
	return nil
}

// scanDown emits the entries in [lo, hi), newest first.
func (q *search) scanDown(ctx context.Context, lo, hi uint64) error {
	for step := uint64(firstIDs); lo < hi; step = min(2*step, chunk) {
		from := max(lo, hi-min(hi, step))
		records := make([]attestlog.Record, 0, hi-from)
		err := q.s.Scan(ctx, from, hi, func(r *attestlog.Record) error {
			records = append(records, cloneRecord(r))
			return nil
		})
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
	err := q.s.index.read(ctx, func(conn *sqlite.Conn) error {
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
	const group = 64
	for len(ids) > 0 {
		n := min(group, len(ids))
		records := make([]attestlog.Record, 0, n)
		err := q.s.read(ctx, func(conn *sqlite.Conn) error {
			for _, id := range ids[:n] {
				_, err := scanChunk(conn, id, id+1, func(r *attestlog.Record) error {
					records = append(records, cloneRecord(r))
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

// idsInTime returns the indexes in [lo, hi) within the plan's time bounds, and
// whether that is all of them.
func (q *search) idsInTime(ctx context.Context, hi uint64, limit int) (ids []uint64, all bool, err error) {
	if q.s.index.readers == nil {
		return nil, false, nil
	}
	scanned := 0
	err = q.s.index.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT idx FROM times WHERE time >= ? AND time < ? LIMIT ?")
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
	return ids, scanned <= limit, err
}

// A stretch is a range of entries, from ≤ index < to.
type stretch struct{ from, to uint64 }

// runs returns the parts of [lo, hi) whose blocks have times within bounds.
func (q *search) runs(ctx context.Context, lo, hi uint64, descending bool) []stretch {
	if lo >= hi {
		return nil
	}
	if !q.plan.TimeBound() {
		return []stretch{{lo, hi}}
	}
	blocks, err := q.s.index.blockSpans(ctx, q.mark)
	if err != nil {
		return []stretch{{lo, hi}} // without the summary, every entry is looked at
	}
	var out []stretch
	for n := lo / blockSize; n*blockSize < hi; n++ {
		if n < uint64(len(blocks)) && (blocks[n].hi < q.plan.After || blocks[n].lo >= q.plan.Before) {
			continue
		}
		from, to := max(lo, n*blockSize), min(hi, (n+1)*blockSize)
		if last := len(out) - 1; last >= 0 && out[last].to == from {
			out[last].to = to
		} else {
			out = append(out, stretch{from, to})
		}
	}
	if descending {
		slices.Reverse(out)
	}
	return out
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
	var sql, match string
	switch {
	case plan.Terms == nil:
		sql = "SELECT count(*) FROM (SELECT 1 FROM times WHERE time >= ?4 AND time < ?5 AND idx >= ?1 AND idx < ?2 LIMIT ?3)"
	case plan.TimeBound():
		return 0, 0, nil
	default:
		exact := false
		if match, exact = s.index.expression(plan.Terms); !exact {
			return 0, 0, nil
		}
		sql = "SELECT count(*) FROM (SELECT 1 FROM terms WHERE terms MATCH ?4 AND rowid >= ?1 AND rowid < ?2 LIMIT ?3)"
	}
	err = s.index.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare(sql)
		if err != nil {
			return err
		}
		stmt.BindInt64(1, int64(lo))
		stmt.BindInt64(2, int64(hi))
		stmt.BindInt64(3, int64(limit))
		if match != "" {
			stmt.BindText(4, match)
		} else {
			stmt.BindInt64(4, plan.After)
			stmt.BindInt64(5, plan.Before)
		}
		return rows(stmt, func() error { n = uint64(stmt.ColumnInt64(0)); return nil })
	})
	return n, mark, err
}

// expression writes a tree of terms as an FTS5 expression. Where FTS5 cannot
// say all of it, it says less and reports false; "" says nothing at all.
func (ix *index) expression(t *attestlog.TermTree) (string, bool) {
	switch t.Op {
	case attestlog.OpTerm:
		token, _ := ix.appendToken(nil, nil, t.Term.Field, []byte(t.Term.Value))
		return string(token), true
	case attestlog.OpOr:
		parts := make([]string, len(t.Kids))
		all := true
		for i, kid := range t.Kids {
			part, exact := ix.expression(kid)
			if part == "" {
				return "", false
			}
			parts[i], all = part, all && exact
		}
		return "(" + strings.Join(parts, " OR ") + ")", all
	case attestlog.OpAnd:
		return ix.conjunction(t.Kids)
	}
	return "", false // FTS5 has no NOT without something to take from
}

func (ix *index) conjunction(kids []*attestlog.TermTree) (string, bool) {
	var have, not []string
	all := true
	for _, kid := range kids {
		inner := kid
		if kid.Op == attestlog.OpNot {
			inner = kid.Kids[0]
		}
		part, exact := ix.expression(inner)
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
