package bench

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/postgres"
)

// schemas are the logs and tables of one run, in schemas of a database that
// have a prefix of the run.
type schemas struct {
	ctx    context.Context
	dir    string // for the logs' keys
	prefix string
	pool   *pgxpool.Pool
	made   map[string]bool // schemas, without the prefix
}

// tableSchema is the schema of all tables, without the prefix.
const tableSchema = "floor"

func connect(ctx context.Context, dsn, dir string) (*schemas, error) {
	dsn, err := postgres.SplitDSN(dsn, &postgres.Config{})
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return nil, err
	}

	s := &schemas{
		ctx:    ctx,
		dir:    dir,
		prefix: "bench_" + uuid.NewString()[:8] + "_",
		pool:   pool,
		made:   map[string]bool{tableSchema: true},
	}
	_, err = pool.Exec(ctx, "CREATE SCHEMA "+s.prefix+tableSchema)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return s, nil
}

func (s *schemas) open(ctx context.Context, name string) (attestlog.Store, error) {
	s.made[name] = true
	return postgres.OpenPool(ctx, s.pool, postgres.Config{Log: s.prefix + name, Home: filepath.Join(s.dir, name)})
}

func (s *schemas) close() error {
	var errs []error
	for name := range s.made {
		_, err := s.pool.Exec(context.WithoutCancel(s.ctx), "DROP SCHEMA IF EXISTS "+s.prefix+name+" CASCADE")
		errs = append(errs, err)
	}
	s.pool.Close()
	return errors.Join(errs...)
}

// tableName returns the name of a table that is not a log's.
func (s *schemas) tableName(name string) pgx.Identifier {
	return pgx.Identifier{s.prefix + tableSchema, name}
}

func (s *schemas) createTable(ctx context.Context, name string) (table, error) {
	t := postgresTable{s.pool, s.tableName(name)}
	_, err := s.pool.Exec(ctx, "CREATE TABLE "+t.sql()+" (idx bigint NOT NULL, leaf bytea NOT NULL)")
	return t, err
}

func (s *schemas) openTable(_ context.Context, name string) (table, error) {
	return postgresTable{s.pool, s.tableName(name)}, nil
}

type postgresTable struct {
	pool *pgxpool.Pool
	name pgx.Identifier
}

// sql returns the table's name for a statement.
func (t postgresTable) sql() string { return t.name.Sanitize() }

// insert inserts many rows by COPY, and one by INSERT.
func (t postgresTable) insert(ctx context.Context, first, n int, leaf func(int) []byte) error {
	if n == 1 {
		_, err := t.pool.Exec(ctx, "INSERT INTO "+t.sql()+" (idx, leaf) VALUES ($1, $2)", int64(first), leaf(first))
		return err
	}
	rows := pgx.CopyFromSlice(n, func(i int) ([]any, error) {
		return []any{int64(first + i), leaf(first + i)}, nil
	})
	_, err := t.pool.CopyFrom(ctx, t.name, []string{"idx", "leaf"}, rows)
	return err
}

func (t postgresTable) scan(ctx context.Context, fn func(leaf []byte)) error {
	rows, err := t.pool.Query(ctx, "SELECT leaf FROM "+t.sql())
	if err != nil {
		return err
	}
	for rows.Next() {
		fn(rows.RawValues()[0])
	}
	return rows.Err()
}

func (t postgresTable) read(ctx context.Context, numbers []int64) error {
	rows, err := t.pool.Query(ctx, "SELECT leaf FROM "+t.sql()+" WHERE idx = ANY($1)", numbers)
	if err != nil {
		return err
	}
	for rows.Next() {
		// The driver has read the row.
	}
	return rows.Err()
}

func (t postgresTable) bytes(ctx context.Context) (n int64, err error) {
	err = t.pool.QueryRow(ctx, "SELECT pg_total_relation_size($1::regclass)", t.sql()).Scan(&n)
	return n, err
}

func (t postgresTable) index(ctx context.Context) error {
	_, err := t.pool.Exec(ctx, "ALTER TABLE "+t.sql()+" ADD PRIMARY KEY (idx)")
	return err
}

func (t postgresTable) close() error { return nil }
