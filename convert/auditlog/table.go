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

// A Table is an open audit table.
type Table struct {
	conn *sqlite.Conn
	copy string // folder of the copy that conn is to, or ""
	Rows int64  // when it was opened
	// Source is the name that the rows' ids are derived with. Defaults to the
	// file's, as convert.SourceName has it.
	Source string
}

// Open opens a database for reading and looks for the table. Nothing in the file
// is changed: where a program that crashed left a transaction to be rolled back,
// that is done in a copy. Errors match ErrNoTable where there is no such table.
func Open(path string) (*Table, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	t := &Table{Source: convert.SourceName(path)}
	if err := t.open(path); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), t.Close())
	}
	return t, nil
}

func (t *Table) open(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: "mode=ro"}
	flags := sqlite.OpenReadOnly | sqlite.OpenURI
	switch {
	case isThere(path + "-journal"):
		if u.Path, err = t.rolledBack(path); err != nil {
			return err
		}
		u.RawQuery, flags = "mode=rw", sqlite.OpenReadWrite|sqlite.OpenURI
	case !isThere(path + "-wal"):
		u.RawQuery = "immutable=1&mode=ro" // without making files beside it
	}
	if t.conn, err = sqlite.OpenConn(u.String(), flags); err != nil {
		return err
	}
	return t.find()
}

// isThere reports whether a file is there and not empty.
func isThere(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0
}

// rolledBack copies a database with its rollback journal, which SQLite applies
// when it opens the copy.
func (t *Table) rolledBack(path string) (string, error) {
	var err error
	if t.copy, err = os.MkdirTemp("", "attestlog-import-"); err != nil {
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

func (t *Table) find() error {
	stmt, _, err := t.conn.PrepareTransient("SELECT count(*) FROM pragma_table_info('audit') WHERE name IN ('id', 'ts', 'username', 'method', 'path', 'module', 'status')")
	if sqlite.ErrCode(err) == sqlite.ResultNotADB || sqlite.ErrCode(err) == sqlite.ResultNotADB.ToPrimary() {
		return ErrNoTable
	}
	if err != nil {
		return err
	}
	defer stmt.Finalize()
	if _, err := stmt.Step(); err != nil {
		return err
	}
	if stmt.ColumnInt(0) != 7 {
		return ErrNoTable
	}
	count, _, err := t.conn.PrepareTransient("SELECT count(*) FROM audit")
	if err != nil {
		return err
	}
	defer count.Finalize()
	_, err = count.Step()
	t.Rows = count.ColumnInt64(0)
	return err
}

// Events returns the rows as events, by id, in constant memory but for the few
// bytes a row that convert.IDs keeps.
func (t *Table) Events(ctx context.Context) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		t.conn.SetInterrupt(ctx.Done())
		defer t.conn.SetInterrupt(nil)
		stmt, _, err := t.conn.PrepareTransient("SELECT id, ts, username, method, path, module, status FROM audit ORDER BY id")
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
			row := Row{stmt.ColumnInt64(0), column(stmt, 1), column(stmt, 2), column(stmt, 3), column(stmt, 4), column(stmt, 5), column(stmt, 6)}
			if !yield(row.Event(ids), nil) {
				return
			}
		}
	}
}

func column(stmt *sqlite.Stmt, i int) any {
	switch stmt.ColumnType(i) {
	case sqlite.TypeInteger:
		return stmt.ColumnInt64(i)
	case sqlite.TypeFloat:
		return stmt.ColumnFloat(i)
	case sqlite.TypeText:
		return stmt.ColumnText(i)
	case sqlite.TypeBlob:
		b := make([]byte, stmt.ColumnLen(i))
		stmt.ColumnBytes(i, b)
		return b
	}
	return nil
}

// Close closes the database.
func (t *Table) Close() (err error) {
	if t.conn != nil {
		err = t.conn.Close()
	}
	if t.copy != "" {
		err = errors.Join(err, os.RemoveAll(t.copy))
	}
	return err
}
