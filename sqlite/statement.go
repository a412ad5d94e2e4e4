package sqlite

import (
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// A storeError marks an error of SQLite, to tell it from one of a callback.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// prepare returns the statement of a query, which the connection keeps.
func prepare(conn *sqlite.Conn, query string) (*sqlite.Stmt, error) {
	stmt, err := conn.Prepare(query)
	if err != nil {
		return nil, &storeError{err}
	}
	return stmt, nil
}

// rows calls row for each row of a statement, and resets it.
func rows(stmt *sqlite.Stmt, row func() error) error {
	// Reset repeats the error of Step. It is also called when row panics.
	defer stmt.Reset()

	for {
		more, err := stmt.Step()
		if err != nil {
			return &storeError{err}
		}
		if !more {
			return nil
		}
		if err := row(); err != nil {
			return err
		}
	}
}

// exec runs a statement that returns no rows, and resets it.
func exec(stmt *sqlite.Stmt) error {
	_, err := stmt.Step()
	if resetErr := stmt.Reset(); err == nil {
		err = resetErr
	}
	if err != nil {
		return &storeError{err}
	}
	return nil
}

// change runs a query that returns no rows. Arguments are of type int, int64,
// bool or []byte.
func change(conn *sqlite.Conn, query string, args ...any) error {
	stmt, err := prepare(conn, query)
	if err != nil {
		return err
	}
	for i, arg := range args {
		switch v := arg.(type) {
		case int:
			stmt.BindInt64(i+1, int64(v))
		case int64:
			stmt.BindInt64(i+1, v)
		case bool:
			stmt.BindBool(i+1, v)
		case []byte:
			stmt.BindBytes(i+1, v)
		}
	}
	return exec(stmt)
}

// integer returns the one number that a query returns, or 0.
func integer(conn *sqlite.Conn, query string) (n int64, err error) {
	err = sqlitex.ExecuteTransient(conn, query, &sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		n = stmt.ColumnInt64(0)
		return nil
	}})
	return n, err
}

// text returns the one string that a query returns, or "".
func text(conn *sqlite.Conn, query string) (out string, err error) {
	err = sqlitex.ExecuteTransient(conn, query, &sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		out = stmt.ColumnText(0)
		return nil
	}})
	return out, err
}

func pragmas(conn *sqlite.Conn, all ...string) error {
	for _, p := range all {
		if err := sqlitex.ExecuteTransient(conn, p, nil); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

// columnBytes returns a copy of a column of the current row.
func columnBytes(stmt *sqlite.Stmt, col int) []byte {
	buf := make([]byte, stmt.ColumnLen(col))
	stmt.ColumnBytes(col, buf)
	return buf
}

// readInto is columnBytes with the memory of buf, if it is large enough.
func readInto(stmt *sqlite.Stmt, col int, buf []byte) []byte {
	n := stmt.ColumnLen(col)
	if cap(buf) < n {
		buf = make([]byte, n, 2*n)
	}
	buf = buf[:n]
	stmt.ColumnBytes(col, buf)
	return buf
}
