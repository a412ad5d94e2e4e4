package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
)

// PutToken durably keeps what a server knows about an access token. It replaces
// what is kept under that id.
func (s *Store) PutToken(ctx context.Context, id string, record []byte) error {
	if s.cfg.ReadOnly {
		return fmt.Errorf("postgres: %w: it was opened for reading", attestlog.ErrReadOnly)
	}
	if s.closing.given() {
		return unavailable(attestlog.ErrClosed)
	}
	_, err := s.pool.Exec(ctx, s.sql(`INSERT INTO @.tokens (id, record) VALUES ($1, $2)
		ON CONFLICT (id) DO UPDATE SET record = excluded.record`), id, record)
	return s.readError(ctx, err)
}

// Token returns what was kept about an access token, or attestlog.ErrNotFound.
func (s *Store) Token(ctx context.Context, id string) (record []byte, err error) {
	err = s.pool.QueryRow(ctx, s.sql("SELECT record FROM @.tokens WHERE id = $1"), id).Scan(&record)
	if errors.Is(err, pgx.ErrNoRows) {
		err = attestlog.ErrNotFound
	}
	return record, s.readError(ctx, err)
}

// Tokens calls fn with what was kept about each access token, by id.
func (s *Store) Tokens(ctx context.Context, fn func(id string, record []byte) error) error {
	rows, err := s.pool.Query(ctx, s.sql("SELECT id, record FROM @.tokens ORDER BY id"))
	if err != nil {
		return s.readError(ctx, err)
	}

	var id string
	var record []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &record}, func() error { return fn(id, record) })
	return s.readError(ctx, err)
}
