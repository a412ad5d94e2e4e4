package postgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// schemaVersion is the newest schema that this program knows, and firstVersion
// the oldest. The file schema/NNNN.sql brings a log from the version before to
// NNNN, the first of them from nothing.
const (
	firstVersion  = 2
	schemaVersion = 2
)

//go:embed schema/*.sql
var schemas embed.FS

// ErrForeign is returned for a schema that holds something else than a log.
var ErrForeign = errors.New("not an attestlog schema")

// ErrNewer is returned for a log of a newer schema than this program knows.
var ErrNewer = errors.New("log was written by a newer version")

// ErrOlder is returned for a log of a schema from before the first release, which
// no program reads any more.
var ErrOlder = errors.New("log was written by a version from before the first release; export it with that version, and import it")

// ErrNoLog is returned by Open for a log that is not there, with MustExist.
var ErrNoLog = errors.New("there is no such log")

// Migrations returns the SQL that brings a log from a schema version, 0 for
// none, to the newest, for those who run it themselves. log is the schema's
// name.
func Migrations(log string, from int) (string, error) {
	if err := checkName(log); err != nil {
		return "", err
	}
	if err := known(from); err != nil {
		return "", err
	}
	var out strings.Builder
	quoted := pgx.Identifier{log}.Sanitize()
	for v := max(from+1, firstVersion); v <= schemaVersion; v++ {
		text, err := schemas.ReadFile(fmt.Sprintf("schema/%04d.sql", v))
		if err != nil {
			return "", err
		}
		if v == firstVersion {
			fmt.Fprintf(&out, "CREATE SCHEMA IF NOT EXISTS %s;\n", quoted)
		}
		out.WriteString(strings.ReplaceAll(string(text), "@", quoted))
		if v == firstVersion {
			key := make([]byte, 16)
			rand.Read(key) // never fails: crypto/rand
			fmt.Fprintf(&out, "\n-- Keys the hashes that stand for terms in the search index.\nINSERT INTO %s.meta (name, value) VALUES ('index_key', E'\\\\x%x');\n", quoted, key)
			fmt.Fprintf(&out, "SELECT %s.make_partition(0);\n", quoted)
		}
		fmt.Fprintf(&out, "COMMENT ON TABLE %s.meta IS 'attestlog schema %d';\n", quoted, v)
	}
	return out.String(), nil
}

// known refuses the schemas that this program cannot bring to the newest.
func known(version int) error {
	switch {
	case version > 0 && version < firstVersion:
		return fmt.Errorf("%w: schema %d", ErrOlder, version)
	case version > schemaVersion:
		return fmt.Errorf("%w: schema %d, this program knows %d; use a newer attestlog", ErrNewer, version, schemaVersion)
	}
	return nil
}

// version returns the schema version of a log, 0 where there is none, and
// ErrForeign where the schema holds something else.
func (s *Store) version(ctx context.Context, db queryer) (int, error) {
	var exists, empty bool
	var comment *string
	err := db.QueryRow(ctx, `SELECT n.oid IS NOT NULL,
		NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.relnamespace = n.oid),
		obj_description(to_regclass($1 || '.meta'), 'pg_class')
		FROM (SELECT 1) one LEFT JOIN pg_namespace n ON n.nspname = $2`, s.schema, s.cfg.Log).Scan(&exists, &empty, &comment)
	if err != nil || !exists || empty {
		return 0, err
	}
	var v int
	if comment != nil {
		if _, err := fmt.Sscanf(*comment, "attestlog schema %d", &v); err == nil && v > 0 {
			return v, nil
		}
	}
	return 0, fmt.Errorf("schema %s: %w", s.cfg.Log, ErrForeign)
}

// locking runs fn in a transaction whose statements each see what is committed,
// whatever the sessions' default: what is read behind a lock must be what its
// last holder left. The server ends it if this process hangs, or the others would
// wait for good; not sooner, whatever the sessions' default.
func (s *Store) locking(ctx context.Context, fn func(pgx.Tx) error) error {
	return s.lockingFor(ctx, s.cfg.Timeout, fn)
}

// lockingFor is locking of a transaction that may be idle for as long.
func (s *Store) lockingFor(ctx context.Context, idle time.Duration, fn func(pgx.Tx) error) error {
	begin := "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '" + milliseconds(idle) + "'"
	return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{BeginQuery: begin}, fn)
}

// The works that one process does at a time: each has a row in the table locks.
const (
	workIndex  = 0 // adding to the search index
	workMerge  = 1 // merging its segments
	workOutbox = 2 // emptying the outbox
)

// lockWork locks a work's row until the transaction ends, and reports whether it
// was free. Advisory locks would be anybody's who may connect.
func (s *Store) lockWork(ctx context.Context, tx pgx.Tx, work int, wait bool) (bool, error) {
	text := "SELECT count(*) FROM (SELECT 1 FROM @.locks WHERE work = $1 FOR UPDATE SKIP LOCKED) free"
	if wait {
		text = "SELECT count(*) FROM (SELECT 1 FROM @.locks WHERE work = $1 FOR UPDATE) free"
	}
	var free int
	err := tx.QueryRow(ctx, s.sql(text), work).Scan(&free)
	return free > 0, err
}

// migrate brings the log to the newest schema, under an advisory lock.
func (s *Store) migrate(ctx context.Context) error {
	v, err := s.version(ctx, s.pool)
	if err != nil {
		return err
	}
	if err := known(v); err != nil {
		return err
	}
	switch {
	case v == schemaVersion:
		return nil
	case s.cfg.MustExist || s.cfg.ReadOnly: // there is none
		return fmt.Errorf("schema %s: %w", s.cfg.Log, ErrNoLog)
	}
	err = s.locking(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "attestlog "+s.cfg.Log); err != nil {
			return err
		}
		v, err := s.version(ctx, tx)
		if err != nil || v == schemaVersion {
			return err
		}
		sql, err := Migrations(s.cfg.Log, v)
		if err != nil {
			return err
		}
		if v == 0 { // an empty schema that a DBA made is used as it is
			var made bool
			if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)", s.cfg.Log).Scan(&made); err != nil {
				return err
			}
			if made {
				sql = strings.TrimPrefix(sql, "CREATE SCHEMA IF NOT EXISTS "+s.schema+";\n")
			}
		}
		_, err = tx.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		return err
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42501" {
		err = fmt.Errorf("%w; let a role that may create schemas run `attestlog migrate`, or run its --dry-run output", err)
	}
	return err
}

// DryRun returns the SQL that Open would run to bring the log that dsn names to
// the newest schema; nothing is changed.
func DryRun(ctx context.Context, dsn string) (string, error) {
	var cfg Config
	dsn, err := ownParameters(dsn, &cfg)
	if err != nil {
		return "", fmt.Errorf("postgres: %w", err)
	}
	cfg.Log = cmp.Or(cfg.Log, DefaultLog)
	if err := checkName(cfg.Log); err != nil {
		return "", fmt.Errorf("postgres: %w", err)
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", fmt.Errorf("postgres: %w", err)
	}
	defer conn.Close(ctx)
	s := &Store{cfg: cfg, schema: pgx.Identifier{cfg.Log}.Sanitize()}
	v, err := s.version(ctx, conn)
	if err != nil {
		return "", fmt.Errorf("postgres: %w", err)
	}
	sql, err := Migrations(cfg.Log, v)
	if err != nil || sql == "" {
		return sql, err
	}
	return "BEGIN;\n" + sql + "COMMIT;\n", nil
}
