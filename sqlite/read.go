package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/leafrow"
	"github.com/attestlog/attestlog/internal/merkle"
)

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
	stmt, err := prepare(conn, "SELECT size, root, peaks, tail, logged_time FROM tree")
	if err != nil {
		return tree, err
	}

	found := false
	err = rows(stmt, func() error {
		found = true
		tree.Size = uint64(stmt.ColumnInt64(0))
		if tree.Size > 0 {
			tree.LoggedTime = time.UnixMicro(stmt.ColumnInt64(4)).UTC()
		}

		// The schema checks these lengths, but a connection may turn that off.
		root := columnBytes(stmt, 1)
		if len(root) != len(tree.Root) {
			return &attestlog.CorruptError{Where: "tree", Err: fmt.Errorf("root of %d bytes", len(root))}
		}
		tree.Root = attestlog.Hash(root)
		var err error
		tree.Peaks, err = merkle.SplitHashes(columnBytes(stmt, 2))
		if err == nil {
			tree.OpenTile, err = merkle.SplitHashes(columnBytes(stmt, 3))
		}
		if err != nil {
			return &attestlog.CorruptError{Where: "tree", Err: err}
		}
		return nil
	})
	if err == nil && !found {
		err = &attestlog.CorruptError{Where: "tree", Err: errors.New("the row is missing")}
	}
	return tree, err
}

// chunk is how many entries are read in one read transaction, so that a long
// scan does not keep the write-ahead log from beginning again.
const chunk = 2048

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

		// A chunk without entries is the end of the log, or a gap in it.
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

// scanChunk calls fn with the entries in [from, to) and their disclosures, of
// one snapshot, and returns how many there were.
func scanChunk(conn *sqlite.Conn, from, to uint64, fn func(*attestlog.RawEntry) error) (int, error) {
	c, err := scanRows(conn, from, to, fn)
	return c.found, err
}

// scannedRows are what scanRows went through.
type scannedRows struct {
	found       int   // entries
	rows        int64 // of entries, that begin in the range
	next        int64 // where the row after the last must begin
	after       int64 // where it does begin, or noRow
	disclosures disclosureRange
}

// noRow stands for the number of a row that is not there.
const noRow = math.MinInt64

// errEndOfRange ends a scan at the first row after its range.
var errEndOfRange = errors.New("end of range")

// scanRows is scanChunk. It goes on to the first row after the range, so that a
// verifier can tell whether the next range begins there.
func scanRows(
	conn *sqlite.Conn, from, to uint64, fn func(*attestlog.RawEntry) error,
) (scanned scannedRows, err error) {
	// The first row is the one that holds the entry from.
	stmt, err := prepare(conn, `SELECT idx, n, leaves FROM entries
		WHERE idx >= coalesce((SELECT max(idx) FROM entries WHERE idx <= ?1), ?1)
			AND idx < (SELECT size FROM tree)
		ORDER BY idx`)
	if err != nil {
		return scanned, err
	}
	stmt.BindInt64(1, int64(from))

	var entry attestlog.RawEntry
	var row leafrow.Row
	var disclosures *disclosureReader
	scanned.after = noRow
	scanned.disclosures.after = noRow
	err = rows(stmt, func() error {
		next := row.Next()
		row.First = uint64(stmt.ColumnInt64(0))
		if row.First < next {
			return &attestlog.CorruptError{Index: row.First, Where: "leaf", Err: errors.New("is in two rows")}
		}
		if row.First >= to {
			scanned.after = int64(row.First)
			return errEndOfRange
		}

		// As long as the first statement is open, both see the same snapshot.
		if disclosures == nil {
			disclosures, err = newDisclosureReader(conn, from, to)
			if err != nil {
				return err
			}
		}

		row.Count = stmt.ColumnInt(1)
		row.Leaves = readInto(stmt, 2, row.Leaves)
		if row.First >= from {
			scanned.rows++
		}
		scanned.next = int64(row.Next())
		return row.Each(from, to, func(index uint64, leaf []byte) error {
			scanned.found++
			entry.Index = index
			entry.Leaf = leaf
			entry.Disclosures, err = disclosures.of(index, entry.Disclosures[:0])
			if err != nil {
				return err
			}
			return fn(&entry)
		})
	})
	if errors.Is(err, errEndOfRange) {
		err = nil
	}

	if disclosures != nil {
		defer disclosures.close()
		if err == nil {
			err = disclosures.checkEnd()
		}
		scanned.disclosures = disclosures.read
	}
	return scanned, err
}

// A disclosureRange is what a disclosureReader went through.
type disclosureRange struct {
	rows  int64
	after int64 // the id of the first row after the range, or noRow
}

