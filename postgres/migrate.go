package postgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"strings"

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

// schemaText returns the SQL that brings a log to a schema version, with @ in
// place of the schema's name.
func schemaText(version int) (string, error) {
	text, err := schemas.ReadFile(fmt.Sprintf("schema/%04d.sql", version))
	return string(text), err
}

// ErrForeign is returned for a schema that holds something else than a log.
var ErrForeign = errors.New("not an attestlog schema")

// ErrNewer is returned for a log of a newer schema than this program knows.
var ErrNewer = errors.New("log was written by a newer version")

// ErrOlder is returned for a log of a schema from before the first release, which
// no program reads any more.
var ErrOlder = errors.New("log was written by a version from before the first release; " +
	"export it with that version, and import it")

// ErrNoLog is returned by Open, with Config.MustExist or ReadOnly, for a log
// that is not there.
var ErrNoLog = errors.New("there is no such log")

// Migrations returns the SQL that brings a log from a schema version, 0 for
// none, to the newest, for those who run it themselves. log is the schema's
// name. Errors match ErrOlder or ErrNewer, or are about the name.
func Migrations(log string, from int) (string, error) {
	err := checkName(log)
	if err != nil {
		return "", err
	}
	err = checkVersion(from)
	if err != nil {
		return "", err
	}

	var out strings.Builder
	quoted := pgx.Identifier{log}.Sanitize()
	for v := max(from+1, firstVersion); v <= schemaVersion; v++ {
		text, err := schemaText(v)
		if err != nil {
			return "", err
		}
		if v == firstVersion {
			out.WriteString(createSchema(quoted))
		}
		out.WriteString(strings.ReplaceAll(text, "@", quoted))
		if v == firstVersion {
			key := make([]byte, 16)
			rand.Read(key) // never fails: crypto/rand
			fmt.Fprint(&out, "\n-- Keys the hashes that stand for terms in the search index.\n")
			fmt.Fprintf(&out, "INSERT INTO %s.meta (name, value) VALUES ('index_key', E'\\\\x%x');\n", quoted, key)
			fmt.Fprintf(&out, "SELECT %s.make_partition(0);\n", quoted)
		}
		fmt.Fprintf(&out, "COMMENT ON TABLE %s.meta IS 'attestlog schema %d';\n", quoted, v)
	}
	return out.String(), nil
}

func createSchema(quoted string) string {
	return "CREATE SCHEMA IF NOT EXISTS " + quoted + ";\n"
}

// checkVersion refuses the schemas that this program cannot bring to the newest.
func checkVersion(version int) error {
	switch {
	case version > 0 && version < firstVersion:
		return fmt.Errorf("%w: schema %d", ErrOlder, version)
	case version > schemaVersion:
		return fmt.Errorf("%w: schema %d, this program knows %d; use a newer attestlog", ErrNewer, version, schemaVersion)
	}
	return nil
}

// version returns the schema version of a log, 0 if there is none, and
// ErrForeign if the schema holds something else. The version is in a comment on
// the table meta.
func (s *Store) version(ctx context.Context, db queryer) (int, error) {
	var exists, empty bool
	var comment *string
	err := db.QueryRow(ctx, `SELECT n.oid IS NOT NULL,
		NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.relnamespace = n.oid),
		obj_description(to_regclass($1 || '.meta'), 'pg_class')
		FROM (SELECT 1) one LEFT JOIN pg_namespace n ON n.nspname = $2`, s.schema, s.cfg.Log).
		Scan(&exists, &empty, &comment)
	if err != nil || !exists || empty {
		return 0, err
	}

	if comment != nil {
		var v int
		_, err := fmt.Sscanf(*comment, "attestlog schema %d", &v)
		if err == nil && v > 0 {
			return v, nil
		}
	}
	return 0, fmt.Errorf("schema %s: %w", s.cfg.Log, ErrForeign)
}

// migrate brings the log to the newest schema.
func (s *Store) migrate(ctx context.Context) error {
	v, err := s.version(ctx, s.pool)
	if err != nil {
		return err
	}
	err = checkVersion(v)
	if err != nil {
		return err
	}
	if v == schemaVersion {
		return nil
	}
	if s.cfg.MustExist || s.cfg.ReadOnly { // v is 0: there is no log
		return fmt.Errorf("schema %s: %w", s.cfg.Log, ErrNoLog)
	}

	err = s.locking(ctx, func(tx pgx.Tx) error { return s.migrateTx(ctx, tx) })
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42501" { // insufficient_privilege
		cc := s.pool.Config().ConnConfig
		err = fmt.Errorf("%w; GRANT CREATE ON DATABASE %s TO %s lets it make the log's schema, "+
			"or let a role that may do so run `attestlog migrate`, or run its --dry-run output", err,
			pgx.Identifier{cc.Database}.Sanitize(), pgx.Identifier{cc.User}.Sanitize())
	}
	return err
}

// migrateTx is migrate within a transaction, under an advisory lock: the table
// locks may not be there yet.
func (s *Store) migrateTx(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "attestlog "+s.cfg.Log)
	if err != nil {
		return err
	}

	// Another process may have been quicker.
	v, err := s.version(ctx, tx)
	if err != nil || v == schemaVersion {
		return err
	}
	sql, err := Migrations(s.cfg.Log, v)
	if err != nil {
		return err
	}

	// An empty schema that an administrator made is used as it is, without the
	// right to create one.
	if v == 0 {
		var made bool
		err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)", s.cfg.Log).Scan(&made)
		if err != nil {
			return err
		}
		if made {
			sql = strings.TrimPrefix(sql, createSchema(s.schema))
		}
	}
	_, err = tx.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	return err
}

// DryRun returns the SQL that Open would run to bring the log that dsn names to
// the newest schema, or "" if it would run none. Nothing is changed.
func DryRun(ctx context.Context, dsn string) (string, error) {
	sql, err := dryRun(ctx, dsn)
	if err != nil {
		return "", fmt.Errorf("postgres: %w", err)
	}
	return sql, nil
}

func dryRun(ctx context.Context, dsn string) (string, error) {
	var cfg Config
	dsn, err := ownParameters(dsn, &cfg)
	if err != nil {
		return "", err
	}
	cfg.Log = cmp.Or(cfg.Log, DefaultLog)
	err = checkName(cfg.Log)
	if err != nil {
		return "", err
	}

	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)

	// version needs no more of a Store than the log's name.
	s := &Store{cfg: cfg, schema: pgx.Identifier{cfg.Log}.Sanitize()}
	v, err := s.version(ctx, conn)
	if err != nil {
		return "", err
	}

	sql, err := Migrations(cfg.Log, v)
	if err != nil || sql == "" {
		return "", err
	}
	return "BEGIN;\n" + sql + "COMMIT;\n", nil
}
