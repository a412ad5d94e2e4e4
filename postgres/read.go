package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/leafrow"
	"github.com/attestlog/attestlog/internal/merkle"
)

// chunkEntries is how many entries one query reads. Until the server knows how a
// new table is ordered, it sorts them: in memory, unless they are large.
const chunkEntries = 4096

const selectTree = "SELECT size, root, peaks, tail || recent, logged_time FROM @.tree"

// Tree returns the stored tree.
func (s *Store) Tree(ctx context.Context) (attestlog.Tree, error) {
	tree, err := s.readTree(ctx, s.pool)
	if s.dropBroken(ctx, err) {
		tree, err = s.readTree(ctx, s.pool)
	}
	return tree, err
}

// dropBroken has all connections made anew if an error is that of one which was ended:
// then the others are likely to be ended too, and each would fail somebody. It reports
// whether it has.
func (s *Store) dropBroken(ctx context.Context, err error) bool {
	var pg *pgconn.PgError
	var corrupt *attestlog.CorruptError
	var connecting *pgconn.ConnectError
	switch {
	case err == nil, ctx.Err() != nil, s.closing.given(), errors.As(err, &corrupt), errors.As(err, &connecting):
		return false
	case errors.As(err, &pg) && pg.Code != "57P01" && pg.Code != "57P02": // shutting down, crashed
		return false
	}
	s.pool.Reset()
	return true
}

func (s *Store) readTree(ctx context.Context, db queryer) (attestlog.Tree, error) {
	tree, err := scanTree(db.QueryRow(ctx, s.sql(selectTree)))
	return tree, s.readError(ctx, err)
}

// scanTree reads a row of selectTree.
func scanTree(row pgx.Row) (attestlog.Tree, error) {
	var tree attestlog.Tree
	var size, logged int64
	var root, peaks, open []byte
	err := row.Scan(&size, &root, &peaks, &open, &logged)
	if errors.Is(err, pgx.ErrNoRows) {
		return tree, &attestlog.CorruptError{Where: "tree", Err: errors.New("the row is missing")}
	}
	if err != nil {
		return tree, err
	}

	tree.Size = uint64(size)
	if size > 0 {
		tree.LoggedTime = time.UnixMicro(logged).UTC()
	}

	// The schema checks these lengths, but its owner can drop a CHECK.
	if len(root) != len(tree.Root) {
		return tree, &attestlog.CorruptError{Where: "tree", Err: fmt.Errorf("root of %d bytes", len(root))}
	}
	tree.Root = attestlog.Hash(root)
	tree.Peaks, err = merkle.SplitHashes(peaks)
	if err == nil {
		tree.OpenTile, err = merkle.SplitHashes(open)
	}
	if err != nil {
		return tree, &attestlog.CorruptError{Where: "tree", Err: err}
	}
	return tree, nil
}

// Scan calls fn with each entry from ≤ index < to, in order. The bytes are
// valid only during the call.
func (s *Store) Scan(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	return s.scan(ctx, s.pool, from, to, fn)
}

func (s *Store) scan(ctx context.Context, db queryer, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	again := false
	for from < to {
		end := min(to, from+chunkEntries, (from/partitionWidth+1)*partitionWidth)
		n, err := s.scanChunk(ctx, db, from, end, fn)
		if err != nil {
			return err
		}
		if s.isReplica && uint64(n) != end-from {
			return errBehind
		}
		if n > 0 {
			again = false
			from = end
			continue
		}

		// No entry at all: the log ends here, or these are missing, unless they
		// were appended between the two queries.
		tree, err := s.readTree(ctx, db)
		if err != nil || from >= tree.Size {
			return err
		}
		if again {
			return &attestlog.CorruptError{Index: from, Where: "leaf", Err: errors.New("missing")}
		}
		again = true
	}
	return nil
}

// scanChunk reads entries of one partition together with their disclosures, in
// one snapshot. It returns how many there were.
func (s *Store) scanChunk(
	ctx context.Context, db queryer, from, to uint64, fn func(*attestlog.RawEntry) error,
) (int, error) {
	partition := from / partitionWidth
	wanted := func(index uint64) bool { return index >= from && index < to }

	// Sorting the disclosures in takes as long as all the rest, so a range that
	// has none, which the same snapshot tells, is read without.
	plain := s.sql(fmt.Sprintf(`SELECT idx, -1, n::int, NULL, NULL, leaves FROM @.entries_%d
		WHERE `+rowsOfRange+` AND NOT EXISTS (SELECT 1 FROM @.disclosures WHERE `+ofRange+`) ORDER BY idx`, partition))
	n, err := s.readEntries(ctx, db, plain, wanted, fn, int64(from), int64(to))
	if n > 0 || err != nil {
		return n, err
	}

	all := s.selectEntries(partition, rowsOfRange, ofRange)
	return s.readEntries(ctx, db, all, wanted, fn, int64(from), int64(to))
}

