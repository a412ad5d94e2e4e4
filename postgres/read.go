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
)

// chunk is how many entries one query reads. Until the server knows how a new
// table is ordered, it sorts them: in memory, unless they are large.
const chunk = 4096

// Tree returns the stored tree.
func (s *Store) Tree(ctx context.Context) (attestlog.Tree, error) {
	return s.readTree(ctx, s.pool)
}

func (s *Store) readTree(ctx context.Context, db queryer) (attestlog.Tree, error) {
	tree, err := scanTree(db.QueryRow(ctx, s.sql("SELECT size, root, peaks, tail, logged_time FROM @.tree")))
	return tree, s.clarify(ctx, err)
}

// scanTree reads a row of tree.
func scanTree(row pgx.Row) (attestlog.Tree, error) {
	var tree attestlog.Tree
	var size, logged int64
	var root, peaks, tail []byte
	err := row.Scan(&size, &root, &peaks, &tail, &logged)
	if errors.Is(err, pgx.ErrNoRows) {
		return tree, &attestlog.CorruptError{Where: "tree", Err: errors.New("the row is missing")}
	}
	if err != nil {
		return tree, err
	}
	if len(root) != len(tree.Root) {
		return tree, &attestlog.CorruptError{Where: "tree", Err: fmt.Errorf("root of %d bytes", len(root))}
	}
	tree.Size, tree.Root = uint64(size), attestlog.Hash(root)
	tree.Peaks, tree.OpenTile = splitHashes(peaks), splitHashes(tail)
	if size > 0 {
		tree.LoggedTime = time.UnixMicro(logged).UTC()
	}
	return tree, nil
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
	return s.scan(ctx, s.pool, from, to, fn)
}

func (s *Store) scan(ctx context.Context, db queryer, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	again := false
	for from < to {
		end := min(to, from+chunk, (from/partWidth+1)*partWidth)
		n, err := s.scanChunk(ctx, db, from, end, fn)
		if err != nil {
			return err
		}
		if s.isReplica && uint64(n) != end-from {
			return errBehind
		}
		if n == 0 {
			tree, err := s.readTree(ctx, db)
			if err != nil || from >= tree.Size {
				return err
			}
			if again {
				return &attestlog.CorruptError{Index: from, Where: "leaf", Err: errors.New("missing")}
			}
			again = true // they may have been appended since
			continue
		}
		again = false
		from = end
	}
	return nil
}

// scanChunk reads entries of one partition together with their disclosures, in
// one snapshot. It returns how many there were.
func (s *Store) scanChunk(ctx context.Context, db queryer, from, to uint64, fn func(*attestlog.RawEntry) error) (int, error) {
	inside := func(index uint64) bool { return index >= from && index < to }
	// Sorting the disclosures in takes as long as all the rest, so a range that
	// has none, which the same snapshot tells, is read without.
	plain := s.sql(fmt.Sprintf(`SELECT idx, -1, n::int, NULL, NULL, leaves FROM @.entries_%d
		WHERE `+rowsOfRange+` AND NOT EXISTS (SELECT 1 FROM @.disclosures WHERE idx >= $1 AND idx < $2) ORDER BY idx`, from/partWidth))
	n, err := s.readRecords(ctx, db, plain, inside, fn, int64(from), int64(to))
	if n > 0 || err != nil {
		return n, err
	}
	return s.records(ctx, db, from/partWidth, rowsOfRange, "idx >= $1 AND idx < $2", inside, fn, int64(from), int64(to))
}

// The rows of entries that hold those of a range, or of a list of indexes; %[1]d
// is the partition. A row holds 64 leaves at most: leafrow.Most. Rows beyond the
// tree are no entries yet.
const (
	rowsOfRange = "idx > $1 - 64 AND idx < $2 AND idx < (SELECT size FROM @.tree)"
	rowsOfList  = `idx IN (SELECT first FROM (SELECT DISTINCT (SELECT e.idx FROM @.entries_%[1]d e
		WHERE e.idx <= i AND e.idx > i - 64 ORDER BY e.idx DESC LIMIT 1) AS first FROM unnest($1::bigint[]) i) f)`
)

