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

// flushBytes is how many bytes of a segment's rows are written at once.
const flushBytes = 1 << 20

// A segmentReader reads the search index: the tables segments and runs.
type segmentReader struct {
	s  *Store
	db queryer
}

var _ inverted.Reader = segmentReader{}

// Segments returns the segments of the current terms. There are none if the
// index is to be left alone.
func (r segmentReader) Segments(ctx context.Context) ([]inverted.Segment, error) {
	if r.s.cfg.NoIndex {
		return nil, nil
	}
	result, err := r.db.Query(ctx, r.s.sql(`SELECT id, lo, hi, earliest, latest FROM @.segments
		WHERE terms = $1 ORDER BY lo`),
		attestlog.TermsVersion)
	if err != nil {
		return nil, r.s.readError(ctx, err)
	}

	var out []inverted.Segment
	var seg inverted.Segment
	_, err = pgx.ForEachRow(result, []any{&seg.ID, &seg.Lo, &seg.Hi, &seg.Earliest, &seg.Latest}, func() error {
		out = append(out, seg)
		return nil
	})
	return out, r.s.readError(ctx, err)
}

// Spans returns the bytes that were stored with a segment, or inverted.ErrGone.
func (r segmentReader) Spans(ctx context.Context, id int64) ([]byte, error) {
	var data []byte
	err := r.db.QueryRow(ctx, r.s.sql("SELECT spans FROM @.segments WHERE id = $1"), id).Scan(&data)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, inverted.ErrGone
	}
	return data, r.s.readError(ctx, err)
}

// RowsBefore returns up to limit rows of a run, downwards from the one that
// holds the last pair up to p, or inverted.ErrGone.
func (r segmentReader) RowsBefore(
	ctx context.Context, id int64, kind inverted.Kind, p inverted.Pair, limit int,
) ([]inverted.Row, error) {
	// The join tells a segment without such rows, for which it gives NULLs, from
	// one that is gone.
	result, err := r.db.Query(ctx, r.s.sql(`SELECT r.a, r.b, r.data FROM @.segments s LEFT JOIN LATERAL (
			SELECT a, b, data FROM @.runs WHERE segment = $1 AND kind = $2 AND (a, b) <= ($3, $4)
			ORDER BY a DESC, b DESC LIMIT $5
		) r ON true WHERE s.id = $1`), id, int16(kind), p.Value, int64(p.Index), limit)
	if err != nil {
		return nil, r.s.readError(ctx, err)
	}

	var out []inverted.Row
	var a, b *int64
	var data []byte
	found := false
	_, err = pgx.ForEachRow(result, []any{&a, &b, &data}, func() error {
		found = true
		if a != nil {
			first := inverted.Pair{Value: *a, Index: uint64(*b)}
			out = append(out, inverted.Row{First: first, Data: slices.Clone(data)})
		}
		return nil
	})
	if err == nil && !found {
		return nil, inverted.ErrGone
	}
	return out, r.s.readError(ctx, err)
}

// RowsAfter calls fn with up to limit rows of a run, in order: those whose first
// pair is above p, or the run's first if p is nil. The bytes are valid only
// during the call.
func (r segmentReader) RowsAfter(
	ctx context.Context, id int64, kind inverted.Kind, p *inverted.Pair, limit int, fn func(inverted.Row) error,
) error {
	sql := "SELECT a, b, data FROM @.runs WHERE segment = $1 AND kind = $2 ORDER BY a, b LIMIT $3"
	args := []any{pgx.QueryResultFormats{pgx.BinaryFormatCode}, id, int16(kind), limit}
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
		first := inverted.Pair{Value: int64(binary.BigEndian.Uint64(v[0])), Index: binary.BigEndian.Uint64(v[1])}
		err := fn(inverted.Row{First: first, Data: v[2]})
		if err != nil {
			return err
		}
	}
	return result.Err()
}

// A segmentWriter writes a new segment within a transaction.
type segmentWriter struct {
	ctx  context.Context
	s    *Store
	conn *pgconn.PgConn
	id   int64
	rows copyWriter
}

func newSegmentWriter(
	ctx context.Context, s *Store, tx pgx.Tx, seg inverted.Segment, spans []byte,
) (*segmentWriter, error) {
	w := &segmentWriter{ctx: ctx, s: s, conn: tx.Conn().PgConn()}
	w.rows.reset()
	err := tx.QueryRow(ctx, s.sql(`INSERT INTO @.segments (lo, hi, earliest, latest, terms, spans)
		VALUES ($1, $2, $3, $4, $5, $6) RETURNING id`),
		int64(seg.Lo), int64(seg.Hi), seg.Earliest, seg.Latest, attestlog.TermsVersion, spans).Scan(&w.id)
	return w, err
}

// add adds a row, which may be written later.
func (w *segmentWriter) add(kind inverted.Kind, r inverted.Row) error {
	w.rows.row(5)
	w.rows.bigint(w.id)
	w.rows.smallint(int16(kind))
	w.rows.bigint(r.First.Value)
	w.rows.bigint(int64(r.First.Index))
	w.rows.bytes(r.Data)
	if len(w.rows.buf) < flushBytes {
		return nil
	}
	return w.flush()
}

// flush writes the rows that were added.
func (w *segmentWriter) flush() error {
	err := w.rows.send(w.ctx, w.conn, w.s.sql("COPY @.runs (segment, kind, a, b, data) FROM STDIN BINARY"))
	w.rows.reset()
	return err
}
