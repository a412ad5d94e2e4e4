package auditlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
	"path/filepath"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// ErrNoTable is returned for a file that is not a database with such a table.
var ErrNoTable = errors.New("has no audit table of id, ts, username, method, path, module and status")

// A Table is an open audit table. It is not safe for concurrent use.
type Table struct {
	conn *sqlite.Conn
	copy string // the folder of the copy of the database that is open, or ""
	Rows int64  // when it was opened
	// Source is the name that the rows' ids are derived with. Defaults to
	// convert.SourceName of the file.
	Source string
}

// Open opens a database for reading and looks for the table. Nothing in the file
// is changed: if a program that crashed left a transaction that must be rolled
// back, this is done in a copy. Errors match ErrNoTable if there is no such
// table, and os.ErrNotExist if there is no such file.
func Open(path string) (*Table, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}

	t := &Table{Source: convert.SourceName(path)}
	err := t.open(path)
	if err == nil {
		err = t.find()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), t.Close())
	}
	return t, nil
}

func (t *Table) open(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}

	// A write-ahead log can be read as it is. A rollback journal has to be applied
	// before anything is read, and that writes.
	flags := sqlite.OpenReadOnly | sqlite.OpenURI
	mode := "mode=ro"
	switch {
	case isThere(path + "-journal"):
		path, err = t.copyToRollBack(path)
		if err != nil {
			return err
		}
		flags = sqlite.OpenReadWrite | sqlite.OpenURI
		mode = "mode=rw"
	case !isThere(path + "-wal"):
		mode = "immutable=1&mode=ro" // SQLite then makes no files next to it
	}

	uri := url.URL{Scheme: "file", Path: path, RawQuery: mode}
	t.conn, err = sqlite.OpenConn(uri.String(), flags)
	return err
}

// isThere reports whether a file is there and not empty.
func isThere(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0
}

// copyToRollBack copies a database with its rollback journal, which SQLite applies
// when it opens the copy. It returns the copy's path.
func (t *Table) copyToRollBack(path string) (string, error) {
	var err error
	t.copy, err = os.MkdirTemp("", "attestlog-import-")
	if err != nil {
		return "", err
	}

	to := filepath.Join(t.copy, filepath.Base(path))
	for _, suffix := range []string{"", "-journal"} {
		if err := copyFile(to+suffix, path+suffix); err != nil {
			return "", err
		}
	}
	return to, nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()

	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// find checks the table's columns, and counts its rows.
func (t *Table) find() error {
	columns, err := t.count(`
		SELECT count(*)
		FROM pragma_table_info('audit')
		WHERE name IN ('id', 'ts', 'username', 'method', 'path', 'module', 'status')
	`)
	if sqlite.ErrCode(err).ToPrimary() == sqlite.ResultNotADB {
		return ErrNoTable
	}
	if err != nil {
		return err
	}
	if columns != 7 {
		return ErrNoTable
	}

	t.Rows, err = t.count("SELECT count(*) FROM audit")
	return err
}

func (t *Table) count(query string) (int64, error) {
	stmt, _, err := t.conn.PrepareTransient(query)
	if err != nil {
		return 0, err
	}
	defer stmt.Finalize()

	_, err = stmt.Step()
	return stmt.ColumnInt64(0), err
}

// Events returns the rows as events, by id, in constant memory except for the few
// bytes for each row that convert.IDs keeps. An error ends the sequence.
func (t *Table) Events(ctx context.Context) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		t.conn.SetInterrupt(ctx.Done())
		defer t.conn.SetInterrupt(nil)

		stmt, _, err := t.conn.PrepareTransient(
			"SELECT id, ts, username, method, path, module, status FROM audit ORDER BY id",
		)
		if err != nil {
			yield(attestlog.Event{}, err)
			return
		}
		defer stmt.Finalize()

		ids := convert.NewIDs(Format, t.Source)
		for {
			more, err := stmt.Step()
			if err != nil {
				yield(attestlog.Event{}, fmt.Errorf("audit table: %w", err))
				return
			}
			if !more {
				return
			}

			row := Row{
				ID:       stmt.ColumnInt64(0),
				TS:       value(stmt, 1),
				Username: value(stmt, 2),
				Method:   value(stmt, 3),
				Path:     value(stmt, 4),
				Module:   value(stmt, 5),
				Status:   value(stmt, 6),
			}
			if !yield(row.Event(ids), nil) {
				return
			}
		}
	}
}

// value returns a column's value, as a Row has it.
func value(stmt *sqlite.Stmt, column int) any {
	switch stmt.ColumnType(column) {
	case sqlite.TypeInteger:
		return stmt.ColumnInt64(column)
	case sqlite.TypeFloat:
		return stmt.ColumnFloat(column)
	case sqlite.TypeText:
		return stmt.ColumnText(column)
	case sqlite.TypeBlob:
		b := make([]byte, stmt.ColumnLen(column))
		stmt.ColumnBytes(column, b)
		return b
	}
	return nil
}

// Close closes the database, and removes the copy if there is one.
func (t *Table) Close() (err error) {
	if t.conn != nil {
		err = t.conn.Close()
	}
	if t.copy != "" {
		err = errors.Join(err, os.RemoveAll(t.copy))
	}
	return err
}
