package sqlite

import (
	"context"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
)

// segments read the search index's tables.
type segments struct {
	with func(context.Context, func(*sqlite.Conn) error) error
}

var _ inverted.Reader = segments{}

// each calls row with the rows of a query.
func (r segments) each(ctx context.Context, query string, row func(*sqlite.Stmt) error, args ...int64) error {
	return r.with(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare(query)
		if err != nil {
			return err
		}
		for i, v := range args {
			stmt.BindInt64(i+1, v)
		}
		return rows(stmt, func() error { return row(stmt) })
	})
}

// Segments returns those of the current terms.
func (r segments) Segments(ctx context.Context) (out []inverted.Segment, err error) {
	err = r.each(ctx, "SELECT id, lo, hi, earliest, latest FROM segments WHERE live AND (SELECT terms FROM state) = ? ORDER BY lo", func(stmt *sqlite.Stmt) error {
		out = append(out, inverted.Segment{
			ID: stmt.ColumnInt64(0), Lo: uint64(stmt.ColumnInt64(1)), Hi: uint64(stmt.ColumnInt64(2)),
			Span: inverted.Span{Earliest: stmt.ColumnInt64(3), Latest: stmt.ColumnInt64(4)},
		})
		return nil
	}, attestlog.TermsVersion)
	return out, err
}

func (r segments) Spans(ctx context.Context, id int64) (spans []byte, err error) {
	err = r.each(ctx, "SELECT spans FROM segments WHERE id = ? AND live", func(stmt *sqlite.Stmt) error {
		spans = columnBytes(stmt, 0)
		return nil
	}, id)
	if err == nil && spans == nil {
		err = inverted.ErrGone
	}
	return spans, err
}

func (r segments) RowsBefore(ctx context.Context, id int64, kind inverted.Kind, p inverted.Pair, limit int) (out []inverted.Row, err error) {
	err = r.each(ctx, `SELECT a, b, data FROM runs WHERE segment = ? AND kind = ? AND (a, b) <= (?, ?)
		AND EXISTS (SELECT 1 FROM segments s WHERE s.id = ?1 AND live) ORDER BY a DESC, b DESC LIMIT ?`, func(stmt *sqlite.Stmt) error {
		out = append(out, readRow(stmt, columnBytes(stmt, 2)))
		return nil
	}, id, int64(kind), p.A, int64(p.B), int64(limit))
	if err != nil || len(out) > 0 {
		return out, err
	}
	// None is true only of a segment that is still there.
	live := false
	err = r.each(ctx, "SELECT 1 FROM segments WHERE id = ? AND live", func(*sqlite.Stmt) error { live = true; return nil }, id)
	if err == nil && !live {
		err = inverted.ErrGone
	}
	return nil, err
}

func readRow(stmt *sqlite.Stmt, data []byte) inverted.Row {
	return inverted.Row{First: inverted.Pair{A: stmt.ColumnInt64(0), B: uint64(stmt.ColumnInt64(1))}, Data: data}
}

func (r segments) RowsAfter(ctx context.Context, id int64, kind inverted.Kind, p *inverted.Pair, limit int, fn func(inverted.Row) error) error {
	query, args := "SELECT a, b, data FROM runs WHERE segment = ? AND kind = ? ORDER BY a, b LIMIT ?", []int64{id, int64(kind), int64(limit)}
	if p != nil {
		query = "SELECT a, b, data FROM runs WHERE segment = ? AND kind = ? AND (a, b) > (?, ?) ORDER BY a, b LIMIT ?"
		args = slices.Insert(args, 2, p.A, int64(p.B))
	}
	var data []byte
	return r.each(ctx, query, func(stmt *sqlite.Stmt) error {
		data = readInto(stmt, 2, data)
		return fn(readRow(stmt, data))
	}, args...)
}

// change runs a statement that returns no rows.
func change(conn *sqlite.Conn, query string, args ...any) error {
	stmt, err := conn.Prepare(query)
	if err != nil {
		return err
	}
	for i, arg := range args {
		switch v := arg.(type) {
		case int:
			stmt.BindInt64(i+1, int64(v))
		case int64:
			stmt.BindInt64(i+1, v)
		case bool:
			stmt.BindBool(i+1, v)
		case []byte:
			stmt.BindBytes(i+1, v)
		}
	}
	return exec(stmt)
}

func putSegment(conn *sqlite.Conn, seg inverted.Segment, spans []byte, live bool) error {
	return change(conn, "INSERT INTO segments (live, lo, hi, earliest, latest, spans) VALUES (?, ?, ?, ?, ?, ?)",
		live, int64(seg.Lo), int64(seg.Hi), seg.Earliest, seg.Latest, spans)
}

func putRow(conn *sqlite.Conn, id int64, kind inverted.Kind, r inverted.Row) error {
	return change(conn, "INSERT INTO runs (segment, kind, a, b, data) VALUES (?, ?, ?, ?, ?)", id, int(kind), r.First.A, int64(r.First.B), r.Data)
}
