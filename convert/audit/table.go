package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/big"
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

// A Table is the table in a database. Its methods are as safe for concurrent use as
// what it was made with.
type Table struct {
	db    Queryer
	close func() error
	Rows  int64 // when it was opened
}

// A Queryer is a connection, a pool of them, or a transaction.
type Queryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// In returns the table in the search path of a connection, which stays the caller's.
// Nothing is looked for: its Rows is 0.
func In(db Queryer) *Table { return &Table{db: db, close: func() error { return nil }} }

// Open connects to a database and looks for the table in its search path. Nothing
// is written. The error is ErrNoTable if there is no such table.
func Open(ctx context.Context, dsn string) (*Table, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	t := &Table{db: conn, close: func() error { return conn.Close(context.Background()) }}
	if err := t.find(ctx); err != nil {
		conn.Close(ctx)
		return nil, err
	}
	return t, nil
}

// find checks the table's columns, and counts its rows. A view of that name may
// show the log itself.
func (t *Table) find(ctx context.Context) error {
	var columns int
	err := t.db.QueryRow(ctx, `
		SELECT count(*)
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		WHERE c.oid = to_regclass('audit_log') AND c.relkind IN ('r', 'p') AND NOT a.attisdropped
			AND a.attname IN ('id', 'timestamp', 'event_type', 'username', 'ip_address', 'query', 'mail_id', 'success', 'detail')
	`).Scan(&columns)
	if err != nil {
		return err
	}
	if columns != 9 {
		return ErrNoTable
	}
	return t.db.QueryRow(ctx, "SELECT count(*) FROM audit_log").Scan(&t.Rows)
}

const selectRows = "SELECT id, timestamp, event_type, username, ip_address, query, mail_id, success, detail FROM audit_log "

// Events returns the rows as events, by id, in constant memory: those of one
// snapshot. An error ends the sequence.
func (t *Table) Events(ctx context.Context) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		rows, err := t.db.Query(ctx, selectRows+"ORDER BY id")
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
			if !yield(r.RowEvent(), nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(attestlog.Event{}, fmt.Errorf("audit_log: %w", err))
		}
	}
}

// maxRows are read at a time by After, IDsAfter and ByID.
const maxRows = 1_000

// LastID returns the greatest id of a row, or 0 if there are none.
func (t *Table) LastID(ctx context.Context) (id int64, err error) {
	err = t.db.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM audit_log").Scan(&id)
	return id, err
}

// After returns the rows after an id, in the order of their ids: at most 1,000.
func (t *Table) After(ctx context.Context, id int64) ([]Record, error) {
	return t.records(ctx, selectRows+"WHERE id > $1 ORDER BY id LIMIT $2", id, maxRows)
}

// ByID returns the rows that have one of the ids, in their order.
func (t *Table) ByID(ctx context.Context, ids []int64) ([]Record, error) {
	return t.records(ctx, selectRows+"WHERE id = ANY($1) ORDER BY id", ids)
}

// IDsAfter returns the ids of rows after an id and up to another, in their order: at
// most 1,000.
func (t *Table) IDsAfter(ctx context.Context, id, last int64) ([]int64, error) {
	rows, err := t.db.Query(ctx, "SELECT id FROM audit_log WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3", id, last, maxRows)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

func (t *Table) records(ctx context.Context, sql string, args ...any) ([]Record, error) {
	rows, err := t.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Record, error) { return scan(row) })
}

// EventID returns the id of a row's event.
func (r *Record) EventID() string { return convert.ID(Format, "", r.Line()) }

// RowEvent returns the event of a row, with its id.
func (r *Record) RowEvent() attestlog.Event {
	e := r.Event()
	e.ID = r.EventID()
	fit.Event(&e)
	return e
}

func scan(row pgx.Row) (Record, error) {
	var r Record
	var t pgtype.Timestamptz
	err := row.Scan(
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
		r.Far = microText(t)
		return
	}
	r.Timestamp = &t
}

// microText returns a time's microseconds since 1970, which may be more than an int64
// holds.
func microText(t time.Time) string {
	n := big.NewInt(t.Unix())
	n.Mul(n, big.NewInt(1e6))
	return n.Add(n, big.NewInt(int64(t.Nanosecond()/1e3))).String()
}

func parseMicros(text string) (time.Time, bool) {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return time.Time{}, false
	}
	seconds, micros := n.DivMod(n, big.NewInt(1e6), new(big.Int))
	return time.Unix(seconds.Int64(), micros.Int64()*1e3).UTC(), seconds.IsInt64()
}

// Time returns the time of a record, and whether it has one. NULL and infinity are
// not times.
func (r *Record) Time() (time.Time, bool) {
	if r.Timestamp != nil {
		return *r.Timestamp, true
	}
	return parseMicros(r.Far)
}

// Close closes the connection that Open made.
func (t *Table) Close() error { return t.close() }
