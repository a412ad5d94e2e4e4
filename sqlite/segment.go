package sqlite

import (
	"context"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
)

// segments reads the search index's tables.
type segments struct {
	// read runs fn with a connection, or not at all if there is no index.
	read func(ctx context.Context, fn func(*sqlite.Conn) error) error
}

var _ inverted.Reader = segments{}

// each calls row with each row of a query.
func (r segments) each(ctx context.Context, query string, row func(*sqlite.Stmt) error, args ...int64) error {
	return r.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := prepare(conn, query)
		if err != nil {
			return err
		}
		for i, v := range args {
			stmt.BindInt64(i+1, v)
		}
		return rows(stmt, func() error { return row(stmt) })
	})
}

func (r segments) Segments(ctx context.Context) (out []inverted.Segment, err error) {
	const query = `SELECT id, lo, hi, earliest, latest FROM segments
		WHERE live AND (SELECT terms FROM state) = ? ORDER BY lo`

	err = r.each(ctx, query, func(stmt *sqlite.Stmt) error {
		out = append(out, inverted.Segment{
			ID: stmt.ColumnInt64(0),
			Lo: uint64(stmt.ColumnInt64(1)),
			Hi: uint64(stmt.ColumnInt64(2)),
			Span: inverted.Span{
				Earliest: stmt.ColumnInt64(3),
				Latest:   stmt.ColumnInt64(4),
			},
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

func (r segments) RowsBefore(
	ctx context.Context,
	id int64,
	kind inverted.Kind,
	p inverted.Pair,
	limit int,
) (out []inverted.Row, err error) {
	const query = `SELECT a, b, data FROM runs WHERE segment = ? AND kind = ? AND (a, b) <= (?, ?)
		AND EXISTS (SELECT 1 FROM segments s WHERE s.id = ?1 AND live) ORDER BY a DESC, b DESC LIMIT ?`

	err = r.each(ctx, query, func(stmt *sqlite.Stmt) error {
		out = append(out, readRow(stmt, columnBytes(stmt, 2)))
		return nil
	}, id, int64(kind), p.Value, int64(p.Index), int64(limit))
	if err != nil || len(out) > 0 {
		return out, err
	}

	// No rows: either there are none so low, or the segment is gone.
	live := false
	err = r.each(ctx, "SELECT 1 FROM segments WHERE id = ? AND live", func(*sqlite.Stmt) error {
		live = true
		return nil
	}, id)
	if err == nil && !live {
		err = inverted.ErrGone
	}
	return nil, err
}

func (r segments) RowsAfter(
	ctx context.Context,
	id int64,
	kind inverted.Kind,
	p *inverted.Pair,
	limit int,
	fn func(inverted.Row) error,
) error {
	query := "SELECT a, b, data FROM runs WHERE segment = ? AND kind = ? ORDER BY a, b LIMIT ?"
	args := []int64{id, int64(kind), int64(limit)}
	if p != nil {
		query = "SELECT a, b, data FROM runs WHERE segment = ? AND kind = ? AND (a, b) > (?, ?) ORDER BY a, b LIMIT ?"
		args = slices.Insert(args, 2, p.Value, int64(p.Index))
	}

	var data []byte
	return r.each(ctx, query, func(stmt *sqlite.Stmt) error {
		data = readInto(stmt, 2, data)
		return fn(readRow(stmt, data))
	}, args...)
}

// readRow returns the current row of a query for a, b and data.
func readRow(stmt *sqlite.Stmt, data []byte) inverted.Row {
	return inverted.Row{
		First: inverted.Pair{Value: stmt.ColumnInt64(0), Index: uint64(stmt.ColumnInt64(1))},
		Data:  data,
	}
}

// putSegment stores a segment without its rows, and returns its ID.
func putSegment(conn *sqlite.Conn, seg inverted.Segment, spans []byte, live bool) (id int64, err error) {
	err = change(conn, "INSERT INTO segments (live, lo, hi, earliest, latest, spans) VALUES (?, ?, ?, ?, ?, ?)",
		live, int64(seg.Lo), int64(seg.Hi), seg.Earliest, seg.Latest, spans)
	return conn.LastInsertRowID(), err
}

func putRow(conn *sqlite.Conn, id int64, kind inverted.Kind, r inverted.Row) error {
	return change(conn, "INSERT INTO runs (segment, kind, a, b, data) VALUES (?, ?, ?, ?, ?)",
		id, int(kind), r.First.Value, int64(r.First.Index), r.Data)
}

// setLive changes whether a segment is read. It returns inverted.ErrGone if the
// index was emptied.
func setLive(conn *sqlite.Conn, id int64, live bool) error {
	err := change(conn, "UPDATE segments SET live = ? WHERE id = ?", live, id)
	if err == nil && conn.Changes() == 0 {
		err = inverted.ErrGone
	}
	return err
}
