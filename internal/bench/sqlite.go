package bench

import (
	"context"
	"os"
	"path/filepath"

	driver "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/sqlite"
)

// sqliteFiles are logs and tables in files of a folder.
type sqliteFiles struct{ dir string }

func (f sqliteFiles) open(ctx context.Context, name string) (attestlog.Store, error) {
	return sqlite.Open(ctx, filepath.Join(f.dir, name+".db"), sqlite.Config{})
}

func (f sqliteFiles) close() error { return nil }

// createTable configures the database as package sqlite does.
func (f sqliteFiles) createTable(_ context.Context, name string) (table, error) {
	t, err := f.openFile(name, driver.OpenReadWrite|driver.OpenCreate)
	if err != nil {
		return nil, err
	}

	for _, sql := range []string{
		"PRAGMA page_size = 8192",
		"PRAGMA journal_mode = WAL",
		"PRAGMA synchronous = FULL",
		"PRAGMA wal_autocheckpoint = 4000",
		"PRAGMA cache_size = -32768",
		"CREATE TABLE rows (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL)",
	} {
		err = sqlitex.ExecuteTransient(t.conn, sql, nil)
		if err != nil {
			t.close()
			return nil, err
		}
	}
	return t, nil
}

func (f sqliteFiles) openTable(_ context.Context, name string) (table, error) {
	return f.openFile(name, driver.OpenReadOnly)
}

func (f sqliteFiles) openFile(name string, flags driver.OpenFlags) (*sqliteTable, error) {
	path := filepath.Join(f.dir, name+"-floor.db")
	conn, err := driver.OpenConn(path, flags)
	if err != nil {
		return nil, err
	}
	return &sqliteTable{path, conn}, nil
}

// A sqliteTable is a table in a file of its own.
type sqliteTable struct {
	path string
	conn *driver.Conn
}

func (t *sqliteTable) insert(ctx context.Context, first, n int, leaf func(int) []byte) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	end, err := sqlitex.ImmediateTransaction(t.conn)
	if err != nil {
		return err
	}
	defer end(&err)

	stmt, err := t.conn.Prepare("INSERT INTO rows (idx, leaf) VALUES (?, ?)")
	if err != nil {
		return err
	}
	for i := first; i < first+n; i++ {
		stmt.BindInt64(1, int64(i))
		stmt.BindBytes(2, leaf(i))
		_, err = stmt.Step()
		if err != nil {
			return err
		}
		err = stmt.Reset()
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *sqliteTable) scan(_ context.Context, fn func(leaf []byte)) error {
	return sqlitex.ExecuteTransient(t.conn, "SELECT leaf FROM rows", readLeaf(fn))
}

func (t *sqliteTable) read(_ context.Context, numbers []int64) error {
	options := readLeaf(func([]byte) {})
	for _, number := range numbers {
		options.Args = []any{number}
		err := sqlitex.Execute(t.conn, "SELECT leaf FROM rows WHERE idx = ?", options)
		if err != nil {
			return err
		}
	}
	return nil
}

// readLeaf calls fn with the leaf of each row.
func readLeaf(fn func(leaf []byte)) *sqlitex.ExecOptions {
	var buf [4096]byte // longer than any leaf of the benchmark
	return &sqlitex.ExecOptions{ResultFunc: func(stmt *driver.Stmt) error {
		n := stmt.ColumnBytes(0, buf[:])
		fn(buf[:n])
		return nil
	}}
}

func (t *sqliteTable) bytes(context.Context) (int64, error) {
	err := sqlitex.ExecuteTransient(t.conn, "PRAGMA wal_checkpoint(TRUNCATE)", nil)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(t.path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// index does nothing: SQLite stores the rows in the order of their numbers.
func (t *sqliteTable) index(context.Context) error { return nil }

func (t *sqliteTable) close() error { return t.conn.Close() }