// A disclosureReader goes through the disclosures of a range in step with its
// entries.
type disclosureReader struct {
	stmt  *sqlite.Stmt
	to    int64 // the id at which the range ends
	read  disclosureRange
	more  bool   // the statement has a row of the range that was not returned
	id    int64  // of that row
	index uint64 // of the entry that it belongs to

	// Memory that is used again.
	values   []byte   // of the disclosures of one entry
	pointer  []byte   // of one disclosure
	pointers []string // that came before; most entries have the same few
}

func newDisclosureReader(conn *sqlite.Conn, from, to uint64) (*disclosureReader, error) {
	stmt, err := prepare(conn, "SELECT id, pointer, salt, value FROM disclosures WHERE id >= ? ORDER BY id")
	if err != nil {
		return nil, err
	}
	stmt.BindInt64(1, disclosureID(from))

	d := &disclosureReader{stmt: stmt, to: disclosureID(to), id: noRow, pointers: make([]string, 0, 8)}
	d.read.after = noRow
	if err := d.step(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *disclosureReader) close() { d.stmt.Reset() }

func (d *disclosureReader) step() error {
	more, err := d.stmt.Step()
	if err != nil {
		return &storeError{err}
	}
	d.more = false
	if !more {
		return nil
	}

	before := d.id
	d.id = d.stmt.ColumnInt64(0)
	d.index = uint64(d.id >> disclosureBits)
	if d.id <= before {
		return &attestlog.CorruptError{Index: d.index, Where: "disclosures", Err: errors.New("are out of order")}
	}
	if d.id >= d.to {
		d.read.after = d.id
		return nil
	}
	d.more = true
	d.read.rows++
	return nil
}

// of appends the disclosures of an entry to dst. Entries come in order. The
// bytes are valid until the next call.
func (d *disclosureReader) of(index uint64, dst []attestlog.Disclosure) ([]attestlog.Disclosure, error) {
	if d.more && d.index < index {
		return dst, errOrphan(d.index)
	}

	d.values = d.values[:0]
	for d.more && d.index == index {
		// Where Grow moves the values, those in dst keep the memory that they have.
		from, size := len(d.values), d.stmt.ColumnLen(3)
		d.values = slices.Grow(d.values, size)[:from+size]
		d.stmt.ColumnBytes(3, d.values[from:])
		out := attestlog.Disclosure{
			Pointer: d.readPointer(),
			Value:   d.values[from : from+size : from+size],
		}

		// A salt that is too long is cut off, and only its length tells.
		n := d.stmt.ColumnBytes(2, out.Salt[:])
		if n != len(out.Salt) || d.stmt.ColumnLen(2) != n {
			return dst, &attestlog.CorruptError{
				Index: index,
				Where: "disclosure " + out.Pointer,
				Err:   errors.New("salt is not 16 bytes"),
			}
		}

		dst = append(dst, out)
		if err := d.step(); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// readPointer returns the pointer of the row, without a new string if it came
// before.
func (d *disclosureReader) readPointer() string {
	d.pointer = readInto(d.stmt, 1, d.pointer)
	for _, p := range d.pointers {
		if string(d.pointer) == p {
			return p
		}
	}

	p := string(d.pointer)
	if len(d.pointers) < cap(d.pointers) {
		d.pointers = append(d.pointers, p)
	}
	return p
}

// checkEnd returns an error if there are disclosures after those of the last
// entry.
func (d *disclosureReader) checkEnd() error {
	if d.more {
		return errOrphan(d.index)
	}
	return nil
}

func errOrphan(index uint64) error {
	return &attestlog.CorruptError{
		Index: index,
		Where: "disclosures",
		Err:   errors.New("belong to an entry that is missing"),
	}
}

// Tile returns a full tile.
func (s *Store) Tile(ctx context.Context, level int, n uint64) (hashes []byte, err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) (err error) {
		hashes, err = readTile(conn, level, n)
		return err
	})
	return hashes, err
}

func readTile(conn *sqlite.Conn, level int, n uint64) ([]byte, error) {
	stmt, err := prepare(conn, "SELECT hashes FROM tiles WHERE id = ?")
	if err != nil {
		return nil, err
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
		stmt, err := prepare(conn, "SELECT size, note FROM checkpoints ORDER BY size")
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

func lookup(conn *sqlite.Conn, key attestlog.IDKey) (uint64, error) {
	stmt, err := prepare(conn, "SELECT idx FROM keys WHERE key = ?")
	if err != nil {
		return 0, err
	}
	stmt.BindBytes(1, key[:])

	index, found := uint64(0), false
	err = rows(stmt, func() error {
		index = uint64(stmt.ColumnInt64(0))
		found = true
		return nil
	})
	if err == nil && !found {
		err = attestlog.ErrNotFound
	}
	return index, err
}
