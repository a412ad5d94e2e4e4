package sqlite

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
)

// PutToken durably keeps a server's record of an access token, in the place of
// the one with that id, if any.
func (s *Store) PutToken(ctx context.Context, id string, record []byte) error {
	if s.writer == nil {
		return fmt.Errorf("sqlite: %w: it was opened for reading", attestlog.ErrReadOnly)
	}
	select {
	case <-s.writing:
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
	defer func() { s.writing <- struct{}{} }()
	s.writer.SetInterrupt(ctx.Done())
	defer s.writer.SetInterrupt(nil)
	err := sqlitex.Execute(s.writer, "INSERT INTO tokens (id, record) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record",
		&sqlitex.ExecOptions{Args: []any{id, record}})
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// Token returns the record of an access token, or attestlog.ErrNotFound.
func (s *Store) Token(ctx context.Context, id string) (record []byte, err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT record FROM tokens WHERE id = ?")
		if err != nil {
			return err
		}
		stmt.BindText(1, id)
		return rows(stmt, func() error {
			record = columnBytes(stmt, 0)
			return nil
		})
	})
	if err == nil && record == nil {
		err = attestlog.ErrNotFound
	}
	return record, err
}

// Tokens calls fn with each record, by id.
func (s *Store) Tokens(ctx context.Context, fn func(id string, record []byte) error) error {
	return s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT id, record FROM tokens ORDER BY id")
		if err != nil {
			return err
		}
		return rows(stmt, func() error { return fn(stmt.ColumnText(0), columnBytes(stmt, 1)) })
	})
}
