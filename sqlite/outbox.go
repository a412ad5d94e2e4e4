package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
)

// DefaultOutbox is the table of an outbox whose name is not given.
const DefaultOutbox = "attestlog_outbox"

// An Outbox appends events within the transactions of an application that keeps
// its data in SQLite: an entry is in the log exactly if its transaction was
// committed, and entries are in the order of the commits. The events wait in a
// table of the application's own database, from where the log that has the
// Outbox in its Config.Outboxes moves them, each once. The log is a file of its
// own, and may also be in PostgreSQL. An Outbox is safe for concurrent use.
//
// All is done through the application's handle, with whatever driver it has:
// SQLite's files must not be opened by two libraries in one process. The handle
// needs a busy timeout, because what was moved is deleted beside the
// application's own transactions; those that read before they write should
// begin as IMMEDIATE, as with any other writer.
//
// What the log never takes, because the id is there with other content, is set
// aside in the table whose name ends in "_refused", logged and counted.
type Outbox struct {
	db    *sql.DB
	table string // quoted
	set   string // quoted: the table of what is set aside
	name  string
	cfg   attestlog.Config
}

// OutboxConfig configures an Outbox. The zero OutboxConfig is useful.
type OutboxConfig struct {
	// Table is the name of the table. Defaults to "attestlog_outbox".
	Table string
	// Log is the log's configuration, of which Sealed and Clock matter.
	Log attestlog.Config
}

// OpenOutbox makes the outbox's tables in the application's database, unless
// they are there. Closing the Outbox does not close db.
func OpenOutbox(ctx context.Context, db *sql.DB, cfg OutboxConfig) (*Outbox, error) {
	if cfg.Table == "" {
		cfg.Table = DefaultOutbox
	}
	o := &Outbox{db: db, name: cfg.Table, table: quote(cfg.Table), set: quote(cfg.Table + "_refused"), cfg: cfg.Log}
	var timeout int
	if err := db.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&timeout); err != nil {
		return nil, o.failed(err)
	}
	if timeout == 0 {
		return nil, o.failed(errors.New("the database handle has no busy timeout, so emptying the outbox would make the application's transactions fail: set one, such as _pragma=busy_timeout(5000) or _busy_timeout=5000"))
	}
	// AUTOINCREMENT: a number is never given twice.
	for _, text := range []string{
		"CREATE TABLE IF NOT EXISTS " + o.table + " (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL CHECK (typeof(at) = 'integer'), event TEXT NOT NULL CHECK (typeof(event) = 'text'))",
		"CREATE TABLE IF NOT EXISTS " + o.set + " (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, event TEXT NOT NULL, reason TEXT NOT NULL)",
	} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return nil, o.failed(err)
		}
	}
	return o, nil
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Name returns the table's name.
func (o *Outbox) Name() string { return o.name }

// Close does nothing: the database is the application's.
func (o *Outbox) Close() error { return nil }

// AppendTx puts an event into the caller's transaction. An event that breaks a
// rule is refused as by Log.Append, and the transaction can go on.
func (o *Outbox) AppendTx(ctx context.Context, tx *sql.Tx, e attestlog.Event) error {
	p, err := o.cfg.Prepare(e)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO "+o.table+" (at, event) VALUES (?, ?)", p.At.UnixNano(), string(p.Event)); err != nil {
		return o.failed(err)
	}
	return nil
}

func (o *Outbox) failed(err error) error { return fmt.Errorf("sqlite: outbox %s: %w", o.name, err) }

// Move implements attestlog.Outbox. No transaction is open while fn runs.
func (o *Outbox) Move(ctx context.Context, fn func([]attestlog.Prepared) ([]error, error)) (int, error) {
	ids, events, err := o.oldest(ctx)
	if err != nil {
		return 0, o.failed(err)
	}
	if len(ids) == 0 {
		return 0, nil
	}
	verdicts, err := fn(events)
	if err != nil {
		return 0, err
	}
	if err := o.remove(ctx, ids, verdicts); err != nil {
		return 0, o.failed(err)
	}
	return len(ids), nil
}

func (o *Outbox) oldest(ctx context.Context) (ids []int64, events []attestlog.Prepared, err error) {
	rows, err := o.db.QueryContext(ctx, "SELECT id, at, event FROM "+o.table+" ORDER BY id LIMIT ?", attestlog.MaxMove)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	bytes := 0
	for rows.Next() {
		var id, at int64
		var event []byte
		if err := rows.Scan(&id, &at, &event); err != nil {
			return nil, nil, err
		}
		if bytes += len(event); len(ids) > 0 && bytes > attestlog.MaxMoveBytes {
			break
		}
		ids = append(ids, id)
		events = append(events, attestlog.Prepared{Event: event, At: time.Unix(0, at).UTC()})
	}
	return ids, events, rows.Err()
}

func (o *Outbox) remove(ctx context.Context, ids []int64, verdicts []error) (err error) {
	tx, err := o.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	remove, err := tx.PrepareContext(ctx, "DELETE FROM "+o.table+" WHERE id = ?")
	if err != nil {
		return err
	}
	defer remove.Close()
	for i, reason := range verdicts {
		if reason != nil {
			// Another process may have set it aside in the meantime.
			_, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO "+o.set+" (id, at, event, reason) SELECT id, at, event, ? FROM "+o.table+" WHERE id = ?", reason.Error(), ids[i])
			if err != nil {
				return err
			}
		}
		if _, err := remove.ExecContext(ctx, ids[i]); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Backlog implements attestlog.Outbox.
func (o *Outbox) Backlog(ctx context.Context) (attestlog.Backlog, error) {
	var b attestlog.Backlog
	var since sql.NullInt64
	err := o.db.QueryRowContext(ctx, "SELECT count(*), coalesce(min(id), 0), coalesce(max(id), 0), (SELECT at FROM "+o.table+" ORDER BY id LIMIT 1), (SELECT count(*) FROM "+o.set+") FROM "+o.table).
		Scan(&b.Events, &b.First, &b.Last, &since, &b.Refused)
	if err != nil {
		return attestlog.Backlog{}, o.failed(err)
	}
	if since.Valid {
		b.Since = time.Unix(0, since.Int64).UTC()
	}
	return b, nil
}

// Outbox returns nil: the outbox of an application's own database is one of
// attestlog.Config.Outboxes.
func (s *Store) Outbox() attestlog.Outbox { return nil }