// records calls fn with those entries of a partition that are wanted, in order.
// rows selects the rows that hold them, and disclosed their disclosures.
func (s *Store) records(ctx context.Context, db queryer, part uint64, rows, disclosed string, wanted func(uint64) bool, fn func(*attestlog.RawEntry) error, args ...any) (int, error) {
	// An entry's row comes before the disclosures of its entries.
	sql := s.sql(fmt.Sprintf(`SELECT idx, -1 AS place, n::int AS n, NULL AS pointer, NULL AS salt, leaves AS value FROM @.entries_%[1]d WHERE `+rows+`
		UNION ALL SELECT idx, place, 0, pointer, salt, value FROM @.disclosures WHERE place >= 0 AND `+disclosed+` ORDER BY idx, place`, part))
	return s.readRecords(ctx, db, sql, wanted, fn, args...)
}

func (s *Store) readRecords(ctx context.Context, db queryer, sql string, wanted func(uint64) bool, fn func(*attestlog.RawEntry) error, args ...any) (int, error) {
	result, err := db.Query(ctx, sql, append([]any{pgx.QueryResultFormats{pgx.BinaryFormatCode}}, args...)...)
	if err != nil {
		return 0, s.unlessMissing(ctx, err)
	}
	defer result.Close()
	a := assembler{wanted: wanted, fn: fn}
	for result.Next() {
		v := result.RawValues()
		index, place := binary.BigEndian.Uint64(v[0]), int32(binary.BigEndian.Uint32(v[1]))
		if place < 0 {
			err = a.row(index, int(int32(binary.BigEndian.Uint32(v[2]))), v[5])
		} else {
			err = a.disclosure(index, v)
		}
		if err != nil {
			return a.n, err
		}
	}
	if err := result.Err(); err != nil {
		return a.n, s.unlessMissing(ctx, err)
	}
	return a.n, a.finish()
}

// An assembler makes records of rows of entries and the disclosures that follow
// each.
type assembler struct {
	wanted func(uint64) bool
	fn     func(*attestlog.RawEntry) error
	n      int // records that were given

	held   leafrow.Row
	leaves [][]byte // of held
	bad    error    // with held, once its leaves were given
	next   int      // of leaves
	r      attestlog.RawEntry
}

// row begins a row.
func (a *assembler) row(first uint64, count int, leaves []byte) error {
	if err := a.finish(); err != nil {
		return err
	}
	if first < a.held.Next() {
		return &attestlog.CorruptError{Index: first, Where: "leaf", Err: errors.New("stands in two rows")}
	}
	a.held = leafrow.Row{First: first, Count: count, Leaves: append(a.held.Leaves[:0], leaves...)}
	a.leaves, a.next = a.leaves[:0], 0
	a.bad = a.held.Each(first, math.MaxUint64, func(_ uint64, leaf []byte) error {
		a.leaves = append(a.leaves, leaf)
		return nil
	})
	return nil
}

// finish gives the records that are left of the row.
func (a *assembler) finish() error {
	if err := a.give(len(a.leaves)); err != nil {
		return err
	}
	return a.bad
}

// give gives the records before the row's n-th.
func (a *assembler) give(n int) error {
	for ; a.next < n; a.next++ {
		a.r.Index, a.r.Leaf = a.held.First+uint64(a.next), a.leaves[a.next]
		if a.wanted(a.r.Index) {
			a.n++
			if err := a.fn(&a.r); err != nil {
				return err
			}
		}
		a.r.Disclosures = a.r.Disclosures[:0]
	}
	return nil
}

