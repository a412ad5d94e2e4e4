package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
)

// copyBytes is how many bytes of rows are written together.
const copyBytes = 1 << 20

// segments read the search index's tables.
type segments struct {
	s  *Store
	db queryer
}

var _ inverted.Reader = segments{}

// Segments returns those of the current terms; none where the index is to be
// left alone.
func (r segments) Segments(ctx context.Context) ([]inverted.Segment, error) {
	if r.s.cfg.NoIndex {
		return nil, nil
	}
	result, err := r.db.Query(ctx, r.s.sql("SELECT id, lo, hi, earliest, latest FROM @.segments WHERE terms = $1 ORDER BY lo"), attestlog.TermsVersion)
	if err != nil {
		return nil, r.s.clarify(ctx, err)
	}
	var out []inverted.Segment
	var seg inverted.Segment
	_, err = pgx.ForEachRow(result, []any{&seg.ID, &seg.Lo, &seg.Hi, &seg.Earliest, &seg.Latest}, func() error {
		out = append(out, seg)
		return nil
	})
	return out, r.s.clarify(ctx, err)
}

func (r segments) Spans(ctx context.Context, id int64) ([]byte, error) {
	var data []byte
	err := r.db.QueryRow(ctx, r.s.sql("SELECT spans FROM @.segments WHERE id = $1"), id).Scan(&data)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, inverted.ErrGone
	}
	return data, r.s.clarify(ctx, err)
}

func (r segments) RowsBefore(ctx context.Context, id int64, kind inverted.Kind, p inverted.Pair, limit int) ([]inverted.Row, error) {
	// The join tells a segment without such rows from one that is gone.
	result, err := r.db.Query(ctx, r.s.sql(`SELECT r.a, r.b, r.data FROM @.segments s LEFT JOIN LATERAL (
		SELECT a, b, data FROM @.runs WHERE segment = $1 AND kind = $2 AND (a, b) <= ($3, $4) ORDER BY a DESC, b DESC LIMIT $5) r ON true
		WHERE s.id = $1`), id, int16(kind), p.Value, int64(p.Index), limit)
	if err != nil {
		return nil, r.s.clarify(ctx, err)
	}
	var out []inverted.Row
	var a, b *int64
	var data []byte
	found := false
	_, err = pgx.ForEachRow(result, []any{&a, &b, &data}, func() error {
		if found = true; a != nil {
			out = append(out, inverted.Row{First: inverted.Pair{Value: *a, Index: uint64(*b)}, Data: slices.Clone(data)})
		}
		return nil
	})
	if err == nil && !found {
		return nil, inverted.ErrGone
	}
	return out, r.s.clarify(ctx, err)
}

func (r segments) RowsAfter(ctx context.Context, id int64, kind inverted.Kind, p *inverted.Pair, limit int, fn func(inverted.Row) error) error {
	args := []any{pgx.QueryResultFormats{pgx.BinaryFormatCode}, id, int16(kind), limit}
	sql := "SELECT a, b, data FROM @.runs WHERE segment = $1 AND kind = $2 ORDER BY a, b LIMIT $3"
	if p != nil {
		sql = "SELECT a, b, data FROM @.runs WHERE segment = $1 AND kind = $2 AND (a, b) > ($4, $5) ORDER BY a, b LIMIT $3"
		args = append(args, p.Value, int64(p.Index))
	}
	result, err := r.db.Query(ctx, r.s.sql(sql), args...)
	if err != nil {
		return err
	}
	defer result.Close()
	for result.Next() {
		v := result.RawValues()
		row := inverted.Row{First: inverted.Pair{Value: int64(binary.BigEndian.Uint64(v[0])), Index: binary.BigEndian.Uint64(v[1])}, Data: v[2]}
		if err := fn(row); err != nil {
			return err
		}
	}
	return result.Err()
}

// A segmentWriter writes a new segment within a transaction.
type segmentWriter struct {
	ctx  context.Context
	conn *pgconn.PgConn
	s    *Store
	id   int64
	rows copier
}

func newSegmentWriter(ctx context.Context, s *Store, tx pgx.Tx, seg inverted.Segment, spans []byte) (*segmentWriter, error) {
	w := &segmentWriter{ctx: ctx, conn: tx.Conn().PgConn(), s: s}
	err := tx.QueryRow(ctx, s.sql("INSERT INTO @.segments (lo, hi, earliest, latest, terms, spans) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id"),
		int64(seg.Lo), int64(seg.Hi), seg.Earliest, seg.Latest, attestlog.TermsVersion, spans).Scan(&w.id)
	w.rows.reset()
	return w, err
}

func (w *segmentWriter) row(kind inverted.Kind, r inverted.Row) error {
	w.rows.row(5)
	w.rows.int8(w.id)
	w.rows.int2(int16(kind))
	w.rows.int8(r.First.Value)
	w.rows.int8(int64(r.First.Index))
	w.rows.bytes(r.Data)
	if len(w.rows.buf) < copyBytes {
		return nil
	}
	return w.flush()
}

func (w *segmentWriter) flush() error {
	err := w.rows.send(w.ctx, w.conn, w.s.sql("COPY @.runs (segment, kind, a, b, data) FROM STDIN BINARY"))
	w.rows.reset()
	return err
}
