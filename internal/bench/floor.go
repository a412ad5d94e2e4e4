package bench

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	driver "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
)

// floor is what the bare driver does with the same leaf bytes.
type floor struct {
	rate  float64 // rows inserted a second
	bytes float64 // on disk, a row, beyond the leaf
	scan  float64 // rows read and hashed a second
}

// leaves returns n leaves of the benchmark's event, as a log stores them.
func (b *bench) leaves(n int, sealed bool) ([][]byte, error) {
	name := fmt.Sprintf("leaves-%t.db", sealed)
	l, store, err := b.log(name)
	if err != nil {
		return nil, err
	}
	size, err := l.Size(b.ctx)
	if err != nil {
		return nil, err
	}
	for i := int(size); i < n; i += 1000 {
		events := make([]attestlog.Event, 0, 1000)
		for k := i; k < min(n, i+1000); k++ {
			events = append(events, event(k, sealed))
		}
		if _, err := l.Append(b.ctx, events...); err != nil {
			return nil, err
		}
	}
	leaves := make([][]byte, 0, n)
	err = store.Scan(b.ctx, 0, uint64(n), func(r *attestlog.Record) error {
		leaves = append(leaves, slices.Clone(r.Leaf))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return leaves, l.Close(b.ctx)
}

func (b *bench) bare(name string) (*driver.Conn, error) {
	conn, err := driver.OpenConn(filepath.Join(b.dir, name), driver.OpenReadWrite|driver.OpenCreate)
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

// floorBulk inserts n leaves in transactions of the batch size, with nothing
// but their number beside them. The same few thousand leaves come again and
// again: the driver neither knows nor cares.
func (b *bench) floorBulk(n int, sealed bool) (floor, error) {
	leaves, err := b.leaves(min(n, 20_000), sealed)
	if err != nil {
		return floor{}, err
	}
	name := fmt.Sprintf("floor-%t.db", sealed)
	conn, err := b.bare(name)
	if err != nil {
		return floor{}, err
	}
	defer conn.Close()
	var f floor
	began := time.Now()
	for from := 0; from < n; from += b.opts.Batch {
		if err := insert(conn, leaves, from, min(n, from+b.opts.Batch)); err != nil {
			return f, err
		}
		if err := b.ctx.Err(); err != nil {
			return f, err
		}
	}
	f.rate = float64(n) / time.Since(began).Seconds()
	began = time.Now()
	content := 0
	err = sqlitex.ExecuteTransient(conn, "SELECT leaf FROM rows", &sqlitex.ExecOptions{ResultFunc: func(stmt *driver.Stmt) error {
		var room [4096]byte
		k := stmt.ColumnBytes(0, room[:])
		content += k
		sha256.Sum256(room[:k])
		return nil
	}})
	f.scan = float64(n) / time.Since(began).Seconds()
	if err != nil {
		return f, err
	}
	info, err := os.Stat(filepath.Join(b.dir, name))
	if err == nil {
		f.bytes = float64(info.Size()-int64(content)) / float64(n)
	}
	return f, err
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

// floorSingle returns the median milliseconds of a durable insert of one leaf.
func (b *bench) floorSingle(n int) (float64, error) {
	leaves, err := b.leaves(n, false)
	if err != nil {
		return 0, err
	}
	const name = "floor-single.db"
	conn, err := b.bare(name)
	if err != nil {
		return 0, err
	}
	times := make([]float64, 0, n)
	for i := range n {
		began := time.Now()
		if err := insert(conn, leaves, i, i+1); err != nil {
			return 0, err
		}
		times = append(times, float64(time.Since(began).Nanoseconds())/1e6)
	}
	slices.Sort(times)
	if err := conn.Close(); err != nil {
		return 0, err
	}
	return times[len(times)/2], os.Remove(filepath.Join(b.dir, name))
}

// floorPage returns the median milliseconds of reading 50 leaves by number.
func (b *bench) floorPage(n int) (float64, error) {
	conn, err := driver.OpenConn(filepath.Join(b.dir, "floor-false.db"), driver.OpenReadOnly)
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
		times = append(times, float64(time.Since(began).Nanoseconds())/1e6)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
