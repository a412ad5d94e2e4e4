package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/leafrow"
)

// chunk is how many entries are read in one read transaction, so that a long
// scan does not keep the write-ahead log from being reset.
const chunk = 2048

// rows steps through a statement's rows and resets it.
func rows(stmt *sqlite.Stmt, row func() error) error {
	defer stmt.Reset() // repeats the error of Step; also when row panics
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

func columnBytes(stmt *sqlite.Stmt, col int) []byte {
	buf := make([]byte, stmt.ColumnLen(col))
	stmt.ColumnBytes(col, buf)
	return buf
}

// Tree returns the stored tree.
func (s *Store) Tree(ctx context.Context) (tree attestlog.Tree, err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) (err error) {
		tree, err = readTree(conn)
		return err
	})
	return tree, err
}

func readTree(conn *sqlite.Conn) (attestlog.Tree, error) {
	var tree attestlog.Tree
	stmt, err := conn.Prepare("SELECT size, root, peaks, tail, logged_time FROM tree")
	if err != nil {
		return tree, &storeError{err}
	}
	found := false
	err = rows(stmt, func() error {
		found = true
		tree.Size = uint64(stmt.ColumnInt64(0))
		root := columnBytes(stmt, 1)
		if len(root) != len(tree.Root) {
			return &attestlog.CorruptError{Where: "tree", Err: fmt.Errorf("root of %d bytes", len(root))}
		}
		tree.Root = attestlog.Hash(root)
		tree.Peaks, tree.OpenTile = splitHashes(columnBytes(stmt, 2)), splitHashes(columnBytes(stmt, 3))
		if tree.Size > 0 {
			tree.LoggedTime = time.UnixMicro(stmt.ColumnInt64(4)).UTC()
		}
		return nil
	})
	if err == nil && !found {
		err = &attestlog.CorruptError{Where: "tree", Err: errors.New("the row is missing")}
	}
	return tree, err
}

func splitHashes(data []byte) []attestlog.Hash {
	const size = len(attestlog.Hash{})
	hashes := make([]attestlog.Hash, 0, len(data)/size)
	for ; len(data) >= size; data = data[size:] {
		hashes = append(hashes, attestlog.Hash(data))
	}
	return hashes
}

// Scan calls fn with the entries in [from, to).
func (s *Store) Scan(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	for from < to {
		end := min(to, from+chunk)
		n := 0
		err := s.read(ctx, func(conn *sqlite.Conn) (err error) {
			n, err = scanChunk(conn, from, end, fn)
			return err
		})
		if err != nil {
			return err
		}
		if n == 0 {
			tree, err := s.Tree(ctx)
			if err != nil || end >= tree.Size {
				return err
			}
		}
		from = end
	}
	return nil
}

// scanChunk reads the entries in [from, to) together with their disclosures,
// within one statement's snapshot each. It returns how many there were.
func scanChunk(conn *sqlite.Conn, from, to uint64, fn func(*attestlog.RawEntry) error) (int, error) {
	entries, err := conn.Prepare(`SELECT idx, n, leaves FROM entries
		WHERE idx >= coalesce((SELECT max(idx) FROM entries WHERE idx <= ?1), ?1) AND idx < ?2 AND idx < (SELECT size FROM tree) ORDER BY idx`)
	if err != nil {
		return 0, &storeError{err}
	}
	bindRange(entries, from, to)
	n := 0
	var r attestlog.RawEntry
	var d *disclosureReader
	var row leafrow.Row
	err = rows(entries, func() error {
		if d == nil { // while entries is open, both see the same snapshot
			if d, err = newDisclosureReader(conn, from, to); err != nil {
				return err
			}
		}
		next := row.Next()
		row.First, row.Count, row.Leaves = uint64(entries.ColumnInt64(0)), entries.ColumnInt(1), readInto(entries, 2, row.Leaves)
		if row.First < next {
			return &attestlog.CorruptError{Index: row.First, Where: "leaf", Err: errors.New("stands in two rows")}
		}
		return row.Each(from, to, func(index uint64, leaf []byte) error {
			n++
			r.Index, r.Leaf = index, leaf
			if r.Disclosures, err = d.of(index, r.Disclosures[:0]); err != nil {
				return err
			}
			return fn(&r)
		})
	})
	if d != nil {
		defer d.close()
		if err == nil {
			err = d.rest()
		}
	}
	return n, err
}

func bindRange(stmt *sqlite.Stmt, from, to uint64) {
	stmt.BindInt64(1, int64(from))
	stmt.BindInt64(2, int64(to))
}

func readInto(stmt *sqlite.Stmt, col int, buf []byte) []byte {
	n := stmt.ColumnLen(col)
	if cap(buf) < n {
		buf = make([]byte, n, 2*n)
	}
	buf = buf[:n]
	stmt.ColumnBytes(col, buf)
	return buf
}

