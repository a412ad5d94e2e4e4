package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/factsum"
)

// Keys calls fn with each key.
func (s *Store) Keys(ctx context.Context, fn func(key attestlog.Key, index uint64) error) error {
	return s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT key, idx FROM keys")
		if err != nil {
			return err
		}
		return rows(stmt, func() error {
			var key attestlog.Key
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
			{"SELECT coalesce(max(idx), -1) + 1 FROM entries", "entries", int64(tree.Size)},
			{"SELECT coalesce(min(idx), 0) FROM entries", "entries", 0},
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
		return checkSchema(conn, tree.Size)
	})
}

func integer(conn *sqlite.Conn, sql string) (n int64, err error) {
	err = sqlitex.ExecuteTransient(conn, sql, &sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		n = stmt.ColumnInt64(0)
		return nil
	}})
	return n, err
}

// checkSchema compares the database's schema with a new one's.
func checkSchema(conn *sqlite.Conn, size uint64) error {
	fresh, err := sqlite.OpenConn(":memory:", sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenMemory)
	if err != nil {
		return err
	}
	defer fresh.Close()
	if err := migrate(fresh, logID, "log"); err != nil {
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

// CheckIndex derives the terms and times of every indexed entry again and
// compares them with the index.
func (s *Store) CheckIndex(ctx context.Context, progress func(done, total uint64)) error {
	ix := s.index
	if ix.readers == nil {
		return fmt.Errorf("sqlite: %w: the log has no search index", attestlog.ErrCannotVerify)
	}
	err := ix.check(ctx, progress)
	if code := sqlite.ErrCode(err).ToPrimary(); code == sqlite.ResultCorrupt || code == sqlite.ResultNotADB {
		return badIndex(0, err.Error())
	}
	return err
}

func badIndex(index uint64, what string) error {
	return &attestlog.CorruptError{Index: index, Where: "search index", Err: errors.New(what + "; `attestlog reindex` builds it again")}
}

func (ix *index) check(ctx context.Context, progress func(done, total uint64)) error {
	return ix.read(ctx, func(conn *sqlite.Conn) (err error) {
		if _, err := conn.Prepare("SELECT 1 FROM temp.vocab"); err != nil {
			if err := sqlitex.ExecuteTransient(conn, "CREATE VIRTUAL TABLE temp.vocab USING fts5vocab (main, terms, instance)", nil); err != nil {
				return err
			}
		}
		end := sqlitex.Transaction(conn)
		defer end(&err)
		st, err := readState(conn)
		if err != nil {
			return err
		}
		if err := ix.checkState(ctx, st); err != nil {
			return err
		}
		sum := factsum.New(st.size)
		derived := make(chan error, 1)
		d := newDeriver(ix)
		derive, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() { derived <- d.derive(derive, st.size, sum, progress) }()
		err = eachStored(conn, func(kind byte, value, index uint64) { sum.Remove(factsum.Fact{Kind: kind, Value: value, Index: index}) })
		if err != nil {
			cancel()
		}
		if deriveErr := <-derived; err == nil {
			err = deriveErr
		}
		if err != nil {
			return err
		}
		if from, found := sum.Difference(); found {
			return ix.locate(ctx, conn, from, st.size)
		}
		return d.checkBlocks(conn, st)
	})
}

// checkState compares the index's watermark with the log.
func (ix *index) checkState(ctx context.Context, st indexState) error {
	tree, err := ix.store.Tree(ctx)
	if err != nil {
		return err
	}
	if st.size > tree.Size {
		return badIndex(tree.Size, fmt.Sprintf("is said to hold %d entries, the log has %d", st.size, tree.Size))
	}
	ok, err := ix.belongs(ctx, st)
	if err == nil && !ok {
		err = badIndex(max(st.size, 1)-1, "does not end at the entry that it says")
	}
	return err
}

// derive adds the facts that the entries below size must have.
func (d *deriver) derive(ctx context.Context, size uint64, sum *factsum.Sums, progress func(done, total uint64)) error {
	return d.ix.store.Scan(ctx, 0, size, func(r *attestlog.Record) error {
		if progress != nil && r.Index%(16*factsum.Width) == 0 {
			progress(r.Index, size)
		}
		return d.facts(r, func(kind byte, value uint64) { sum.Add(factsum.Fact{Kind: kind, Value: value, Index: r.Index}) })
	})
}

// A deriver works out an entry's facts.
type deriver struct {
	ix     *index
	tokens []uint64
	token  []byte
	term   []byte
	times  timeline
	emit   func(field string, value []byte)
}

func newDeriver(ix *index) *deriver {
	d := &deriver{ix: ix, times: timeline{high: math.MinInt64, blocks: map[uint64]block{}}}
	d.emit = func(field string, value []byte) {
		d.token, d.term = ix.appendToken(d.token[:0], d.term, field, value)
		d.tokens = append(d.tokens, tokenValue(d.token))
	}
	return d
}

func (d *deriver) facts(r *attestlog.Record, fn func(kind byte, value uint64)) error {
	d.tokens = d.tokens[:0]
	if err := attestlog.Terms(r.Leaf, r.Disclosures, d.emit); err != nil {
		return &attestlog.CorruptError{Index: r.Index, Where: "leaf", Err: err}
	}
	slices.Sort(d.tokens)
	for _, t := range slices.Compact(d.tokens) {
		fn('t', t)
	}
	if at, _ := attestlog.LeafTime(r.Leaf); d.times.add(r.Index, at) {
		fn('l', uint64(at))
	}
	return nil
}

// tokenValue turns a token's nine bytes back into 63 bits; what is no token of
// ours becomes a value that no token has.
func tokenValue(token []byte) uint64 {
	if len(token) != 9 {
		return math.MaxUint64
	}
	var v uint64
	for i, b := range token {
		if b < 0x80 {
			return math.MaxUint64
		}
		v |= uint64(b&0x7f) << (7 * i)
	}
	return v
}

// eachStored calls fn with every fact that the index holds.
func eachStored(conn *sqlite.Conn, fn func(kind byte, value, index uint64)) error {
	vocab, err := conn.Prepare("SELECT term, doc FROM temp.vocab")
	if err != nil {
		return err
	}
	var token [10]byte
	err = rows(vocab, func() error {
		n := vocab.ColumnBytes(0, token[:])
		fn('t', tokenValue(token[:n]), uint64(vocab.ColumnInt64(1)))
		return nil
	})
	if err != nil {
		return err
	}
	late, err := conn.Prepare("SELECT time, idx FROM late")
	if err != nil {
		return err
	}
	return rows(late, func() error {
		fn('l', uint64(late.ColumnInt64(0)), uint64(late.ColumnInt64(1)))
		return nil
	})
}

// locate finds the first entry from an index on whose facts differ.
func (ix *index) locate(ctx context.Context, conn *sqlite.Conn, from, size uint64) error {
	to := min(from+factsum.Width, size)
	stored := map[factsum.Fact]bool{}
	stray := uint64(math.MaxUint64)
	err := eachStored(conn, func(kind byte, value, index uint64) {
		if index >= from && index < to {
			stored[factsum.Fact{Kind: kind, Value: value, Index: index}] = true
		} else if index >= size {
			stray = min(stray, index)
		}
	})
	if err != nil {
		return err
	}
	d := newDeriver(ix)
	err = ix.store.Scan(ctx, 0, to, func(r *attestlog.Record) error {
		if r.Index < from {
			at, _ := attestlog.LeafTime(r.Leaf)
			d.times.add(r.Index, at)
			return nil
		}
		missing := false
		if err := d.facts(r, func(kind byte, value uint64) {
			f := factsum.Fact{Kind: kind, Value: value, Index: r.Index}
			missing = missing || !stored[f]
			delete(stored, f)
		}); err != nil {
			return err
		}
		if missing {
			return badIndex(r.Index, "lacks a term or time of the entry")
		}
		for f := range stored {
			if f.Index == r.Index {
				return badIndex(r.Index, "has a term or time that the entry does not have")
			}
		}
		return nil
	})
	if err == nil {
		err = badIndex(min(stray, size), "has terms or times of no entry")
	}
	return err
}

// checkBlocks compares the blocks, and the latest time, with what derive saw.
func (d *deriver) checkBlocks(conn *sqlite.Conn, st indexState) error {
	bad := func(n int64, what string) error {
		return badIndex(uint64(max(n, 0))*blockSize, fmt.Sprintf("block %d %s", n, what))
	}
	stmt, err := conn.Prepare("SELECT n, lo, hi, high, spine FROM blocks ORDER BY n")
	if err != nil {
		return err
	}
	next := int64(0)
	err = rows(stmt, func() error {
		n := stmt.ColumnInt64(0)
		if n != next {
			return bad(next, "is missing")
		}
		if want, ok := d.times.blocks[uint64(n)]; !ok || want != readBlock(stmt) {
			return bad(n, "has other times")
		}
		next++
		return nil
	})
	switch {
	case err != nil:
		return err
	case next != int64(len(d.times.blocks)):
		return bad(next, "is missing")
	case st.high != d.times.high:
		return bad(next-1, "does not end at the latest time")
	}
	return nil
}
