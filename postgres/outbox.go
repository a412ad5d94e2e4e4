package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
)

// An Outbox appends events within the transactions of an application: an entry
// is in the log exactly if its transaction was committed. The events wait in a
// table next to the log's, into which any number of transactions insert without
// waiting for each other. Any process that has the log open for writing moves
// them into it, each once. If one transaction's commit returned before another
// began, its entries come first. An Outbox is safe for concurrent use.
//
// An event without a time gets the server's, at which it was inserted.
//
// An event that the log never takes, because its id is there with other
// content, is set aside in the table refused, logged and counted. Programs in
// other languages can insert into the table themselves: an event as JSON, with
// an id.
type Outbox struct {
	insert string // SQL
	cfg    attestlog.Config
}

// NewOutbox returns the outbox of a log in the database that the transactions
// belong to. log is the log's name, by default "attestlog". cfg's Sealed must
// be that of the log; nothing else of cfg matters. The role that inserts needs
// no more than the rights of Roles.Caller.
func NewOutbox(log string, cfg attestlog.Config) (*Outbox, error) {
	if log == "" {
		log = DefaultLog
	}
	err := checkName(log)
	if err != nil {
		return nil, fmt.Errorf("postgres: outbox: %w", err)
	}

	table := pgx.Identifier{log, "outbox"}.Sanitize()
	return &Outbox{"INSERT INTO " + table + " (event) VALUES ($1)", cfg}, nil
}

// AppendTx puts an event into the caller's transaction. An event that breaks a
// rule is refused as by Log.Append, and the transaction can go on. After any
// other error the server rolls it back.
func (o *Outbox) AppendTx(ctx context.Context, tx pgx.Tx, e attestlog.Event) error {
	p, err := o.cfg.Prepare(e)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, o.insert, string(p.Event))
	if err != nil {
		return fmt.Errorf("postgres: outbox: %w", err)
	}
	return nil
}

// AppendSQL is AppendTx in a transaction of database/sql, with any driver that
// has the placeholder $1.
func (o *Outbox) AppendSQL(ctx context.Context, tx *sql.Tx, e attestlog.Event) error {
	p, err := o.cfg.Prepare(e)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, o.insert, string(p.Event))
	if err != nil {
		return fmt.Errorf("postgres: outbox: %w", err)
	}
	return nil
}

// Outbox returns the side of the log's outbox from which a Log moves the
// events.
func (s *Store) Outbox() attestlog.Outbox { return logOutbox{s} }

// A logOutbox is an attestlog.Outbox: the table outbox of the log's schema.
type logOutbox struct{ s *Store }

// Name tells the outbox from others in statistics and messages.
func (o logOutbox) Name() string { return o.s.cfg.Log + ".outbox" }

// Close does nothing: the outbox is closed with its store.
func (o logOutbox) Close() error { return nil }

// Move looks for events, and if there are any moves them under a lock: two
// processes that moved at once would get the order right, and do the work
// twice. The events that it deletes are in the log already, so the commit of
// their deletion may be lost.
func (o logOutbox) Move(ctx context.Context, fn func([]attestlog.Prepared) ([]error, error)) (n int, err error) {
	var waiting bool
	err = o.s.pool.QueryRow(ctx, o.s.sql("SELECT EXISTS (SELECT 1 FROM @.outbox)")).Scan(&waiting)
	if err != nil || !waiting {
		return 0, o.s.readError(ctx, err)
	}

	// The transaction is idle while fn appends. That takes Config.Retry at most,
	// then one more try and the look for sessions that hung.
	idle := 2*o.s.stepLimit() + max(o.s.cfg.Retry, 0)
	err = o.s.lockingIdle(ctx, idle, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = off")
		if err != nil {
			return err
		}
		alone, err := o.s.tryLockWork(ctx, tx, workOutbox)
		if err != nil {
			return err
		}
		if !alone {
			return attestlog.ErrOutboxHeld
		}

		ids, events, err := o.oldest(ctx, tx)
		if err != nil || len(ids) == 0 {
			return err
		}
		verdicts, err := fn(events)
		if err != nil {
			return err
		}
		n = len(ids)
		return o.remove(ctx, tx, ids, verdicts)
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// oldest returns the events that come next, in their order.
func (o logOutbox) oldest(ctx context.Context, tx pgx.Tx) (ids []int64, events []attestlog.Prepared, err error) {
	rows, err := tx.Query(ctx, o.s.sql(`SELECT id, at, event FROM (
			SELECT id, at, event, sum(octet_length(event)) OVER (ORDER BY id) AS bytes, row_number() OVER (ORDER BY id) AS place
			FROM (SELECT id, at, event FROM @.outbox ORDER BY id LIMIT $1) oldest
		) sums WHERE bytes <= $2 OR place = 1 ORDER BY id`), attestlog.MaxMove, attestlog.MaxMoveBytes)
	if err != nil {
		return nil, nil, err
	}

	var id, inserted int64
	var event []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &inserted, &event}, func() error {
		ids = append(ids, id)
		events = append(events, attestlog.Prepared{Event: event, At: time.Unix(0, inserted).UTC()})
		return nil
	})
	return ids, events, err
}

// remove deletes events, and sets those aside whose verdict is an error.
func (o logOutbox) remove(ctx context.Context, tx pgx.Tx, ids []int64, verdicts []error) error {
	var b pgx.Batch
	for i, reason := range verdicts {
		if reason != nil {
			b.Queue(o.s.sql(`INSERT INTO @.refused (id, at, event, reason)
				SELECT id, at, event, $2 FROM @.outbox WHERE id = $1`), ids[i], reason.Error())
		}
	}
	b.Queue(o.s.sql("DELETE FROM @.outbox WHERE id = ANY($1)"), ids)
	return tx.SendBatch(ctx, &b).Close()
}

// Backlog returns what waits in the outbox, and how many events were refused.
func (o logOutbox) Backlog(ctx context.Context) (attestlog.Backlog, error) {
	var b attestlog.Backlog
	var since *int64 // nil: nothing waits
	err := o.s.pool.QueryRow(ctx, o.s.sql(`SELECT count(*), coalesce(min(id), 0), coalesce(max(id), 0),
		(SELECT at FROM @.outbox ORDER BY id LIMIT 1), (SELECT count(*) FROM @.refused) FROM @.outbox`)).
		Scan(&b.Events, &b.First, &b.Last, &since, &b.Refused)
	if since != nil {
		b.Since = time.Unix(0, *since).UTC()
	}
	return b, o.s.readError(ctx, err)
}
