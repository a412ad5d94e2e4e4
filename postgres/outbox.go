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
// table beside the log's, into which any number of transactions insert without
// waiting for each other, and whatever process has the log open for writing
// moves them, each once. If one transaction's commit returned before another
// began, its entries come first. An Outbox is safe for concurrent use.
//
// The time of an event without one is the server's, at which it was put there.
//
// What the log never takes, because the id is there with other content, is set
// aside in the table refused, logged and counted. Programs in other languages
// can insert into the table themselves: an event as JSON, with an id.
type Outbox struct {
	insert string
	cfg    attestlog.Config
}

// NewOutbox returns the outbox of a log in the database that the transactions
// belong to. log is the log's name, by default "attestlog"; its Sealed are those
// of cfg, of which nothing else matters. Whoever inserts needs no more than the
// rights of Roles.Caller.
func NewOutbox(log string, cfg attestlog.Config) (*Outbox, error) {
	if log == "" {
		log = DefaultLog
	}
	if err := checkName(log); err != nil {
		return nil, fmt.Errorf("postgres: outbox: %w", err)
	}
	return &Outbox{"INSERT INTO " + pgx.Identifier{log, "outbox"}.Sanitize() + " (event) VALUES ($1)", cfg}, nil
}

// AppendTx puts an event into the caller's transaction. An event that breaks a
// rule is refused as by Log.Append, and the transaction can go on; after any
// other error it is rolled back by the server.
func (o *Outbox) AppendTx(ctx context.Context, tx pgx.Tx, e attestlog.Event) error {
	p, err := o.cfg.Prepare(e)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, o.insert, string(p.Event)); err != nil {
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
	if _, err := tx.ExecContext(ctx, o.insert, string(p.Event)); err != nil {
		return fmt.Errorf("postgres: outbox: %w", err)
	}
	return nil
}

// Outbox returns the mover's side of the log's outbox.
func (s *Store) Outbox() attestlog.Outbox { return outbox{s} }

type outbox struct{ s *Store }

func (o outbox) Name() string { return o.s.cfg.Log + ".outbox" }
func (o outbox) Close() error { return nil }

// Move looks for events, and if there are any moves them under a lock: two that
// moved at once would get the order right, and do the work twice. What it deletes
// is in the log already, so that commit may be lost.
func (o outbox) Move(ctx context.Context, fn func([]attestlog.Prepared) ([]error, error)) (n int, err error) {
	var waiting bool
	err = o.s.pool.QueryRow(ctx, o.s.sql("SELECT EXISTS (SELECT 1 FROM @.outbox)")).Scan(&waiting)
	if err != nil || !waiting {
		return 0, o.s.clarify(ctx, err)
	}
	// The transaction is idle while fn appends, which takes that limit or fails.
	err = o.s.lockingFor(ctx, 2*o.s.limit()+max(o.s.cfg.Retry, 0), func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = off"); err != nil {
			return err
		}
		alone, err := o.s.lockWork(ctx, tx, workOutbox, false)
		if err != nil || !alone {
			return errOr(err, attestlog.ErrOutboxHeld)
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

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func (o outbox) oldest(ctx context.Context, tx pgx.Tx) (ids []int64, events []attestlog.Prepared, err error) {
	rows, err := tx.Query(ctx, o.s.sql(`SELECT id, at, event FROM (
			SELECT id, at, event, sum(octet_length(event)) OVER (ORDER BY id) AS bytes, row_number() OVER (ORDER BY id) AS place
			FROM (SELECT id, at, event FROM @.outbox ORDER BY id LIMIT $1) oldest
		) sums WHERE bytes <= $2 OR place = 1 ORDER BY id`), attestlog.MaxMove, attestlog.MaxMoveBytes)
	if err != nil {
		return nil, nil, err
	}
	var id, at int64
	var event []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &at, &event}, func() error {
		ids = append(ids, id)
		events = append(events, attestlog.Prepared{Event: event, At: time.Unix(0, at).UTC()})
		return nil
	})
	return ids, events, err
}

func (o outbox) remove(ctx context.Context, tx pgx.Tx, ids []int64, verdicts []error) error {
	var b pgx.Batch
	for i, reason := range verdicts {
		if reason != nil {
			b.Queue(o.s.sql("INSERT INTO @.refused (id, at, event, reason) SELECT id, at, event, $2 FROM @.outbox WHERE id = $1"), ids[i], reason.Error())
		}
	}
	b.Queue(o.s.sql("DELETE FROM @.outbox WHERE id = ANY($1)"), ids)
	return tx.SendBatch(ctx, &b).Close()
}

// Backlog implements attestlog.Outbox.
func (o outbox) Backlog(ctx context.Context) (attestlog.Backlog, error) {
	var b attestlog.Backlog
	var since *int64
	err := o.s.pool.QueryRow(ctx, o.s.sql(`SELECT count(*), coalesce(min(id), 0), coalesce(max(id), 0),
		(SELECT at FROM @.outbox ORDER BY id LIMIT 1), (SELECT count(*) FROM @.refused) FROM @.outbox`)).Scan(&b.Events, &b.First, &b.Last, &since, &b.Refused)
	if since != nil {
		b.Since = time.Unix(0, *since).UTC()
	}
	return b, o.s.clarify(ctx, err)
}