// A disclosureReader walks the disclosures of a range in step with its
// entries.
type disclosureReader struct {
	stmt   *sqlite.Stmt
	more   bool
	next   uint64
	values []byte   // of one entry
	text   []byte   // of one pointer
	known  []string // pointers that came before
}

func newDisclosureReader(conn *sqlite.Conn, from, to uint64) (*disclosureReader, error) {
	stmt, err := conn.Prepare("SELECT idx, pointer, salt, value FROM disclosures WHERE id >= ? AND id < ? ORDER BY id")
	if err != nil {
		return nil, &storeError{err}
	}
	stmt.BindInt64(1, disclosureID(from))
	stmt.BindInt64(2, disclosureID(to))
	d := &disclosureReader{stmt: stmt, known: make([]string, 0, 8)}
	if err := d.step(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *disclosureReader) step() (err error) {
	if d.more, err = d.stmt.Step(); err != nil {
		return &storeError{err}
	}
	if d.more {
		d.next = uint64(d.stmt.ColumnInt64(0))
	}
	return nil
}

// of appends the disclosures of an entry to dst.
func (d *disclosureReader) of(index uint64, dst []attestlog.Disclosure) ([]attestlog.Disclosure, error) {
	if d.more && d.next < index {
		return dst, orphan(d.next)
	}
	d.values = d.values[:0]
	for d.more && d.next == index {
		at, size := len(d.values), d.stmt.ColumnLen(3)
		d.values = slices.Grow(d.values, size)[:at+size]
		d.stmt.ColumnBytes(3, d.values[at:])
		out := attestlog.Disclosure{Pointer: d.pointer(), Value: d.values[at : at+size : at+size]}
		if n := d.stmt.ColumnBytes(2, out.Salt[:]); n != len(out.Salt) || d.stmt.ColumnLen(2) != n {
			return dst, &attestlog.CorruptError{Index: index, Where: "disclosure " + out.Pointer, Err: errors.New("salt is not 16 bytes")}
		}
		dst = append(dst, out)
		if err := d.step(); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// pointer returns the row's pointer. Most entries have the same few.
func (d *disclosureReader) pointer() string {
	d.text = readInto(d.stmt, 1, d.text)
	for _, p := range d.known {
		if string(d.text) == p {
			return p
		}
	}
	p := string(d.text)
	if len(d.known) < cap(d.known) {
		d.known = append(d.known, p)
	}
	return p
}

// rest fails when disclosures are left that belong to no entry.
func (d *disclosureReader) rest() error {
	if d.more {
		return orphan(d.next)
	}
	return nil
}

func orphan(index uint64) error {
	return &attestlog.CorruptError{Index: index, Where: "disclosures", Err: errors.New("belong to an entry that is missing")}
}

func (d *disclosureReader) close() { d.stmt.Reset() }

// Tile returns a full tile.
func (s *Store) Tile(ctx context.Context, level int, n uint64) (hashes []byte, err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) (err error) {
		hashes, err = readTile(conn, level, n)
		return err
	})
	return hashes, err
}

func readTile(conn *sqlite.Conn, level int, n uint64) ([]byte, error) {
	stmt, err := conn.Prepare("SELECT hashes FROM tiles WHERE id = ?")
	if err != nil {
		return nil, &storeError{err}
	}
	stmt.BindInt64(1, tileID(level, n))
	var hashes []byte
	err = rows(stmt, func() error {
		hashes = columnBytes(stmt, 0)
		return nil
	})
	if err == nil && hashes == nil {
		err = fmt.Errorf("tile %d/%d: %w", level, n, attestlog.ErrNotFound)
	}
	return hashes, err
}

// Checkpoints calls fn with each stored note, by size.
func (s *Store) Checkpoints(ctx context.Context, fn func(size uint64, note []byte) error) error {
	return s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT size, note FROM checkpoints ORDER BY size")
		if err != nil {
			return err
		}
		return rows(stmt, func() error { return fn(uint64(stmt.ColumnInt64(0)), columnBytes(stmt, 1)) })
	})
}

// Lookup returns the index of a key.
func (s *Store) Lookup(ctx context.Context, key attestlog.IDKey) (index uint64, err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) (err error) {
		index, err = lookup(conn, key)
		return err
	})
	return index, err
}

func lookup(conn *sqlite.Conn, key attestlog.IDKey) (index uint64, err error) {
	stmt, err := conn.Prepare("SELECT idx FROM keys WHERE key = ?")
	if err != nil {
		return 0, &storeError{err}
	}
	stmt.BindBytes(1, key[:])
	err = attestlog.ErrNotFound
	if stepErr := rows(stmt, func() error {
		index, err = uint64(stmt.ColumnInt64(0)), nil
		return nil
	}); stepErr != nil {
		err = &storeError{stepErr}
	}
	return index, err
}
