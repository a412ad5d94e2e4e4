package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/inverted"
	"github.com/attestlog/attestlog/internal/merkle"
	"github.com/attestlog/attestlog/verify"
)

// Keys calls fn with each key, in their order: it goes through the B-tree of the
// table, in which the keys must ascend, or a look-up would miss some of them.
func (s *Store) Keys(ctx context.Context, fn func(key attestlog.IDKey, index uint64) error) error {
	return s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := prepare(conn, "SELECT key, idx FROM keys ORDER BY key")
		if err != nil {
			return err
		}

		var last attestlog.IDKey
		first := true
		return rows(stmt, func() error {
			var key attestlog.IDKey
			index := uint64(stmt.ColumnInt64(1))

			// Texts have a place in the order of their own, so a look-up of bytes misses
			// a text of the same bytes.
			n := stmt.ColumnBytes(0, key[:])
			isKey := stmt.ColumnType(0) == sqlite.TypeBlob && n == len(key) && stmt.ColumnLen(0) == n
			if !isKey {
				return &attestlog.CorruptError{Index: index, Where: "key", Err: errors.New("is not 16 bytes")}
			}
			if !first && bytes.Compare(key[:], last[:]) <= 0 {
				return &attestlog.CorruptError{Index: index, Where: "key", Err: errors.New("is out of order in its table, so that look-ups miss it or others")}
			}
			first = false
			last = key
			return fn(key, index)
		})
	})
}

// CheckRows looks for rows that belong to no entry, and for triggers and tables
// that are not those of a new database.
func (s *Store) CheckRows(ctx context.Context) error {
	return s.read(ctx, func(conn *sqlite.Conn) (err error) {
		end := sqlitex.Transaction(conn) // one snapshot for all of it
		defer end(&err)

		tree, err := readTree(conn)
		if err != nil {
			return err
		}
		tiles := merkle.FullTiles(tree.Size)

		for _, check := range []struct {
			table, sql string
			want       int64
		}{
			{"entries", "SELECT coalesce((SELECT idx + n FROM entries ORDER BY idx DESC LIMIT 1), 0)", int64(tree.Size)},
			{"entries", "SELECT coalesce(min(idx), 0) FROM entries", 0},
			{"entries", "SELECT count(*) FROM entries WHERE idx >= (SELECT size FROM tree)", 0},
			{"disclosures", "SELECT count(*) FROM disclosures WHERE id < 0 OR id >= (SELECT size << 11 FROM tree)", 0},
			{"tiles", "SELECT count(*) FROM tiles", int64(tiles)},
			{"tree", "SELECT count(*) FROM tree", 1},
			{"meta", "SELECT count(*) FROM meta", 1},
		} {
			got, err := integer(conn, check.sql)
			if err != nil {
				return err
			}
			if got != check.want {
				return &attestlog.CorruptError{
					Index: tree.Size,
					Where: check.table,
					Err:   fmt.Errorf("rows that belong to no entry, or are missing: %s gives %d, want %d", check.sql, got, check.want),
				}
			}
		}
		want, err := newSchema(logSchema)
		if err != nil {
			return err
		}
		return checkSchema(conn, want, tree.Size)
	})
}

// CheckPhysical runs PRAGMA integrity_check on the log's file, in one snapshot. It
// reads every page. CheckIndex does the same with the index's file.
func (s *Store) CheckPhysical(ctx context.Context) error {
	return s.read(ctx, func(conn *sqlite.Conn) error {
		damage, err := text(conn, "PRAGMA integrity_check(1)")
		switch {
		case sqlite.ErrCode(err).ToPrimary() == sqlite.ResultCorrupt:
			damage = err.Error()
		case err != nil:
			return err
		}
		if damage == "ok" {
			return nil
		}
		err = fmt.Errorf("SQLite's integrity_check says: %s; "+
			"keep the file as evidence, and restore a backup or a copy that verifies", damage)
		return &attestlog.CorruptError{Where: "database file", Err: err}
	})
}

// CheckIndex derives the pairs of every indexed entry again and compares them
// with the search index.
func (s *Store) CheckIndex(ctx context.Context, progress func(done, total uint64)) error {
	ix := s.index
	if ix.readers == nil {
		return fmt.Errorf("sqlite: %w: the log has no search index", verify.ErrCannotVerify)
	}

	err := ix.read(ctx, func(conn *sqlite.Conn) (err error) {
		// One snapshot for all of it: segments may be merged in the meantime.
		end := sqlitex.Transaction(conn)
		defer end(&err)
		return ix.check(ctx, conn, progress)
	})

	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultCorrupt, sqlite.ResultNotADB:
		return inverted.Corrupt(0, err.Error())
	}
	return err
}

// check checks the index within a transaction of conn.
func (ix *index) check(ctx context.Context, conn *sqlite.Conn, progress func(done, total uint64)) error {
	state, err := readState(conn)
	if err != nil {
		return err
	}
	// The index first, then the log: what is indexed is in the log.
	tree, err := ix.store.Tree(ctx)
	if err != nil {
		return err
	}

	// If it is not, inverted.Check finds the segment.
	if state.size <= tree.Size {
		ok, err := ix.matches(ctx, state)
		if err != nil {
			return err
		}
		if !ok {
			return inverted.Corrupt(max(state.size, 1)-1, "does not end at the entry that it says")
		}
	}
	if err := checkIndexFile(conn); err != nil {
		return err
	}

	c := inverted.Check{
		Key:      ix.key,
		Reader:   segments{func(_ context.Context, fn func(*sqlite.Conn) error) error { return fn(conn) }},
		Size:     tree.Size,
		Scan:     ix.store.Scan,
		Workers:  runtime.GOMAXPROCS(0),
		Progress: progress,
	}
	return c.Run(ctx)
}

// checkIndexFile checks what a search does not read: the schema, the pages of
// the file, and rows of no segment.
func checkIndexFile(conn *sqlite.Conn) error {
	want, err := newSchema(indexSchema)
	if err != nil {
		return err
	}
	err = checkSchema(conn, want, 0)
	if err != nil {
		return inverted.Corrupt(0, "has another schema: "+err.Error())
	}

	// It also looks each row up in the tree by which searches find it.
	damage, err := text(conn, "PRAGMA integrity_check(1)")
	if err != nil {
		return err
	}
	if damage != "ok" {
		return inverted.Corrupt(0, damage)
	}

	stray, err := integer(conn, `SELECT count(*) FROM runs
		WHERE segment NOT IN (SELECT id FROM segments) OR kind NOT IN (0, 1)`)
	if err != nil {
		return err
	}
	if stray > 0 {
		return inverted.Corrupt(0, fmt.Sprintf("has %d rows of no segment", stray))
	}
	return nil
}
