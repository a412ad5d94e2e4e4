package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
)

// A rowCheck is an attestlog.RowCheck.
//
// SQLite keeps a table in a B-tree by number. In a file that was written without
// SQLite, the numbers may be out of order: going through the tree then passes other
// rows than a look-up finds, and parts of the tree may be passed by nobody who
// does not know where to look. Together, three things exclude that:
//
//   - The rows that Scan goes through ascend, and after those of a chunk comes the
//     first of the next.
//   - A look-up finds each of them.
//   - The table has no others: Tables counts all.
//
// A look-up of any other number then ends between the two rows that it
// belongs between.
type rowCheck struct {
	s      *Store
	size   uint64
	schema func() ([]string, error) // of a new database; safe for concurrent use

	entries, disclosures rowCount
}

// A rowCount is how many rows a table has for the entries of a rowCheck.
type rowCount struct {
	scanned atomic.Int64
	stored  int64 // set by Tables
}

// Rows begins a check of the rows that hold the first size entries.
func (s *Store) Rows(size uint64) attestlog.RowCheck {
	schema := sync.OnceValues(func() ([]string, error) { return newSchema(logSchema) })
	return &rowCheck{s: s, size: size, schema: schema}
}

// Scan calls fn with the entries in [from, to), and looks each row up.
func (c *rowCheck) Scan(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	want, err := c.schema()
	if err != nil {
		return err
	}

	for from < to {
		end := min(to, from+chunk)
		n := 0
		err := c.s.read(ctx, func(conn *sqlite.Conn) (err error) {
			done := sqlitex.Transaction(conn) // one snapshot for all of it
			defer done(&err)

			err = checkSchema(conn, want, from)
			if err != nil {
				return err
			}
			n, err = c.scanChunk(conn, from, end, fn)
			return err
		})
		if err != nil {
			return err
		}
		if uint64(n) < end-from {
			return nil // the caller notices
		}
		from = end
	}
	return nil
}

// scanChunk is Scan within a transaction of conn. It returns how many entries there
// were.
func (c *rowCheck) scanChunk(conn *sqlite.Conn, from, to uint64, fn func(*attestlog.RawEntry) error) (int, error) {
	scanned, err := scanRows(conn, from, to, fn)
	if err != nil {
		return 0, err
	}

	if scanned.after != noRow && scanned.after != scanned.next {
		return 0, &attestlog.CorruptError{
			Index: uint64(scanned.next),
			Where: "leaf",
			Err:   fmt.Errorf("missing: the next row begins at entry %d", scanned.after),
		}
	}
	after, err := firstDisclosure(conn, disclosureID(to))
	if err != nil {
		return 0, err
	}
	if after != scanned.disclosures.after && scanned.found > 0 {
		return 0, misplaced("disclosures", to, "those after entry %d are not where a look-up finds them", to-1)
	}

	for _, t := range []struct {
		table    string
		sql      string
		from, to int64
		rows     int64
		count    *rowCount
	}{
		{"entries", lookUpEntries, int64(from), int64(to), scanned.rows, &c.entries},
		{"disclosures", lookUpDisclosures, disclosureID(from), disclosureID(to), scanned.disclosures.rows, &c.disclosures},
	} {
		found, err := lookUp(conn, t.sql, t.from, t.to)
		if err != nil {
			return 0, err
		}
		if found != t.rows {
			return 0, misplaced(t.table, from, "of %d rows from here on, a look-up finds %d", t.rows, found)
		}
		t.count.scanned.Add(t.rows)
	}
	return scanned.found, nil
}

// Statements that go through the rows of a range, look each up, and count those that
// are found. They go downwards: a look-up of a row right after the one before it
// would not begin at the root of the tree. LIMIT keeps SQLite from choosing the
// order itself.
const (
	lookUpEntries = `SELECT count(found.idx)
		FROM (SELECT idx FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx DESC LIMIT -1) row
		LEFT JOIN entries found ON found.idx = row.idx`
	lookUpDisclosures = `SELECT count(found.id)
		FROM (SELECT id FROM disclosures WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT -1) row
		LEFT JOIN disclosures found ON found.id = row.id`
)

