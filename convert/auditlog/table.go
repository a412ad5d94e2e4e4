package auditlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// ErrNoTable is returned for a file that is not a database with such a table.
var ErrNoTable = errors.New("has no audit table of id, ts, username, method, path, module and status, with id as INTEGER PRIMARY KEY")

const (
	// busyWait is how long a read waits for a program that is writing.
	busyWait = 10 * time.Second

	// A read ends after so many rows or bytes. Nothing is locked until the next
	// read begins, however long the caller takes for the events.
	maxRead      = 1_000
	maxReadBytes = 4 << 20
)

// A Table is an open audit table. Other programs may use it meanwhile. It is not
// safe for concurrent use.
type Table struct {
	conn *sqlite.Conn
	path string // of the database that conn has open
	copy string // the folder of the copy that is open, or ""
	tidy bool   // SQLite made files next to the database

	// First and Last are the least and the greatest id when the table was opened,
	// and Rows how many ids there are from one to the other. The table has no more
	// rows than that. All are 0 if it has none.
	First, Last, Rows int64

	// Source is the name that the rows' ids are derived with. Defaults to
	// convert.SourceName of the file.
	Source string
}

// Open opens a database for reading and looks for the table. It reads through
// SQLite's own locks, so that it may be in use: what is read is what a program
// had committed. Nothing in the file is changed.
//
//   - While a program writes, a read waits, for ten seconds at most.
//   - If a program that crashed left a transaction that must be rolled back, this is
//     done in a copy, which is made while nobody can write. Where there are no locks
//     to do so with, on other systems than Linux, Open fails.
//   - A database with a write-ahead log can be read only if SQLite can make its
//     shared memory next to it, or finds it there. Otherwise Open fails.
//
// Errors match ErrNoTable if there is no such table, and os.ErrNotExist if there
// is no such file.
func Open(path string) (*Table, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}

	t := &Table{Source: convert.SourceName(path)}
	err := t.open(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, clarify(err)), t.Close())
	}
	return t, nil
}

func (t *Table) open(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	_, err = os.Lstat(path + "-wal")
	wasThere := err == nil

	err = t.connect(path, "ro", sqlite.OpenReadOnly)
	if err != nil {
		return err
	}
	err = t.find()
	if !wasThere && t.copy == "" {
		_, statErr := os.Lstat(path + "-wal")
		t.tidy = statErr == nil
	}
	return err
}

// connect opens a database, and closes the one that was open.
func (t *Table) connect(path, mode string, flags sqlite.OpenFlags) error {
	if t.conn != nil {
		t.conn.Close() // which has read all it could
	}

	uri := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: "mode=" + mode}
	conn, err := sqlite.OpenConn(uri.String(), flags|sqlite.OpenURI)
	t.conn = conn
	t.path = path
	if err != nil {
		return err
	}
	conn.SetBusyTimeout(busyWait)
	return nil
}

// read runs a statement that reads, and runs it again if SQLite cannot tell
// whether there is a transaction to roll back.
func (t *Table) read(ctx context.Context, statement string, fn func(*sqlite.Stmt) error) error {
	for end := time.Now().Add(busyWait); ; {
		err := t.readOnce(ctx, statement, fn)
		isHot := sqlite.ErrCode(err) == sqlite.ResultReadOnlyRollback
		if !isHot || time.Now().After(end) {
			return err
		}

		copied, err := t.copyToRollBack(t.path)
		if err != nil {
			return err
		}
		if copied != "" {
			err := t.connect(copied, "rw", sqlite.OpenReadWrite)
			if err != nil {
				return err
			}
			continue
		}

		// The transaction is that of a program that runs, or another program has
		// rolled it back by now.
		time.Sleep(10 * time.Millisecond)
	}
}

func (t *Table) readOnce(ctx context.Context, statement string, fn func(*sqlite.Stmt) error) error {
	t.conn.SetInterrupt(ctx.Done())
	defer t.conn.SetInterrupt(nil)

	stmt, _, err := t.conn.PrepareTransient(statement)
	if err != nil {
		return err
	}
	defer stmt.Finalize()
	return fn(stmt)
}

// clarify says what to do about an error of SQLite.
func clarify(err error) error {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultNotADB:
		return ErrNoTable
	case sqlite.ResultBusy:
		return fmt.Errorf("another program keeps the database locked; try again in a pause of its work: %w", err)
	case sqlite.ResultCantOpen, sqlite.ResultReadOnly:
		return fmt.Errorf("SQLite cannot read it where it is, since that takes files next to it which cannot be made there; "+
			"copy it, with the files of the same name and -wal or -journal, to a folder that can be written: %w", err)
	}
	return err
}