// Conditions by which entries are selected: those of a range, from $1 on and
// below $2, or of a list of indexes, $1.
//
// A row of the table entries holds up to 64 leaves (leafrow.MaxLeaves), so the row
// that an index is in may begin before it. Rows beyond the tree are not
// entries yet. %[1]d is the number of the partition.
const (
	ofRange     = "idx >= $1 AND idx < $2"
	rowsOfRange = "idx > $1 - 64 AND idx < $2 AND idx < (SELECT size FROM @.tree)"

	ofList     = "idx = ANY($1)"
	rowsOfList = `idx IN (SELECT first FROM (SELECT DISTINCT (SELECT e.idx FROM @.entries_%[1]d e
		WHERE e.idx <= i AND e.idx > i - 64 ORDER BY e.idx DESC LIMIT 1) AS first FROM unnest($1::bigint[]) i) f)`
)

// selectEntries returns the SQL that readEntries needs: rows of a partition,
// each followed by the disclosures of its entries.
func (s *Store) selectEntries(partition uint64, rows, disclosures string) string {
	return s.sql(fmt.Sprintf(`SELECT idx, -1 AS place, n::int AS n, NULL AS pointer, NULL AS salt, leaves AS value
			FROM @.entries_%[1]d WHERE `+rows+`
		UNION ALL SELECT idx, place, 0, pointer, salt, value
			FROM @.disclosures WHERE place >= 0 AND `+disclosures+`
		ORDER BY idx, place`, partition))
}

// readEntries calls fn with those entries of a query's rows that are wanted, in
// order, and returns how many there were. Its rows are index, place or -1 for
// leaves, number of leaves, pointer, salt, and leaves or a disclosure's value.
func (s *Store) readEntries(
	ctx context.Context, db queryer, sql string,
	wanted func(uint64) bool, fn func(*attestlog.RawEntry) error, args ...any,
) (int, error) {
	result, err := db.Query(ctx, sql, append([]any{pgx.QueryResultFormats{pgx.BinaryFormatCode}}, args...)...)
	if err != nil {
		return 0, s.unlessNoPartition(ctx, err)
	}
	defer result.Close()

	// The query orders by index and then by place, of which -1 comes first: a row's
	// leaves are there before the disclosures of its entries.
	a := assembler{wanted: wanted, fn: fn}
	for result.Next() {
		v := result.RawValues()
		index := binary.BigEndian.Uint64(v[0])
		place := int32(binary.BigEndian.Uint32(v[1]))
		if place < 0 {
			count := int32(binary.BigEndian.Uint32(v[2]))
			err = a.addRow(index, int(count), v[5])
		} else {
			err = a.addDisclosure(index, v[3], v[4], v[5])
		}
		if err != nil {
			return a.n, err
		}
	}
	err = result.Err()
	if err != nil {
		return a.n, s.unlessNoPartition(ctx, err)
	}
	return a.n, a.finishRow()
}

// unlessNoPartition is readError, except that a partition which is not there has
// no entries, which is no error.
func (s *Store) unlessNoPartition(ctx context.Context, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42P01" { // undefined_table
		return nil
	}
	return s.readError(ctx, err)
}

// An assembler puts entries together from rows of leaves and the disclosures
// that follow each.
type assembler struct {
	wanted func(uint64) bool
	fn     func(*attestlog.RawEntry) error
	n      int // entries that fn was called with

	// The current row.
	row    leafrow.Row
	leaves [][]byte
	bad    error // what is wrong with the row, once its leaves were given to fn
	next   int   // of leaves, to be given to fn

	entry attestlog.RawEntry // scratch: the next one
}

// addRow gives the rest of the current row to fn, and begins another.
func (a *assembler) addRow(first uint64, count int, leaves []byte) error {
	err := a.finishRow()
	if err != nil {
		return err
	}
	if first < a.row.Next() {
		return &attestlog.CorruptError{Index: first, Where: "leaf", Err: errors.New("is in two rows")}
	}

	a.row = leafrow.Row{First: first, Count: count, Leaves: append(a.row.Leaves[:0], leaves...)}
	a.leaves = a.leaves[:0]
	a.next = 0
	a.bad = a.row.Each(first, math.MaxUint64, func(_ uint64, leaf []byte) error {
		a.leaves = append(a.leaves, leaf)
		return nil
	})
	return nil
}

