package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog"
)

// chunk is how many entries one query reads.
const chunk = 2048

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
	tree.Peaks, tree.Tail = splitHashes(peaks), splitHashes(tail)
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
func (s *Store) Scan(ctx context.Context, from, to uint64, fn func(*attestlog.Record) error) error {
	return s.scan(ctx, s.pool, from, to, fn)
}

func (s *Store) scan(ctx context.Context, db queryer, from, to uint64, fn func(*attestlog.Record) error) error {
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
func (s *Store) scanChunk(ctx context.Context, db queryer, from, to uint64, fn func(*attestlog.Record) error) (int, error) {
	// Sorting the disclosures in takes as long as all the rest, so a range that
	// has none, which the same snapshot tells, is read without.
	plain := s.sql(fmt.Sprintf(`SELECT idx, -1::smallint, NULL, NULL, leaf FROM @.entries_%d
		WHERE idx >= $1 AND idx < $2 AND NOT EXISTS (SELECT 1 FROM @.disclosures WHERE idx >= $1 AND idx < $2) ORDER BY idx`, from/partWidth))
	n, err := s.readRecords(ctx, db, plain, fn, int64(from), int64(to))
	if n > 0 || err != nil {
		return n, err
	}
	return s.records(ctx, db, from/partWidth, "idx >= $1 AND idx < $2", fn, int64(from), int64(to))
}

// records calls fn with the entries of a partition that a condition selects,
// in order. An entry's row comes before those of its disclosures.
func (s *Store) records(ctx context.Context, db queryer, part uint64, where string, fn func(*attestlog.Record) error, args ...any) (int, error) {
	sql := s.sql(fmt.Sprintf(`SELECT idx, -1::smallint AS place, NULL AS pointer, NULL AS salt, leaf AS value FROM @.entries_%d WHERE %s
		UNION ALL SELECT idx, place, pointer, salt, value FROM @.disclosures WHERE place >= 0 AND %[2]s ORDER BY idx, place`, part, where))
	return s.readRecords(ctx, db, sql, fn, args...)
}

func (s *Store) readRecords(ctx context.Context, db queryer, sql string, fn func(*attestlog.Record) error, args ...any) (int, error) {
	result, err := db.Query(ctx, sql, append([]any{pgx.QueryResultFormats{pgx.BinaryFormatCode}}, args...)...)
	if err != nil {
		return 0, s.unlessMissing(ctx, err)
	}
	defer result.Close()
	var r attestlog.Record
	n := 0
	for result.Next() {
		v := result.RawValues()
		index := binary.BigEndian.Uint64(v[0])
		if int16(binary.BigEndian.Uint16(v[1])) >= 0 {
			if err := addDisclosure(&r, n, index, v); err != nil {
				return n, err
			}
			continue
		}
		if n > 0 {
			if err := fn(&r); err != nil {
				return n, err
			}
		}
		n++
		r.Index, r.Leaf, r.Disclosures = index, append(r.Leaf[:0], v[4]...), r.Disclosures[:0]
	}
	if err := result.Err(); err != nil {
		return n, s.unlessMissing(ctx, err)
	}
	if n > 0 {
		return n, fn(&r)
	}
	return 0, nil
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

func addDisclosure(r *attestlog.Record, n int, index uint64, v [][]byte) error {
	if n == 0 || r.Index != index {
		return &attestlog.CorruptError{Index: index, Where: "disclosures", Err: errors.New("belong to an entry that is missing")}
	}
	d := attestlog.Disclosure{Pointer: string(v[2]), Value: bytes.Clone(v[4])}
	if copy(d.Salt[:], v[3]) != len(v[3]) || len(v[3]) != len(d.Salt) {
		return &attestlog.CorruptError{Index: index, Where: "disclosure " + d.Pointer, Err: errors.New("salt is not 16 bytes")}
	}
	r.Disclosures = append(r.Disclosures, d)
	return nil
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

// Keys calls fn with each key.
func (s *Store) Keys(ctx context.Context, fn func(key attestlog.Key, index uint64) error) error {
	result, err := s.pool.Query(ctx, s.sql("SELECT key, idx FROM @.keys"), pgx.QueryResultFormats{pgx.BinaryFormatCode})
	if err != nil {
		return s.clarify(ctx, err)
	}
	defer result.Close()
	for result.Next() {
		v := result.RawValues()
		if err := fn(attestlog.Key(v[0]), binary.BigEndian.Uint64(v[1])); err != nil {
			return err
		}
	}
	return s.clarify(ctx, result.Err())
}

// Lookup returns the index of a key.
func (s *Store) Lookup(ctx context.Context, key attestlog.Key) (uint64, error) {
	var index int64
	err := s.pool.QueryRow(ctx, s.sql("SELECT idx FROM @.keys WHERE key = $1"), [16]byte(key)).Scan(&index)
	if errors.Is(err, pgx.ErrNoRows) {
		err = attestlog.ErrNotFound
	}
	return uint64(index), s.clarify(ctx, err)
}
