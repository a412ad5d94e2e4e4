package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/fit"
)

// ErrNoTable is returned for a database without such a table.
var ErrNoTable = errors.New("there is no table audit_log of id, timestamp, event_type, username, ip_address, query, " +
	"mail_id, success and detail")

// A Table is the table in an open database. It is not safe for concurrent use.
type Table struct {
	conn *pgx.Conn
	Rows int64 // when it was opened
}

// Open connects to a database and looks for the table in its search path. Nothing
// is written. The error is ErrNoTable if there is no such table.
func Open(ctx context.Context, dsn string) (*Table, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}

	t := &Table{conn: conn}
	if err := t.find(ctx); err != nil {
		conn.Close(ctx)
		return nil, err
	}
	return t, nil
}

// find checks the table's columns, and counts its rows.
func (t *Table) find(ctx context.Context) error {
	var columns int
	err := t.conn.QueryRow(ctx, `
		SELECT count(*)
		FROM pg_attribute
		WHERE attrelid = to_regclass('audit_log') AND NOT attisdropped
			AND attname IN ('id', 'timestamp', 'event_type', 'username', 'ip_address', 'query', 'mail_id', 'success', 'detail')
	`).Scan(&columns)
	if err != nil {
		return err
	}
	if columns != 9 {
		return ErrNoTable
	}
	return t.conn.QueryRow(ctx, "SELECT count(*) FROM audit_log").Scan(&t.Rows)
}

// Events returns the rows as events, by id, in constant memory. An error ends the
// sequence.
func (t *Table) Events(ctx context.Context) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		rows, err := t.conn.Query(ctx, `
			SELECT id, timestamp, event_type, username, ip_address, query, mail_id, success, detail
			FROM audit_log
			ORDER BY id
		`)
		if err != nil {
			yield(attestlog.Event{}, err)
			return
		}
		defer rows.Close()

		for rows.Next() {
			r, err := scan(rows)
			if err != nil {
				yield(attestlog.Event{}, fmt.Errorf("audit_log: %w", err))
				return
			}

			e := r.Event()
			e.ID = convert.ID(Format, "", r.Line())
			fit.Event(&e)
			if !yield(e, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(attestlog.Event{}, fmt.Errorf("audit_log: %w", err))
		}
	}
}

func scan(rows pgx.Rows) (Record, error) {
	var r Record
	var t pgtype.Timestamptz
	err := rows.Scan(
		&r.ID, &t, &r.EventType, &r.Username, &r.IPAddress, &r.Query, &r.MailID, &r.Success, &r.Detail,
	)
	if err != nil {
		return Record{}, err
	}

	switch {
	case !t.Valid:
	case t.InfinityModifier != pgtype.Finite:
		r.Far = t.InfinityModifier.String()
	default:
		r.SetTime(t.Time)
	}
	return r, nil
}

// SetTime sets Timestamp, or Far if RFC 3339 cannot write the time.
func (r *Record) SetTime(t time.Time) {
	t = t.UTC()
	if year := t.Year(); year < 1 || year > 9999 {
		r.Far = strconv.FormatInt(t.UnixMicro(), 10)
		return
	}
	r.Timestamp = &t
}

// Time returns the time of a record, and whether it has one. NULL and infinity are
// not times.
func (r *Record) Time() (time.Time, bool) {
	if r.Timestamp != nil {
		return *r.Timestamp, true
	}
	micros, err := strconv.ParseInt(r.Far, 10, 64)
	return time.UnixMicro(micros).UTC(), err == nil
}

// Close closes the connection.
func (t *Table) Close() error { return t.conn.Close(context.Background()) }
