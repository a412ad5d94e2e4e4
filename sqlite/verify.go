package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
	"github.com/attestlog/attestlog/verify"
)

// Keys calls fn with each key.
func (s *Store) Keys(ctx context.Context, fn func(key attestlog.IDKey, index uint64) error) error {
	return s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT key, idx FROM keys")
		if err != nil {
			return err
		}
		return rows(stmt, func() error {
			var key attestlog.IDKey
			index := uint64(stmt.ColumnInt64(1))
			if n := stmt.ColumnBytes(0, key[:]); n != len(key) || stmt.ColumnLen(0) != n {
				return &attestlog.CorruptError{Index: index, Where: "key", Err: errors.New("is not 16 bytes")}
			}
			return fn(key, index)
		})
	})
}

// CheckRows looks for rows beyond the tree, and for triggers and tables that
// are not as they were installed.
func (s *Store) CheckRows(ctx context.Context) error {
	return s.read(ctx, func(conn *sqlite.Conn) (err error) {
		end := sqlitex.Transaction(conn) // one snapshot for all of it
		defer end(&err)
		tree, err := readTree(conn)
		if err != nil {
			return err
		}
		tiles := uint64(0)
		for n := tree.Size / attestlog.TileWidth; n > 0; n /= attestlog.TileWidth {
			tiles += n
		}
		for _, check := range []struct {
			sql, where string
			want       int64
		}{
			{"SELECT coalesce((SELECT idx + n FROM entries ORDER BY idx DESC LIMIT 1), 0)", "entries", int64(tree.Size)},
			{"SELECT coalesce(min(idx), 0) FROM entries", "entries", 0},
			{"SELECT count(*) FROM entries WHERE idx >= (SELECT size FROM tree)", "entries", 0},
			{"SELECT count(*) FROM disclosures WHERE id < 0 OR id >= (SELECT size << 11 FROM tree)", "disclosures", 0},
			{"SELECT count(*) FROM tiles", "tiles", int64(tiles)},
			{"SELECT count(*) FROM tree", "tree", 1},
			{"SELECT count(*) FROM meta", "meta", 1},
		} {
			got, err := integer(conn, check.sql)
			if err != nil {
				return err
			}
			if got != check.want {
				return &attestlog.CorruptError{Index: tree.Size, Where: check.where, Err: fmt.Errorf("rows that belong to no entry, or are missing: %s gives %d, want %d", check.sql, got, check.want)}
			}
		}
		return checkSchema(conn, logSchema, tree.Size)
	})
}

func integer(conn *sqlite.Conn, sql string) (n int64, err error) {
	err = sqlitex.ExecuteTransient(conn, sql, &sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		n = stmt.ColumnInt64(0)
		return nil
	}})
	return n, err
}

func text(conn *sqlite.Conn, sql string) (out string, err error) {
	err = sqlitex.ExecuteTransient(conn, sql, &sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		out = stmt.ColumnText(0)
		return nil
	}})
	return out, err
}

// checkSchema compares a database's schema with a new one's.
func checkSchema(conn *sqlite.Conn, sc schema, size uint64) error {
	fresh, err := sqlite.OpenConn(":memory:", sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenMemory)
	if err != nil {
		return err
	}
	defer fresh.Close()
	if err := migrate(fresh, sc); err != nil {
		return err
	}
	want, err := schemaOf(fresh)
	if err != nil {
		return err
	}
	got, err := schemaOf(conn)
	if err != nil {
		return err
	}
	for name, sql := range want {
		if got[name] != sql {
			return &attestlog.CorruptError{Index: size, Where: "schema", Err: fmt.Errorf("%s is missing or was changed, so the database no longer refuses what it should", name)}
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			return &attestlog.CorruptError{Index: size, Where: "schema", Err: fmt.Errorf("%s was added", name)}
		}
	}
	return nil
}

func schemaOf(conn *sqlite.Conn) (map[string]string, error) {
	out := map[string]string{}
	err := sqlitex.ExecuteTransient(conn, "SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT IN ('sqlite_stat1', 'sqlite_stat4')",
		&sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
			out[stmt.ColumnText(0)] = stmt.ColumnText(1)
			return nil
		}})
	return out, err
}

// CheckIndex derives the pairs of every indexed entry again and compares them
// with the search index.
func (s *Store) CheckIndex(ctx context.Context, progress func(done, total uint64)) error {
	ix := s.index
	if ix.readers == nil {
		return fmt.Errorf("sqlite: %w: the log has no search index", verify.ErrCannotVerify)
	}
	err := ix.read(ctx, func(conn *sqlite.Conn) (err error) {
		defer sqlitex.Transaction(conn)(&err) // one snapshot: segments may be merged meanwhile
		return ix.check(ctx, conn, progress)
	})
	if code := sqlite.ErrCode(err).ToPrimary(); code == sqlite.ResultCorrupt || code == sqlite.ResultNotADB {
		return inverted.Corrupt(0, err.Error())
	}
	return err
}

func (ix *index) check(ctx context.Context, conn *sqlite.Conn, progress func(done, total uint64)) error {
	st, err := readState(conn)
	if err != nil {
		return err
	}
	// The index first, then the log: what is indexed is in the log.
	tree, err := ix.store.Tree(ctx)
	if err != nil {
		return err
	}
	if st.size <= tree.Size {
		ok, err := ix.belongs(ctx, st)
		if err != nil {
			return err
		}
		if !ok {
			return inverted.Corrupt(max(st.size, 1)-1, "does not end at the entry that it says")
		}
	}
	if err := checkSchema(conn, indexSchema, 0); err != nil {
		return inverted.Corrupt(0, "has another schema: "+err.Error())
	}
	damage, err := text(conn, "PRAGMA integrity_check(1)")
	if err == nil && damage != "ok" {
		err = inverted.Corrupt(0, damage)
	}
	if err != nil {
		return err
	}
	stray, err := integer(conn, "SELECT count(*) FROM runs WHERE segment NOT IN (SELECT id FROM segments) OR kind NOT IN (0, 1)")
	if err == nil && stray > 0 {
		err = inverted.Corrupt(0, fmt.Sprintf("has %d rows of no segment", stray))
	}
	if err != nil {
		return err
	}
	snapshot := segments{func(_ context.Context, fn func(*sqlite.Conn) error) error { return fn(conn) }}
	c := inverted.Check{Key: ix.key, Reader: snapshot, Size: tree.Size, Scan: ix.store.Scan, Workers: runtime.GOMAXPROCS(0), Progress: progress}
	return c.Run(ctx)
}
