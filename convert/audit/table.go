package audit

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/fit"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// A Table is the table in an open database.
type Table struct {
	conn *pgx.Conn
	Rows int64 // when it was opened
}

// Open connects to a database and looks for the table in its search path.
// Nothing is written. Errors match ErrNoTable where there is none.
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

func (t *Table) find(ctx context.Context) error {
	var columns int
	err := t.conn.QueryRow(ctx, `SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('audit_log') AND NOT attisdropped
		AND attname IN ('id', 'timestamp', 'event_type', 'username', 'ip_address', 'query', 'mail_id', 'success', 'detail')`).Scan(&columns)
	if err == nil && columns != 9 {
		err = ErrNoTable
	}
	if err == nil {
		err = t.conn.QueryRow(ctx, "SELECT count(*) FROM audit_log").Scan(&t.Rows)
	}
	return err
}

// Events returns the rows as events, by id, in constant memory.
func (t *Table) Events(ctx context.Context) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		rows, err := t.conn.Query(ctx, "SELECT id, timestamp, event_type, username, ip_address, query, mail_id, success, detail FROM audit_log ORDER BY id")
		if err != nil {
			yield(attestlog.Event{}, err)
			return
		}
		defer rows.Close()
		ids := convert.NewIDs(Format, "")
		for rows.Next() {
			var r Record
			var at pgtype.Timestamptz
			if err := rows.Scan(&r.ID, &at, &r.EventType, &r.Username, &r.IPAddress, &r.Query, &r.MailID, &r.Success, &r.Detail); err != nil {
				yield(attestlog.Event{}, fmt.Errorf("audit_log: %w", err))
				return
			}
			r.timestamp(at)
			e := r.Event()
			e.ID = ids.Next(r.Line())
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

func (r *Record) timestamp(at pgtype.Timestamptz) {
	switch {
	case !at.Valid:
	case at.InfinityModifier != pgtype.Finite:
		r.Far = at.InfinityModifier.String()
	default:
		r.SetTime(at.Time)
	}
}

// SetTime sets Timestamp, or Far.
func (r *Record) SetTime(at time.Time) {
	at = at.UTC()
	if year := at.Year(); year < 1 || year > 9999 {
		r.Far = strconv.FormatInt(at.UnixMicro(), 10)
		return
	}
	r.Timestamp = &at
}

// Time returns the time of a record that has one.
func (r *Record) Time() (time.Time, bool) {
	if r.Timestamp != nil {
		return *r.Timestamp, true
	}
	micros, err := strconv.ParseInt(r.Far, 10, 64)
	return time.UnixMicro(micros).UTC(), err == nil
}

// Close closes the connection.
func (t *Table) Close() error { return t.conn.Close(context.Background()) }
