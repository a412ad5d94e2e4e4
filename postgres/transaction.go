package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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
// read. Triggers are written as text without quotes where none are needed, and with
// the names of schemas, since that text is compared.
func (s *Store) snapshot(ctx context.Context, fn func(pgx.Tx) error) error {
	const begin = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
		SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL quote_all_identifiers = off;
		SET LOCAL search_path = pg_catalog, pg_temp`
	return s.readError(ctx, pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{BeginQuery: begin}, fn))
}

// verifiedTables are those that a verifier reads.
var verifiedTables = []string{"meta", "tree", "entries", "keys", "disclosures", "tiles", "checkpoints", "segments", "runs"}

// lockedSnapshot is snapshot in which the names of the verified tables, and of the
// given partitions, go on to mean what they mean at its beginning: a query looks
// names up as they are at that moment, and not as its snapshot shows them. The
// locks are those of a SELECT. They are taken before the snapshot, which so shows
// whatever was done to the tables before.
func (s *Store) lockedSnapshot(ctx context.Context, partitions []string, fn func(pgx.Tx) error) error {
	names := slices.Concat(verifiedTables, partitions)
	err := s.snapshot(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "LOCK TABLE "+s.schema+"."+strings.Join(names, ", "+s.schema+".")+" IN ACCESS SHARE MODE",
			pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			return err
		}
		return fn(tx)
	})

	var pg *pgconn.PgError
	isOther := errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "42809") // undefined_table, wrong_object_type
	if isOther {
		return errors.Join(s.otherRelation(ctx, names), err)
	}
	return err
}

// otherRelation returns an error that says which of the log's tables is missing, or
// something else than a table.
func (s *Store) otherRelation(ctx context.Context, names []string) error {
	return s.snapshot(ctx, func(tx pgx.Tx) error {
		c := &schemaCheck{s: s, tx: tx, names: names}
		return c.relations(ctx)
	})
}

// Settings of a transaction by which it reads tables in one of two ways. To the
// planner, what is switched off costs so much where it cannot do without that it would
// compile the query first (jit), which takes longer than the query.
const (
	// bySeeking reads a table through its primary key, row by row, as a look-up does.
	bySeeking = `SET LOCAL jit = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;
		SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_indexscan = on;
		SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_nestloop = on;
		SET LOCAL enable_memoize = off; SET LOCAL max_parallel_workers_per_gather = 0`
	// byScanning reads a whole table, without its indexes.
	byScanning = `SET LOCAL jit = off; SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = off;
		SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_indexscan = off`
)

// set runs settings within a transaction.
func set(ctx context.Context, tx pgx.Tx, settings string) error {
	_, err := tx.Exec(ctx, settings, pgx.QueryExecModeSimpleProtocol)
	return err
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
