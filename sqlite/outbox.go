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

// DefaultOutbox is the name of an outbox's table if none is given.
const DefaultOutbox = "attestlog_outbox"

// An Outbox appends events within the transactions of an application that keeps
// its data in SQLite: an entry is in the log exactly if its transaction was
// committed, and entries are in the order of the commits. The events wait in a
// table of the application's own database. The log that has the Outbox in its
// Config.Outboxes moves them from there, each once. The log is a file of its
// own, or may be in PostgreSQL. An Outbox is safe for concurrent use.
//
// An Outbox uses the application's handle, with any driver, because SQLite's
// files must not be opened by two libraries in one process. The handle needs a
// busy timeout: events that were moved are deleted while the application's own
// transactions run. As with any other writer, transactions that read before they
// write should begin as IMMEDIATE.
//
// An event that the log never accepts, because its id is in the log with other
// content, is moved to the table whose name ends in "_refused", logged and
// counted.
type Outbox struct {
	db    *sql.DB
	cfg   attestlog.Config
	name  string
	query outboxQueries
}

// OutboxConfig configures an Outbox. The zero OutboxConfig is useful.
type OutboxConfig struct {
	// Table is the name of the table. Defaults to "attestlog_outbox".
	Table string
	// Log is the log's configuration. Only Sealed and Clock are used.
	Log attestlog.Config
}

// outboxQueries are the queries of an outbox, with the names of its tables.
type outboxQueries struct {
	createTable, createRefused            string
	insert, oldest, refuse, remove, count string
}

func queriesFor(name string) outboxQueries {
	tables := strings.NewReplacer("{outbox}", quote(name), "{refused}", quote(name+"_refused"))
	return outboxQueries{
		// AUTOINCREMENT: an id is never given twice.
		createTable: tables.Replace(`CREATE TABLE IF NOT EXISTS {outbox} (
			id INTEGER PRIMARY KEY AUTOINCREMENT,
			at INTEGER NOT NULL CHECK (typeof(at) = 'integer'),
			event TEXT NOT NULL CHECK (typeof(event) = 'text'))`),
		createRefused: tables.Replace(`CREATE TABLE IF NOT EXISTS {refused} (
			id INTEGER PRIMARY KEY,
			at INTEGER NOT NULL,
			event TEXT NOT NULL,
			reason TEXT NOT NULL)`),

		insert: tables.Replace("INSERT INTO {outbox} (at, event) VALUES (?, ?)"),
		oldest: tables.Replace("SELECT id, at, event FROM {outbox} ORDER BY id LIMIT ?"),
		// Another process may have refused it in the meantime.
		refuse: tables.Replace(`INSERT OR IGNORE INTO {refused} (id, at, event, reason)
			SELECT id, at, event, ? FROM {outbox} WHERE id = ?`),
		remove: tables.Replace("DELETE FROM {outbox} WHERE id = ?"),
		count: tables.Replace(`SELECT count(*), coalesce(min(id), 0), coalesce(max(id), 0),
			(SELECT at FROM {outbox} ORDER BY id LIMIT 1),
			(SELECT count(*) FROM {refused}) FROM {outbox}`),
	}
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// OpenOutbox makes the outbox's tables in the application's database, unless
// they are there. Closing the Outbox does not close db.
func OpenOutbox(ctx context.Context, db *sql.DB, cfg OutboxConfig) (*Outbox, error) {
	if cfg.Table == "" {
		cfg.Table = DefaultOutbox
	}
	o := &Outbox{db: db, cfg: cfg.Log, name: cfg.Table, query: queriesFor(cfg.Table)}

	var timeout int
	if err := db.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&timeout); err != nil {
		return nil, o.wrap(err)
	}
	if timeout == 0 {
		return nil, o.wrap(errors.New("the database handle has no busy timeout, so emptying the outbox would make the application's transactions fail: set one, such as _pragma=busy_timeout(5000) or _busy_timeout=5000"))
	}

	for _, query := range []string{o.query.createTable, o.query.createRefused} {
		if _, err := db.ExecContext(ctx, query); err != nil {
			return nil, o.wrap(err)
		}
	}
	return o, nil
}

// Name returns the table's name.
func (o *Outbox) Name() string { return o.name }

// Close does nothing: the database is the application's.
func (o *Outbox) Close() error { return nil }

// AppendTx puts an event into the caller's transaction. An event that breaks a
// rule is refused as by Log.Append, and the transaction can go on.
func (o *Outbox) AppendTx(ctx context.Context, tx *sql.Tx, e attestlog.Event) error {
	prepared, err := o.cfg.Prepare(e)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, o.query.insert, prepared.At.UnixNano(), string(prepared.Event))
	if err != nil {
		return o.wrap(err)
	}
	return nil
}

func (o *Outbox) wrap(err error) error { return fmt.Errorf("sqlite: outbox %s: %w", o.name, err) }

// Move implements attestlog.Outbox. No transaction is open while fn runs.
func (o *Outbox) Move(ctx context.Context, fn func([]attestlog.Prepared) ([]error, error)) (int, error) {
	ids, events, err := o.oldest(ctx)
	if err != nil {
		return 0, o.wrap(err)
	}
	if len(ids) == 0 {
		return 0, nil
	}

	refusals, err := fn(events)
	if err != nil {
		return 0, err
	}
	if err := o.remove(ctx, ids, refusals); err != nil {
		return 0, o.wrap(err)
	}
	return len(ids), nil
}

// oldest returns the events that have waited longest: at most MaxMove, and
// MaxMoveBytes unless it is a single one.
func (o *Outbox) oldest(ctx context.Context) (ids []int64, events []attestlog.Prepared, err error) {
	rows, err := o.db.QueryContext(ctx, o.query.oldest, attestlog.MaxMove)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()

	bytes := 0
	for rows.Next() {
		var id, when int64
		var event []byte
		if err := rows.Scan(&id, &when, &event); err != nil {
			return nil, nil, err
		}
		bytes += len(event)
		if len(ids) > 0 && bytes > attestlog.MaxMoveBytes {
			break
		}
		ids = append(ids, id)
		events = append(events, attestlog.Prepared{Event: event, At: time.Unix(0, when).UTC()})
	}
	return ids, events, rows.Err()
}

// remove deletes events that were moved, and keeps those with a refusal in the
// other table.
func (o *Outbox) remove(ctx context.Context, ids []int64, refusals []error) (err error) {
	tx, err := o.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()

	remove, err := tx.PrepareContext(ctx, o.query.remove)
	if err != nil {
		return err
	}
	defer remove.Close()

	for i, reason := range refusals {
		// A refused event is copied from the row that is deleted next.
		if reason != nil {
			_, err := tx.ExecContext(ctx, o.query.refuse, reason.Error(), ids[i])
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
	err := o.db.QueryRowContext(ctx, o.query.count).Scan(&b.Events, &b.First, &b.Last, &since, &b.Refused)
	if err != nil {
		return attestlog.Backlog{}, o.wrap(err)
	}
	if since.Valid {
		b.Since = time.Unix(0, since.Int64).UTC()
	}
	return b, nil
}

// Outbox returns nil: an outbox in an application's own database is given to the
// log in attestlog.Config.Outboxes.
func (s *Store) Outbox() attestlog.Outbox { return nil }