// finishRow gives the rest of the current row to fn.
func (a *assembler) finishRow() error {
	err := a.giveBefore(len(a.leaves))
	if err != nil {
		return err
	}
	return a.bad
}

// giveBefore gives the entries before the row's n-th to fn.
func (a *assembler) giveBefore(n int) error {
	for ; a.next < n; a.next++ {
		a.entry.Index = a.row.First + uint64(a.next)
		a.entry.Leaf = a.leaves[a.next]
		if a.wanted(a.entry.Index) {
			a.n++
			err := a.fn(&a.entry)
			if err != nil {
				return err
			}
		}
		a.entry.Disclosures = a.entry.Disclosures[:0]
	}
	return nil
}

// addDisclosure adds a disclosure to an entry of the current row.
func (a *assembler) addDisclosure(index uint64, pointer, salt, value []byte) error {
	offset := index - a.row.First
	inRow := index >= a.row.First && offset < uint64(len(a.leaves))
	if !inRow || offset < uint64(a.next) {
		err := a.finishRow()
		if err != nil {
			return err
		}
		err = errors.New("belong to an entry that is missing")
		return &attestlog.CorruptError{Index: index, Where: "disclosures", Err: err}
	}

	err := a.giveBefore(int(offset))
	if err != nil {
		return err
	}
	d := attestlog.Disclosure{Pointer: string(pointer), Value: bytes.Clone(value)}
	if len(salt) != len(d.Salt) {
		err := errors.New("salt is not 16 bytes")
		return &attestlog.CorruptError{Index: index, Where: "disclosure " + d.Pointer, Err: err}
	}
	copy(d.Salt[:], salt)
	a.entry.Disclosures = append(a.entry.Disclosures, d)
	return nil
}

// Tile returns a full tile's 8,192 bytes, or an error that matches
// attestlog.ErrNotFound.
func (s *Store) Tile(ctx context.Context, level int, n uint64) ([]byte, error) {
	return s.readTile(ctx, s.pool, level, n)
}

func (s *Store) readTile(ctx context.Context, db queryer, level int, n uint64) (hashes []byte, err error) {
	err = db.QueryRow(ctx, s.sql("SELECT hashes FROM @.tiles WHERE level = $1 AND n = $2"), level, int64(n)).
		Scan(&hashes)
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("tile %d/%d: %w", level, n, attestlog.ErrNotFound)
	}
	return hashes, s.readError(ctx, err)
}

// Checkpoints calls fn with each stored note, by size.
func (s *Store) Checkpoints(ctx context.Context, fn func(size uint64, note []byte) error) error {
	result, err := s.pool.Query(ctx, s.sql("SELECT size, note FROM @.checkpoints ORDER BY size"))
	if err != nil {
		return s.readError(ctx, err)
	}

	var size int64
	var note []byte
	var fnErr error
	_, err = pgx.ForEachRow(result, []any{&size, &note}, func() error {
		fnErr = fn(uint64(size), note)
		return fnErr
	})
	if fnErr != nil {
		return fnErr
	}
	return s.readError(ctx, err)
}

// Keys calls fn with each key, in any order. They are streamed by COPY, which
// costs half of what a query does.
func (s *Store) Keys(ctx context.Context, fn func(key attestlog.IDKey, index uint64) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return s.readError(ctx, err)
	}
	defer conn.Release()

	r := &keyReader{fn: fn}
	_, err = conn.Conn().PgConn().CopyTo(ctx, r, s.sql("COPY @.keys (key, idx) TO STDOUT (FORMAT binary)"))
	if r.fnErr != nil {
		return r.fnErr
	}
	return s.readError(ctx, err)
}

// Lookup returns the index of a key, or attestlog.ErrNotFound.
func (s *Store) Lookup(ctx context.Context, key attestlog.IDKey) (uint64, error) {
	var index int64
	err := s.pool.QueryRow(ctx, s.sql("SELECT idx FROM @.keys WHERE key = $1"), [16]byte(key)).Scan(&index)
	if errors.Is(err, pgx.ErrNoRows) {
		err = attestlog.ErrNotFound
	}
	return uint64(index), s.readError(ctx, err)
}
