package sqlite

import (
	"context"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
)

// PutToken durably stores a server's record of an access token, in place of the
// one with that id, if there is one. Errors match attestlog.ErrReadOnly or
// attestlog.ErrUnavailable.
func (s *Store) PutToken(ctx context.Context, id string, record []byte) error {
	const query = `INSERT INTO tokens (id, record) VALUES (?, ?)
		ON CONFLICT (id) DO UPDATE SET record = excluded.record`

	if s.writer == nil {
		return errReadOnly()
	}
	return s.writer.use(ctx, func(conn *sqlite.Conn) error {
		err := sqlitex.Execute(conn, query, &sqlitex.ExecOptions{Args: []any{id, record}})
		if err != nil {
			return unavailable(err)
		}
		return nil
	})
}

// Token returns the record of an access token, or attestlog.ErrNotFound.
func (s *Store) Token(ctx context.Context, id string) (record []byte, err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := prepare(conn, "SELECT record FROM tokens WHERE id = ?")
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

// Tokens calls fn with each record, by id, until fn returns an error, which
// Tokens returns.
func (s *Store) Tokens(ctx context.Context, fn func(id string, record []byte) error) error {
	return s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := prepare(conn, "SELECT id, record FROM tokens ORDER BY id")
		if err != nil {
			return err
		}
		return rows(stmt, func() error { return fn(stmt.ColumnText(0), columnBytes(stmt, 1)) })
	})
}
