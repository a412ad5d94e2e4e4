package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/leafrow"
)

// tileLevel is what a tile's id counts levels in.
const tileLevel = 1 << 52

// disclosureID is the id of an entry's first disclosure.
func disclosureID(index uint64) int64 { return int64(index) << 11 }

func tileID(level int, n uint64) int64 { return int64(level)*tileLevel + int64(n) }

// Write runs fn in an immediate transaction. It waits while the search index
// is more than 20,000 entries behind, and while another process writes.
func (s *Store) Write(ctx context.Context, fn func(attestlog.Tx) error) error {
	if s.writer == nil {
		return fmt.Errorf("sqlite: %w: it was opened for reading", attestlog.ErrReadOnly)
	}
	if f := s.index.filler; f != nil {
		if err := f.Backlog.WaitForRoom(ctx); err != nil {
			return unavailable(err)
		}
	}
	select {
	case <-s.writing:
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
	defer func() { s.writing <- struct{}{} }()
	s.writer.SetInterrupt(ctx.Done())
	defer s.writer.SetInterrupt(nil)

	s.wal.before(s.writer)
	t := &tx{conn: s.writer}
	fnErr, err := t.run(fn)
	if errors.Is(fnErr, errTaken) {
		t = &tx{conn: s.writer, single: true}
		fnErr, err = t.run(fn)
	}
	var raw *storeError
	switch {
	case errors.As(fnErr, &raw):
		return unavailable(fnErr)
	case fnErr != nil:
		return fnErr
	case err != nil:
		return unavailable(err)
	}
	if t.batch != nil {
		s.wal.after(t.batch)
		if s.index.filler != nil {
			s.index.filler.Offer(t.batch)
		}
	}
	return nil
}

// run runs fn in a transaction. fnErr is fn's own error.
func (t *tx) run(fn func(attestlog.Tx) error) (fnErr, err error) {
	end, err := sqlitex.ImmediateTransaction(t.conn)
	if err != nil {
		return nil, err
	}
	defer func() { end(&err) }()
	if fnErr = fn(t); fnErr != nil {
		err = fnErr
	}
	return fnErr, err
}

// storeError marks SQLite's own errors, so that they are told from fn's.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

func unavailable(err error) error {
	return fmt.Errorf("sqlite: %w: %w", attestlog.ErrUnavailable, err)
}

// tx is an open write transaction.
type tx struct {
	conn   *sqlite.Conn
	batch  *attestlog.Batch // what Put was given
	single bool             // put keys one by one: some are in the log already
}

// group is how many keys one statement inserts, which saves most of what a
// statement costs beside its rows. Entries do not gain: for the sake of their
// trigger SQLite puts the rows of one statement into a temporary table first.
const group = 16

var (
	// errTaken ends a transaction that met a key which is in the log already,
	// among keys that were inserted together. It is then run again.
	errTaken = errors.New("a key is taken")

	insertKeys = "INSERT OR IGNORE INTO keys (key, idx) VALUES (?, ?)"
	moreRows   = strings.Repeat(", (?, ?)", group-1)
)

func (t *tx) Tree() (attestlog.Tree, error) { return readTree(t.conn) }

// PutKeys inserts the keys in turn; those that conflict are duplicates.
func (t *tx) PutKeys(keys []attestlog.IDKey) ([]attestlog.Duplicate, error) {
	tree, err := t.Tree()
	if err != nil {
		return nil, err
	}
	next := tree.Size
	if !t.single {
		for len(keys) >= group {
			if err := t.putGroup(keys[:group], next); err != nil {
				return nil, err
			}
			keys, next = keys[group:], next+group
		}
	}
	done := int(next - tree.Size)
	insert, err := t.conn.Prepare(insertKeys)
	if err != nil {
		return nil, &storeError{err}
	}
	var dups []attestlog.Duplicate
	for i := range keys {
		insert.BindBytes(1, keys[i][:])
		insert.BindInt64(2, int64(next))
		if err := exec(insert); err != nil {
			return nil, err
		}
		if t.conn.Changes() == 1 {
			next++
			continue
		}
		index, err := lookup(t.conn, keys[i])
		if err != nil {
			return nil, err
		}
		dups = append(dups, attestlog.Duplicate{Position: done + i, Index: index})
	}
	return dups, nil
}

// putGroup inserts keys that are all new, or returns errTaken.
func (t *tx) putGroup(keys []attestlog.IDKey, next uint64) error {
	insert, err := t.conn.Prepare(insertKeys + moreRows)
	if err != nil {
		return &storeError{err}
	}
	for i := range keys {
		insert.BindBytes(2*i+1, keys[i][:])
		insert.BindInt64(2*i+2, int64(next)+int64(i))
	}
	if err := exec(insert); err != nil {
		return err
	}
	if t.conn.Changes() != len(keys) {
		return errTaken
	}
	return nil
}

// exec steps a statement that returns no rows, and resets it.
func exec(stmt *sqlite.Stmt) error {
	_, err := stmt.Step()
	if resetErr := stmt.Reset(); err == nil {
		err = resetErr
	}
	if err != nil {
		return &storeError{err}
	}
	return nil
}

func (t *tx) Entry(index uint64) (attestlog.RawEntry, error) {
	var out attestlog.RawEntry
	found := false
	_, err := scanChunk(t.conn, index, index+1, func(r *attestlog.RawEntry) error {
		found = true
		out = r.Clone()
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("entry %d: %w", index, attestlog.ErrNotFound)
	}
	return out, err
}

func (t *tx) Scan(from, to uint64, fn func(*attestlog.RawEntry) error) error {
	_, err := scanChunk(t.conn, from, to, fn)
	return err
}

func (t *tx) Tile(level int, n uint64) ([]byte, error) { return readTile(t.conn, level, n) }

// Put inserts the batch's rows and moves the tree row on.
func (t *tx) Put(b *attestlog.Batch) error {
	if err := t.putRecords(b.Entries); err != nil {
		return err
	}
	for i := range b.Tiles {
		tile := &b.Tiles[i]
		stmt, err := t.conn.Prepare("INSERT INTO tiles (id, hashes) VALUES (?, ?)")
		if err != nil {
			return &storeError{err}
		}
		stmt.BindInt64(1, tileID(tile.Level, tile.N))
		stmt.BindBytes(2, tile.Hashes)
		if err := exec(stmt); err != nil {
			return err
		}
	}
	stmt, err := t.conn.Prepare("UPDATE tree SET size = ?, root = ?, peaks = ?, tail = ?, logged_time = ? WHERE one = 1")
	if err != nil {
		return &storeError{err}
	}
	stmt.BindInt64(1, int64(b.Tree.Size))
	stmt.BindBytes(2, b.Tree.Root[:])
	stmt.BindBytes(3, joinHashes(b.Tree.Peaks))
	stmt.BindBytes(4, joinHashes(b.Tree.OpenTile))
	stmt.BindInt64(5, b.Tree.LoggedTime.UnixMicro())
	if err := exec(stmt); err != nil {
		return err
	}
	t.batch = b
	return nil
}

func (t *tx) putRecords(records []attestlog.RawEntry) error {
	for i := range records {
		if err := t.putDisclosures(&records[i]); err != nil {
			return err
		}
	}
	insert, err := t.conn.Prepare("INSERT OR ROLLBACK INTO entries (idx, n, leaves) VALUES (?, ?, ?)")
	if err != nil {
		return &storeError{err}
	}
	return leafrow.Pack(records, func(r leafrow.Row) error {
		insert.BindInt64(1, int64(r.First))
		insert.BindInt64(2, int64(r.Count))
		insert.BindBytes(3, r.Leaves)
		return exec(insert)
	})
}

func (t *tx) putDisclosures(r *attestlog.RawEntry) error {
	if len(r.Disclosures) == 0 {
		return nil
	}
	stmt, err := t.conn.Prepare("INSERT OR ROLLBACK INTO disclosures (id, pointer, salt, value) VALUES (?, ?, ?, ?)")
	if err != nil {
		return &storeError{err}
	}
	for k := range r.Disclosures {
		d := &r.Disclosures[k]
		stmt.BindInt64(1, disclosureID(r.Index)+int64(k))
		stmt.BindText(2, d.Pointer)
		stmt.BindBytes(3, d.Salt[:])
		stmt.BindBytes(4, d.Value)
		if err := exec(stmt); err != nil {
			return err
		}
	}
	return nil
}

// PutCheckpoint stores a note, unless a newer one is there.
func (t *tx) PutCheckpoint(size uint64, at time.Time, note []byte) error {
	stmt, err := t.conn.Prepare(`INSERT INTO checkpoints (size, time, note)
		SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM checkpoints WHERE size >= ?1)`)
	if err != nil {
		return &storeError{err}
	}
	stmt.BindInt64(1, int64(size))
	stmt.BindInt64(2, at.UnixMicro())
	stmt.BindBytes(3, note)
	return exec(stmt)
}

func joinHashes(hashes []attestlog.Hash) []byte {
	out := make([]byte, 0, len(hashes)*len(attestlog.Hash{}))
	for i := range hashes {
		out = append(out, hashes[i][:]...)
	}
	return out
}