func (a *assembler) disclosure(index uint64, v [][]byte) error {
	place := index - a.held.First
	if index < a.held.First || place >= uint64(len(a.leaves)) || place < uint64(a.next) {
		if err := a.finish(); err != nil {
			return err
		}
		return &attestlog.CorruptError{Index: index, Where: "disclosures", Err: errors.New("belong to an entry that is missing")}
	}
	if err := a.give(int(place)); err != nil {
		return err
	}
	d := attestlog.Disclosure{Pointer: string(v[3]), Value: bytes.Clone(v[5])}
	if copy(d.Salt[:], v[4]) != len(v[4]) || len(v[4]) != len(d.Salt) {
		return &attestlog.CorruptError{Index: index, Where: "disclosure " + d.Pointer, Err: errors.New("salt is not 16 bytes")}
	}
	a.r.Disclosures = append(a.r.Disclosures, d)
	return nil
}

// unlessMissing clarifies an error, but for that of a partition which is not
// there: nor are its entries.
func (s *Store) unlessMissing(ctx context.Context, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42P01" {
		return nil
	}
	return s.clarify(ctx, err)
}

// Tile returns a full tile.
func (s *Store) Tile(ctx context.Context, level int, n uint64) ([]byte, error) {
	return s.readTile(ctx, s.pool, level, n)
}

func (s *Store) readTile(ctx context.Context, db queryer, level int, n uint64) (hashes []byte, err error) {
	err = db.QueryRow(ctx, s.sql("SELECT hashes FROM @.tiles WHERE level = $1 AND n = $2"), level, int64(n)).Scan(&hashes)
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("tile %d/%d: %w", level, n, attestlog.ErrNotFound)
	}
	return hashes, s.clarify(ctx, err)
}

// Checkpoints calls fn with each stored note, by size.
func (s *Store) Checkpoints(ctx context.Context, fn func(size uint64, note []byte) error) error {
	result, err := s.pool.Query(ctx, s.sql("SELECT size, note FROM @.checkpoints ORDER BY size"))
	if err != nil {
		return s.clarify(ctx, err)
	}
	var size int64
	var note []byte
	var own error
	_, err = pgx.ForEachRow(result, []any{&size, &note}, func() error {
		own = fn(uint64(size), note)
		return own
	})
	if own != nil {
		return own
	}
	return s.clarify(ctx, err)
}

// Keys calls fn with each key. They are streamed by COPY, which costs half of what
// a query does.
func (s *Store) Keys(ctx context.Context, fn func(key attestlog.IDKey, index uint64) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return s.clarify(ctx, err)
	}
	defer conn.Release()
	w := &keyStream{fn: fn}
	_, err = conn.Conn().PgConn().CopyTo(ctx, w, s.sql("COPY @.keys (key, idx) TO STDOUT (FORMAT binary)"))
	if w.err != nil {
		return w.err
	}
	return s.clarify(ctx, err)
}

// A keyStream reads what COPY … BINARY writes (PostgreSQL manual, COPY, Binary
// Format): a header of 19 bytes, and for each row the number of its fields and
// each field behind its length.
type keyStream struct {
	fn    func(key attestlog.IDKey, index uint64) error
	began bool
	held  []byte
	err   error // of fn
}

func (w *keyStream) Write(p []byte) (int, error) {
	const header, row = 19, 2 + 4 + 16 + 4 + 8
	data := p
	if len(w.held) > 0 {
		w.held = append(w.held, p...)
		data = w.held
	}
	if !w.began && len(data) >= header {
		data, w.began = data[header:], true
	}
	for w.began && len(data) >= row {
		if w.err = w.fn(attestlog.IDKey(data[6:22]), binary.BigEndian.Uint64(data[26:34])); w.err != nil {
			return 0, w.err
		}
		data = data[row:]
	}
	w.held = append(w.held[:0], data...)
	return len(p), nil
}

// Lookup returns the index of a key.
func (s *Store) Lookup(ctx context.Context, key attestlog.IDKey) (uint64, error) {
	var index int64
	err := s.pool.QueryRow(ctx, s.sql("SELECT idx FROM @.keys WHERE key = $1"), [16]byte(key)).Scan(&index)
	if errors.Is(err, pgx.ErrNoRows) {
		err = attestlog.ErrNotFound
	}
	return uint64(index), s.clarify(ctx, err)
}