// find checks the table's columns, and finds out how many rows it may have.
func (t *Table) find() error {
	columns, err := t.number(`
		SELECT count(*)
		FROM pragma_table_info('audit')
		WHERE name IN ('ts', 'username', 'method', 'path', 'module', 'status')
			OR name = 'id' AND pk = 1 AND upper(type) = 'INTEGER'
	`)
	if err != nil {
		return err
	}
	keys, err := t.number("SELECT count(*) FROM pragma_table_info('audit') WHERE pk > 0")
	if err != nil {
		return err
	}
	if columns != 7 || keys != 1 {
		return ErrNoTable
	}

	return t.Refresh()
}

// Refresh sets First, Last and Rows to what they are now.
func (t *Table) Refresh() (err error) {
	t.First, err = t.number("SELECT min(id) FROM audit")
	if err != nil {
		return err
	}
	t.Last, err = t.number("SELECT max(id) FROM audit")
	if err != nil {
		return err
	}

	some, err := t.number("SELECT EXISTS (SELECT 1 FROM audit)")
	between := uint64(t.Last) - uint64(t.First) // also if one is below 0
	t.Rows = some * int64(min(between, math.MaxInt64-1)+1)
	return err
}

// number returns the number that a query finds, or 0 if it finds none.
func (t *Table) number(query string) (n int64, err error) {
	err = t.read(context.Background(), query, func(stmt *sqlite.Stmt) error {
		_, err := stmt.Step()
		n = stmt.ColumnInt64(0)
		return err
	})
	return n, err
}

// Events returns the rows from First to Last as events, by id, in constant memory.
// Rows that a program removes meanwhile may be missing. An error ends the
// sequence.
func (t *Table) Events(ctx context.Context) iter.Seq2[attestlog.Event, error] {
	return t.EventsFrom(ctx, math.MinInt64)
}

// EventsFrom is Events without the rows whose ids are less than first.
func (t *Table) EventsFrom(ctx context.Context, first int64) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		for row, err := range t.RowsFrom(ctx, first) {
			if err != nil {
				yield(attestlog.Event{}, err)
				return
			}
			if !yield(row.Event(t.Source), nil) {
				return
			}
		}
	}
}

// Row returns the row of an id, and whether there is one.
func (t *Table) Row(ctx context.Context, id int64) (row Row, found bool, err error) {
	var rows []Row
	err = t.read(ctx, selectRows, func(stmt *sqlite.Stmt) (err error) {
		rows, _, err = readSome(stmt, id, id)
		return err
	})
	if err != nil || len(rows) == 0 {
		return Row{}, false, err
	}
	return rows[0], true, nil
}

const selectRows = `
	SELECT id, ts, username, method, path, module, status
	FROM audit
	WHERE id BETWEEN ? AND ?
	ORDER BY id
`

// RowsFrom returns the rows from first, or First if that is greater, to Last, as
// Events does.
func (t *Table) RowsFrom(ctx context.Context, first int64) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for more := t.Rows > 0; more; {
			var rows []Row
			err := t.read(ctx, selectRows, func(stmt *sqlite.Stmt) (err error) {
				rows, more, err = readSome(stmt, first, t.Last)
				return err
			})
			if err != nil {
				yield(Row{}, fmt.Errorf("audit table: %w", clarify(err)))
				return
			}
			for _, r := range rows {
				if !yield(r, nil) {
					return
				}
			}
			if more {
				first = rows[len(rows)-1].ID + 1
			}
		}
	}
}

// readSome returns some of the rows from first to last, and whether there may be
// more of them. It reads them all before it returns, and locks nothing afterwards.
func readSome(stmt *sqlite.Stmt, first, last int64) (rows []Row, more bool, err error) {
	stmt.BindInt64(1, first)
	stmt.BindInt64(2, last)

	for size := 0; len(rows) < maxRead && size < maxReadBytes; {
		more, err := stmt.Step()
		if err != nil || !more {
			return rows, false, err
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
		rows = append(rows, row)
		for _, v := range row.values() {
			size += lengthOf(v)
		}
	}
	return rows, rows[len(rows)-1].ID < last, nil
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
	if t.tidy {
		t.removeSharedFiles()
	}
	if t.copy != "" {
		err = errors.Join(err, os.RemoveAll(t.copy))
	}
	return err
}

// removeSharedFiles has SQLite remove the files that it made to read a database
// with a write-ahead log. A connection that may write does so when it closes,
// unless another program has the database open. If it fails, the files remain,
// which does no harm.
func (t *Table) removeSharedFiles() {
	last := &Table{}
	if err := last.connect(t.path, "rw", sqlite.OpenReadWrite); err == nil {
		last.number("SELECT count(*) FROM sqlite_schema")
	}
	if last.conn != nil {
		last.conn.Close()
	}
}
