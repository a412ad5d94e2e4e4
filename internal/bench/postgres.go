package bench

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/postgres"
)

// schemas are logs in schemas of a database, which begin with a prefix.
type schemas struct {
	ctx    context.Context
	dir    string
	prefix string
	pool   *pgxpool.Pool
	made   map[string]bool
}

func connect(ctx context.Context, dsn, dir string) (*schemas, error) {
	dsn, err := postgres.ServerDSN(dsn)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return nil, err
	}
	s := &schemas{ctx, dir, "bench_" + strings.ReplaceAll(uuid.NewString()[:8], "-", "") + "_", pool, map[string]bool{}}
	s.made["floor"] = true
	_, err = pool.Exec(ctx, "CREATE SCHEMA "+s.prefix+"floor")
	if err != nil {
		pool.Close()
	}
	return s, err
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

func (s *schemas) table(name string) pgx.Identifier { return pgx.Identifier{s.prefix + "floor", name} }

func (s *schemas) bulk(ctx context.Context, name string, leaves [][]byte, n, batch int) (floor, error) {
	var out floor
	table := s.table(name)
	if _, err := s.pool.Exec(ctx, "CREATE TABLE "+table.Sanitize()+" (idx bigint NOT NULL, leaf bytea NOT NULL)"); err != nil {
		return out, err
	}
	began := time.Now()
	for from := 0; from < n; from += batch {
		_, err := s.pool.CopyFrom(ctx, table, []string{"idx", "leaf"}, pgx.CopyFromSlice(min(n-from, batch), func(i int) ([]any, error) {
			return []any{int64(from + i), leaves[(from+i)%len(leaves)]}, nil
		}))
		if err != nil {
			return out, err
		}
	}
	out.rate = float64(n) / time.Since(began).Seconds()
	began = time.Now()
	content := 0
	rows, err := s.pool.Query(ctx, "SELECT leaf FROM "+table.Sanitize())
	if err != nil {
		return out, err
	}
	for rows.Next() {
		leaf := rows.RawValues()[0]
		content += len(leaf)
		sha256.Sum256(leaf)
	}
	if err := rows.Err(); err != nil {
		return out, err
	}
	out.scan = float64(n) / time.Since(began).Seconds()
	var size int64
	err = s.pool.QueryRow(ctx, "SELECT pg_total_relation_size($1::regclass)", table.Sanitize()).Scan(&size)
	out.bytes = float64(size-int64(content)) / float64(n)
	if err == nil {
		_, err = s.pool.Exec(ctx, fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (idx)", table.Sanitize()))
	}
	return out, err
}

func (s *schemas) single(ctx context.Context, leaves [][]byte) (float64, error) {
	table := s.table("single").Sanitize()
	if _, err := s.pool.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+table+" (idx bigserial PRIMARY KEY, leaf bytea NOT NULL)"); err != nil {
		return 0, err
	}
	times := make([]float64, 0, len(leaves))
	for _, leaf := range leaves {
		began := time.Now()
		if _, err := s.pool.Exec(ctx, "INSERT INTO "+table+" (leaf) VALUES ($1)", leaf); err != nil {
			return 0, err
		}
		times = append(times, milliseconds(began))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

func (s *schemas) page(ctx context.Context, name string, n int) (float64, error) {
	var times []float64
	for round := range 21 {
		ids := make([]int64, 50)
		for i := range ids {
			ids[i] = int64(spread(round*50+i) % uint64(n))
		}
		began := time.Now()
		rows, err := s.pool.Query(ctx, "SELECT leaf FROM "+s.table(name).Sanitize()+" WHERE idx = ANY($1)", ids)
		if err != nil {
			return 0, err
		}
		for rows.Next() {
		}
		if err := rows.Err(); err != nil {
			return 0, err
		}
		times = append(times, milliseconds(began))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
