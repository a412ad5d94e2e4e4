package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// locking runs fn in a transaction whose statements each see what is committed
// when they begin, whatever the session's default is: what is read after a lock
// was taken must be what its last holder left. The server ends the transaction
// if this process hangs, or the others would wait for good, and not sooner,
// whatever the session's default is.
func (s *Store) locking(ctx context.Context, fn func(pgx.Tx) error) error {
	return s.lockingIdle(ctx, s.cfg.Timeout, fn)
}

// lockingIdle is locking for a transaction that may be idle so long.
func (s *Store) lockingIdle(ctx context.Context, idle time.Duration, fn func(pgx.Tx) error) error {
	begin := "BEGIN ISOLATION LEVEL READ COMMITTED; " +
		"SET LOCAL idle_in_transaction_session_timeout = '" + milliseconds(idle) + "'"
	return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{BeginQuery: begin}, fn)
}

// snapshot runs fn in a transaction that sees one state of the log, and holds up
// nobody: the server is not to end it while this process is busy with what it
// read. Triggers are written as text without quotes where none are needed, since
// that text is compared.
func (s *Store) snapshot(ctx context.Context, fn func(pgx.Tx) error) error {
	const begin = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
		SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL quote_all_identifiers = off`
	return s.readError(ctx, pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{BeginQuery: begin}, fn))
}

// work is what one process does at a time. Each has a row in the table locks.
type work int

const (
	workIndex  work = 0 // adding to the search index
	workMerge  work = 1 // merging its segments
	workOutbox work = 2 // emptying the outbox
)

// lockWork locks a work's row until the transaction ends, and waits for it. An
// advisory lock could be taken by anyone who may connect.
func (s *Store) lockWork(ctx context.Context, tx pgx.Tx, w work) error {
	_, err := tx.Exec(ctx, s.sql("SELECT FROM @.locks WHERE work = $1 FOR UPDATE"), int(w))
	return err
}

// tryLockWork is lockWork without waiting: it reports whether the row was free.
func (s *Store) tryLockWork(ctx context.Context, tx pgx.Tx, w work) (bool, error) {
	tag, err := tx.Exec(ctx, s.sql("SELECT FROM @.locks WHERE work = $1 FOR UPDATE SKIP LOCKED"), int(w))
	return tag.RowsAffected() > 0, err
}