func lookUp(conn *sqlite.Conn, query string, from, to int64) (found int64, err error) {
	stmt, err := prepare(conn, query)
	if err != nil {
		return 0, err
	}
	stmt.BindInt64(1, from)
	stmt.BindInt64(2, to)

	err = rows(stmt, func() error {
		found = stmt.ColumnInt64(0)
		return nil
	})
	return found, err
}

// firstDisclosure returns the id of the first disclosure from one on, or noRow.
func firstDisclosure(conn *sqlite.Conn, from int64) (id int64, err error) {
	stmt, err := prepare(conn, "SELECT id FROM disclosures WHERE id >= ? ORDER BY id LIMIT 1")
	if err != nil {
		return 0, err
	}
	stmt.BindInt64(1, from)

	id = noRow
	err = rows(stmt, func() error {
		id = stmt.ColumnInt64(0)
		return nil
	})
	return id, err
}

func misplaced(where string, index uint64, format string, args ...any) error {
	return &attestlog.CorruptError{Index: index, Where: where, Err: fmt.Errorf(format, args...)}
}

// Tables counts the rows of the entries that are checked: all that there are, less
// those of later entries, in one snapshot. The keys are in order, which Keys checks,
// and so each is where a look-up finds it.
func (c *rowCheck) Tables(ctx context.Context) error {
	return c.s.read(ctx, func(conn *sqlite.Conn) (err error) {
		end := sqlitex.Transaction(conn)
		defer end(&err)

		tree, err := readTree(conn)
		if err != nil {
			return err
		}
		later, err := c.laterEntries(conn, tree.Size)
		if err != nil {
			return err
		}
		total, err := integer(conn, "SELECT count(*) FROM entries")
		if err != nil {
			return err
		}
		c.entries.stored = total - later

		later, err = c.laterDisclosures(conn)
		if err != nil {
			return err
		}
		total, err = integer(conn, "SELECT count(*) FROM disclosures")
		c.disclosures.stored = total - later
		return err
	})
}

// laterEntries counts the rows of the entries from c.size on, which were appended
// since. Each begins where the one before it ends.
func (c *rowCheck) laterEntries(conn *sqlite.Conn, size uint64) (n int64, err error) {
	stmt, err := prepare(conn, "SELECT idx, n FROM entries WHERE idx >= ? ORDER BY idx")
	if err != nil {
		return 0, err
	}
	stmt.BindInt64(1, int64(c.size))

	next := int64(c.size)
	err = rows(stmt, func() error {
		first := stmt.ColumnInt64(0)
		if first != next || next >= int64(size) {
			return misplaced("entries", min(uint64(next), size), "a row that belongs to no entry follows")
		}
		n++
		next += stmt.ColumnInt64(1)
		return nil
	})
	return n, err
}

// laterDisclosures counts the disclosures of the entries from c.size on.
func (c *rowCheck) laterDisclosures(conn *sqlite.Conn) (n int64, err error) {
	stmt, err := prepare(conn, "SELECT id FROM disclosures WHERE id >= ? ORDER BY id")
	if err != nil {
		return 0, err
	}
	stmt.BindInt64(1, disclosureID(c.size))

	last := disclosureID(c.size) - 1
	err = rows(stmt, func() error {
		id := stmt.ColumnInt64(0)
		if id <= last {
			return &attestlog.CorruptError{Index: c.size, Where: "disclosures", Err: errors.New("are out of order")}
		}
		n++
		last = id
		return nil
	})
	return n, err
}

// Compare compares the rows that Scan went through with those that Tables counted.
func (c *rowCheck) Compare() error {
	for _, t := range []struct {
		table string
		count *rowCount
	}{
		{"entries", &c.entries},
		{"disclosures", &c.disclosures},
	} {
		scanned := t.count.scanned.Load()
		if t.count.stored != scanned {
			return misplaced(t.table, c.size, "the table has %d rows for these entries, and going through it in order passes %d: "+
				"rows belong to no entry, or are missing", t.count.stored, scanned)
		}
	}
	return nil
}
