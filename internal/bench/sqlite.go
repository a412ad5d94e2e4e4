package bench

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"time"

	driver "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/sqlite"
)

// sqliteFiles are logs in files of a folder.
type sqliteFiles struct{ dir string }

func (f sqliteFiles) open(ctx context.Context, name string) (attestlog.Store, error) {
	return sqlite.Open(ctx, filepath.Join(f.dir, name+".db"), sqlite.Config{})
}

func (f sqliteFiles) close() error { return nil }

func (f sqliteFiles) bare(name string) (*driver.Conn, error) {
	conn, err := driver.OpenConn(filepath.Join(f.dir, name), driver.OpenReadWrite|driver.OpenCreate)
	if err != nil {
		return nil, err
	}
	for _, sql := range []string{
		"PRAGMA page_size = 8192", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA wal_autocheckpoint = 4000",
		"PRAGMA cache_size = -32768", "CREATE TABLE rows (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL)",
	} {
		if err := sqlitex.ExecuteTransient(conn, sql, nil); err != nil {
			return nil, err
		}
	}
	return conn, nil
}

func (f sqliteFiles) bulk(ctx context.Context, name string, leaves [][]byte, n, batch int) (floor, error) {
	name += "-floor.db"
	conn, err := f.bare(name)
	if err != nil {
		return floor{}, err
	}
	defer conn.Close()
	var out floor
	began := time.Now()
	for from := 0; from < n; from += batch {
		if err := insert(conn, leaves, from, min(n, from+batch)); err != nil {
			return out, err
		}
		if err := ctx.Err(); err != nil {
			return out, err
		}
	}
	out.rate = float64(n) / time.Since(began).Seconds()
	began = time.Now()
	content := 0
	err = sqlitex.ExecuteTransient(conn, "SELECT leaf FROM rows", &sqlitex.ExecOptions{ResultFunc: func(stmt *driver.Stmt) error {
		var room [4096]byte
		k := stmt.ColumnBytes(0, room[:])
		content += k
		sha256.Sum256(room[:k])
		return nil
	}})
	out.scan = float64(n) / time.Since(began).Seconds()
	if err != nil {
		return out, err
	}
	if err := sqlitex.ExecuteTransient(conn, "PRAGMA wal_checkpoint(TRUNCATE)", nil); err != nil {
		return out, err
	}
	info, err := os.Stat(filepath.Join(f.dir, name))
	if err == nil {
		out.bytes = float64(info.Size()-int64(content)) / float64(n)
	}
	return out, err
}

func insert(conn *driver.Conn, leaves [][]byte, from, to int) (err error) {
	end, err := sqlitex.ImmediateTransaction(conn)
	if err != nil {
		return err
	}
	defer end(&err)
	stmt, err := conn.Prepare("INSERT INTO rows (idx, leaf) VALUES (?, ?)")
	if err != nil {
		return err
	}
	for i := from; i < to; i++ {
		stmt.BindInt64(1, int64(i))
		stmt.BindBytes(2, leaves[i%len(leaves)])
		if _, err := stmt.Step(); err != nil {
			return err
		}
		if err := stmt.Reset(); err != nil {
			return err
		}
	}
	return nil
}

func (f sqliteFiles) single(_ context.Context, leaves [][]byte) (float64, error) {
	const name = "single-floor.db"
	conn, err := f.bare(name)
	if err != nil {
		return 0, err
	}
	times := make([]float64, 0, len(leaves))
	for i := range leaves {
		began := time.Now()
		if err := insert(conn, leaves, i, i+1); err != nil {
			return 0, err
		}
		times = append(times, milliseconds(began))
	}
	slices.Sort(times)
	if err := conn.Close(); err != nil {
		return 0, err
	}
	return times[len(times)/2], os.Remove(filepath.Join(f.dir, name))
}

func (f sqliteFiles) page(_ context.Context, name string, n int) (float64, error) {
	conn, err := driver.OpenConn(filepath.Join(f.dir, name+"-floor.db"), driver.OpenReadOnly)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	var times []float64
	for round := range 21 {
		began := time.Now()
		for i := range 50 {
			id := spread(round*50+i) % uint64(n)
			err := sqlitex.Execute(conn, "SELECT leaf FROM rows WHERE idx = ?", &sqlitex.ExecOptions{Args: []any{int64(id)}, ResultFunc: func(stmt *driver.Stmt) error {
				var room [4096]byte
				stmt.ColumnBytes(0, room[:])
				return nil
			}})
			if err != nil {
				return 0, err
			}
		}
		times = append(times, milliseconds(began))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
