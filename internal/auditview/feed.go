package auditview

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/attestlog/attestlog"
	old "github.com/attestlog/attestlog/convert/audit"
	"github.com/attestlog/attestlog/internal/oldlog"
	"github.com/attestlog/attestlog/query"
)

const (
	noID = math.MinInt64 // before all ids

	stepEntries = 5_000 // that a transaction of Step shows at most
)

// A Feeder fills the table that the view shows, if there is one. Its methods are for
// one goroutine at a time; any number of processes may have one.
type Feeder struct {
	db  DB
	log *attestlog.Log
	own query.Query // entries that are not shown

	logger   *slog.Logger
	position PositionSQL
	lengths  string // a statement
	rows     pgx.Identifier
}

// PositionSQL are statements about a row of the log's table positions, whose name is
// their $1.
type PositionSQL struct {
	Look string // returns the position
	Lock string // the same, and locks the row, unless another process has
	Note string // sets the position to $2
}

// PositionsIn returns the statements for the log in a schema.
func PositionsIn(schema string) PositionSQL {
	positions := namesIn(schema).positions
	look := "SELECT position FROM " + positions + " WHERE name = $1"
	return PositionSQL{
		Look: look,
		Lock: look + " FOR UPDATE SKIP LOCKED",
		Note: "UPDATE " + positions + " SET position = $2 WHERE name = $1",
	}
}

// NewFeeder returns a Feeder of the view of a log that is kept in a schema of the
// database.
func NewFeeder(db DB, log *attestlog.Log, schema string, logger *slog.Logger) *Feeder {
	return &Feeder{
		db:       db,
		log:      log,
		own:      oldlog.Own("audit"),
		logger:   logger,
		position: PositionsIn(schema),
		lengths: "SELECT attname::text, atttypmod - 4 FROM pg_attribute WHERE attrelid = '" + namesIn(schema).rows +
			"'::regclass AND atttypid = 'varchar'::regtype AND atttypmod > 4",
		rows: pgx.Identifier{schema, "audit_log_rows"},
	}
}

// Step shows some entries that are not shown yet, and reports whether there may be
// more. It does nothing if there is no view, or if another process is at it.
func (f *Feeder) Step(ctx context.Context) (more bool, err error) {
	var position int64
	err = f.db.QueryRow(ctx, f.position.Look, positionName).Scan(&position)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	size, err := f.log.Size(ctx)
	if err != nil || uint64(position) >= size {
		return false, err
	}

	err = pgx.BeginFunc(ctx, f.db, func(tx pgx.Tx) error {
		// If this process hangs, another one goes on.
		_, err := tx.Exec(ctx, "SET LOCAL idle_in_transaction_session_timeout = '60s'")
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, f.position.Lock, positionName).Scan(&position)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}

		from := uint64(position)
		end := min(size, from+stepEntries)
		if from >= end {
			return nil
		}
		err = f.show(ctx, tx, from, end)
		if err != nil {
			return err
		}
		more = end < size
		_, err = tx.Exec(ctx, f.position.Note, positionName, int64(end))
		return err
	})
	return more, err
}

// show adds the rows of some entries.
func (f *Feeder) show(ctx context.Context, tx pgx.Tx, from, to uint64) error {
	lengths, err := f.lengthsOf(ctx, tx)
	if err != nil {
		return err
	}

	var rows [][]any
	err = f.log.Scan(ctx, from, to, func(raw *attestlog.RawEntry) error {
		e, err := raw.Entry()
		if err == nil {
			err = e.Err
		}
		if isDamage(err) { // the view goes on without it
			f.logger.Error("attestlog: the view of the log lacks a damaged entry", "err", err)
			return nil
		}
		if err != nil {
			return err
		}
		if !f.own.Match(&e) {
			rows = append(rows, lengths.rowOf(&e))
		}
		return nil
	})
	if err != nil {
		return err
	}

	_, err = tx.CopyFrom(ctx, f.rows,
		[]string{"idx", "id", "timestamp", "event_type", "username", "ip_address", "query", "mail_id", "success", "detail"},
		pgx.CopyFromRows(rows))
	return err
}

func isDamage(err error) bool {
	var corrupt *attestlog.CorruptError
	return errors.As(err, &corrupt)
}

// lengths are how many characters columns can have, by name. Others have no bound.
type lengths map[string]int

func (f *Feeder) lengthsOf(ctx context.Context, tx pgx.Tx) (lengths, error) {
	found, err := tx.Query(ctx, f.lengths)
	if err != nil {
		return nil, err
	}
	out := lengths{}
	var name string
	var n int
	_, err = pgx.ForEachRow(found, []any{&name, &n}, func() error {
		out[name] = n
		return nil
	})
	return out, err
}

// rowOf returns the values of an entry's row.
func (l lengths) rowOf(e *attestlog.Entry) []any {
	r := old.Of(e)
	return []any{
		int64(e.Index), r.ID, timestamp(r), l.text("event_type", r.EventType), l.text("username", r.Username),
		l.text("ip_address", r.IPAddress), l.text("query", r.Query), l.text("mail_id", r.MailID), r.Success, l.text("detail", r.Detail),
	}
}

// text returns a text as its column can have it: in UTF-8, without NUL, and if it is
// too long, cut, with an ellipsis at its end.
func (l lengths) text(column string, s *string) *string {
	if s == nil {
		return nil
	}
	const replacement = "\uFFFD"
	out := strings.ReplaceAll(strings.ToValidUTF8(*s, replacement), "\x00", replacement)

	most := l[column]
	if most > 0 && utf8.RuneCountInString(out) > most {
		out = string([]rune(out)[:most-1]) + "…"
	}
	return &out
}

// The times that PostgreSQL can have (PostgreSQL manual, 8.5), and its driver, which
// counts microseconds from 1970. Others are infinity.
var (
	earliest = time.Date(-4712, time.January, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.UnixMicro(math.MaxInt64).UTC()
)

func timestamp(r old.Record) pgtype.Timestamptz {
	t, ok := r.Time()
	switch {
	case ok && t.Before(earliest), r.Far == pgtype.NegativeInfinity.String():
		return pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}
	case ok && t.After(latest), r.Far == pgtype.Infinity.String():
		return pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	case ok:
		return pgtype.Timestamptz{Time: t, Valid: true}
	default:
		return pgtype.Timestamptz{}
	}
}
