package postgres

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
)

// A rowCheck is an attestlog.RowCheck.
//
// A row that a scan of its table shows may be missing from the index of the primary
// key, by which answers find it, or the index may lead to another. So Scan reads
// each row by its key, Tables looks each key of an entry up, and counts the rows by
// scanning. All of it happens in snapshots in which the names of the tables were
// checked to be those of what was installed.
type rowCheck struct {
	s    *Store
	size uint64

	entries, disclosures rowCount
}

// A rowCount is how many rows a table has for the entries of a rowCheck.
type rowCount struct {
	found  atomic.Int64 // by their keys
	stored int64        // set by Tables
}

// Rows begins a check of the rows that hold the first size entries.
func (s *Store) Rows(size uint64) attestlog.RowCheck { return &rowCheck{s: s, size: size} }

// Scan calls fn with the entries from ≤ index < to, each of which it fetches by its
// key. A call is one snapshot for each partition.
func (c *rowCheck) Scan(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	for from < to {
		partition := from / partitionWidth
		end := min(to, (partition+1)*partitionWidth)
		name := partitionTable(partition)

		err := c.s.lockedSnapshot(ctx, []string{name}, func(tx pgx.Tx) error {
			err := c.s.checkTables(ctx, tx, c.size, namesFor([]string{name}))
			if err != nil {
				return err
			}
			err = set(ctx, tx, bySeeking)
			if err != nil {
				return err
			}
			err = c.countRange(ctx, tx, name, from, end)
			if err != nil {
				return err
			}
			return c.s.scan(ctx, tx, from, end, fn)
		})
		if err != nil {
			return err
		}
		from = end
	}
	return nil
}

// countRange counts the rows of a range that are found by their keys.
func (c *rowCheck) countRange(ctx context.Context, tx pgx.Tx, partition string, from, to uint64) error {
	for _, t := range []struct {
		table, sql string
		count      *rowCount
	}{
		{"entries", `SELECT count(*), count(f.idx) FROM @.` + partition + ` r
			LEFT JOIN LATERAL (SELECT idx, n FROM @.` + partition + ` WHERE idx = r.idx LIMIT 1) f ON f.idx = r.idx AND f.n = r.n
			WHERE r.idx >= $1 AND r.idx < $2`, &c.entries},
		{"disclosures", `SELECT count(*), count(f.idx) FROM @.disclosures r
			LEFT JOIN LATERAL (SELECT idx, place FROM @.disclosures WHERE idx = r.idx AND place = r.place LIMIT 1) f
				ON f.idx = r.idx AND f.place = r.place
			WHERE r.idx >= $1 AND r.idx < $2`, &c.disclosures},
	} {
		var rows, found int64
		err := tx.QueryRow(ctx, c.s.sql(t.sql), int64(from), int64(to)).Scan(&rows, &found)
		if err != nil {
			return err
		}
		if found != rows {
			return misplaced(t.table, from, "of %d rows from here on, a look-up finds %d", rows, found)
		}
		t.count.found.Add(rows)
	}
	return nil
}

func misplaced(where string, index uint64, format string, args ...any) error {
	return &attestlog.CorruptError{Index: index, Where: where, Err: fmt.Errorf(format, args...)}
}

// Tables looks each key of an entry up, and counts the rows of the tables without their
// indexes, in one snapshot.
func (c *rowCheck) Tables(ctx context.Context) error {
	return c.s.lockedSnapshot(ctx, nil, func(tx pgx.Tx) error {
		tree, err := c.s.readTree(ctx, tx)
		if err != nil {
			return err
		}
		err = c.s.checkSchema(ctx, tx, tree.Size)
		if err != nil {
			return err
		}

		var stored, found int64
		err = c.countAll(ctx, tx, &stored)
		if err != nil {
			return err
		}
		err = set(ctx, tx, bySeeking)
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, c.s.sql(`SELECT count(f.idx) FROM @.keys k
			LEFT JOIN LATERAL (SELECT key, idx FROM @.keys WHERE key = k.key LIMIT 1) f ON f.key = k.key AND f.idx = k.idx`)).
			Scan(&found)
		if err != nil {
			return err
		}
		if found != stored {
			return misplaced("key", c.size, "of %d keys, a look-up finds %d: "+
				"keep a copy as evidence, and REINDEX TABLE %s.keys builds the index again", stored, found, c.s.schema)
		}
		return nil
	})
}

// countAll counts the rows of the entries that are checked by scanning, and all keys.
func (c *rowCheck) countAll(ctx context.Context, tx pgx.Tx, keys *int64) error {
	err := set(ctx, tx, byScanning)
	if err != nil {
		return err
	}

	return tx.QueryRow(ctx, c.s.sql(`SELECT
		(SELECT count(*) FROM @.entries WHERE idx < $1),
		(SELECT count(*) FROM @.disclosures WHERE idx < $1),
		(SELECT count(*) FROM @.keys)`), int64(c.size)).
		Scan(&c.entries.stored, &c.disclosures.stored, keys)
}

// Compare compares the rows that were found by their keys with those that Tables
// counted.
func (c *rowCheck) Compare() error {
	for _, t := range []struct {
		table string
		count *rowCount
	}{
		{"entries", &c.entries},
		{"disclosures", &c.disclosures},
	} {
		found := t.count.found.Load()
		if t.count.stored != found {
			return misplaced(t.table, c.size, "the table has %d rows for these entries, and %d are found by their keys: "+
				"rows belong to no entry, or the index of the primary key lacks them", t.count.stored, found)
		}
	}
	return nil
}
