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
	"github.com/attestlog/attestlog/internal/merkle"
)

// A writer is the one connection that writes to the log's database. Its methods
// are safe for concurrent use.
type writer struct {
	turn chan struct{} // holds a token while nobody owns conn
	conn *sqlite.Conn  // owned by the goroutine that took the token; nil: closed
}

func openWriter(ctx context.Context, path string) (*writer, error) {
	conn, err := sqlite.OpenConn(fileURI(path, ""), sqlite.OpenReadWrite|sqlite.OpenURI)
	if err != nil {
		return nil, clarify(err)
	}

	conn.SetInterrupt(ctx.Done())
	err = setUpWriter(conn)
	conn.SetInterrupt(nil)
	if err != nil {
		conn.Close()
		return nil, clarify(err)
	}

	w := &writer{turn: make(chan struct{}, 1), conn: conn}
	w.turn <- struct{}{}
	return w, nil
}

func setUpWriter(conn *sqlite.Conn) error {
	if err := migrate(conn, logSchema); err != nil {
		return err
	}
	return pragmas(conn,
		"PRAGMA journal_mode = WAL",
		"PRAGMA synchronous = FULL",
		"PRAGMA wal_autocheckpoint = 0", // the checkpointer does it
		"PRAGMA cache_size = -8192",
		"PRAGMA trusted_schema = OFF",
	)
}

// use waits for the connection and runs fn, which owns it until it returns. The
// end of ctx interrupts fn's statements. Apart from fn's error, use returns
// errors that match attestlog.ErrUnavailable.
func (w *writer) use(ctx context.Context, fn func(*sqlite.Conn) error) error {
	select {
	case <-w.turn:
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
	defer func() { w.turn <- struct{}{} }()

	if w.conn == nil {
		return unavailable(attestlog.ErrClosed)
	}
	w.conn.SetInterrupt(ctx.Done())
	defer w.conn.SetInterrupt(nil)
	return fn(w.conn)
}

// close waits for the connection and closes it.
func (w *writer) close() error {
	<-w.turn
	defer func() { w.turn <- struct{}{} }()

	err := closeWriter(w.conn)
	w.conn = nil
	return err
}

// closeWriter closes a connection that writes. An interrupt that came after the
// statement that it was meant for would keep SQLite from emptying the
// write-ahead log, so another statement clears it first.
func closeWriter(conn *sqlite.Conn) error {
	_, err := integer(conn, "SELECT 1")
	return errors.Join(err, conn.Close())
}

// errReadOnly returns the error of a Store without a writer.
func errReadOnly() error {
	return fmt.Errorf("sqlite: %w: it was opened for reading", attestlog.ErrReadOnly)
}

func unavailable(err error) error {
	return fmt.Errorf("sqlite: %w: %w", attestlog.ErrUnavailable, err)
}

// Write runs fn in an immediate transaction. It waits while more than 20,000
// entries are not in the search index, and while another process writes.
func (s *Store) Write(ctx context.Context, fn func(attestlog.Tx) error) error {
	if s.writer == nil {
		return errReadOnly()
	}
	if f := s.index.filler; f != nil {
		if err := f.Unindexed.Wait(ctx); err != nil {
			return unavailable(err)
		}
	}

	return s.writer.use(ctx, func(conn *sqlite.Conn) error {
		s.wal.beforeWrite(conn)
		t := &tx{conn: conn}
		fnErr, err := t.run(fn)
		if errors.Is(fnErr, errTaken) { // what it did was rolled back
			t = &tx{conn: conn, oneByOne: true}
			fnErr, err = t.run(fn)
		}

		// An error of fn is returned as it is, unless it is one of SQLite's that a
		// method of t returned to fn.
		var storeErr *storeError
		switch {
		case errors.As(fnErr, &storeErr):
			return unavailable(fnErr)
		case fnErr != nil:
			return fnErr
		case err != nil:
			return unavailable(err)
		}

		// No other Write of this process commits before use returns, so the filler
		// gets the batches in order.
		if t.batch != nil {
			s.wal.afterCommit(t.batch)
			if s.index.filler != nil {
				s.index.filler.Committed(t.batch)
			}
		}
		return nil
	})
}

// A tx is an open write transaction.
type tx struct {
	conn     *sqlite.Conn
	oneByOne bool             // PutKeys inserts single keys: some are taken
	batch    *attestlog.Batch // what Put was given; nil: it was not called
}

// run runs fn in a transaction. fnErr is fn's own error, and err that of the
// transaction.
func (t *tx) run(fn func(attestlog.Tx) error) (fnErr, err error) {
	end, err := sqlitex.ImmediateTransaction(t.conn)
	if err != nil {
		return nil, err
	}
	defer end(&err)

	fnErr = fn(t)
	if fnErr != nil {
		err = fnErr // rolls back
	}
	return fnErr, err
}

func (t *tx) Tree() (attestlog.Tree, error) { return readTree(t.conn) }

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

// keysTogether is how many keys one statement inserts, which saves most of what
// a statement costs apart from its rows. Entries would not gain: for the sake of
// their trigger SQLite would first put the rows of one statement into a
// temporary table.
const keysTogether = 16

var (
	insertKey  = "INSERT OR IGNORE INTO keys (key, idx) VALUES (?, ?)"
	insertKeys = insertKey + strings.Repeat(", (?, ?)", keysTogether-1)
)

// errTaken ends a transaction in which a key that is taken was inserted together
// with others. The transaction is then run again, one by one.
var errTaken = errors.New("a key is taken")

// PutKeys inserts the keys in turn; those that are there are duplicates.
func (t *tx) PutKeys(keys []attestlog.IDKey) ([]attestlog.Duplicate, error) {
	tree, err := t.Tree()
	if err != nil {
		return nil, err
	}

	// Almost all keys are new. As long as they are, each has the index that follows
	// from its position.
	done := 0
	for !t.oneByOne && len(keys)-done >= keysTogether {
		err := t.putKeysTogether(keys[done:done+keysTogether], tree.Size+uint64(done))
		if err != nil {
			return nil, err
		}
		done += keysTogether
	}

	insert, err := prepare(t.conn, insertKey)
	if err != nil {
		return nil, err
	}

	var duplicates []attestlog.Duplicate
	next := tree.Size + uint64(done)
	for i := done; i < len(keys); i++ {
		insert.BindBytes(1, keys[i][:])
		insert.BindInt64(2, int64(next))
		if err := exec(insert); err != nil {
			return nil, err
		}
		if t.conn.Changes() == 1 {
			next++
			continue
		}

		// The key is that of a stored entry, or an earlier one of keys.
		index, err := lookup(t.conn, keys[i])
		if err != nil {
			return nil, err
		}
		duplicates = append(duplicates, attestlog.Duplicate{Position: i, Index: index})
	}
	return duplicates, nil
}

// putKeysTogether inserts keysTogether keys that are all new, for the entries
// from next on, or returns errTaken.
func (t *tx) putKeysTogether(keys []attestlog.IDKey, next uint64) error {
	insert, err := prepare(t.conn, insertKeys)
	if err != nil {
		return err
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

// Put inserts the batch's rows and moves the tree row on.
func (t *tx) Put(b *attestlog.Batch) error {
	// The trigger of disclosures compares them with the size of the tree, which
	// therefore comes last.
	for i := range b.Entries {
		if err := t.putDisclosures(&b.Entries[i]); err != nil {
			return err
		}
	}
	if err := t.putLeaves(b.Entries); err != nil {
		return err
	}
	for i := range b.Tiles {
		if err := t.putTile(&b.Tiles[i]); err != nil {
			return err
		}
	}
	if err := t.putTree(&b.Tree); err != nil {
		return err
	}

	t.batch = b
	return nil
}

const (
	disclosureBits = 11
	// disclosuresPerEntry is how many ids of disclosures an entry has.
	disclosuresPerEntry = 1 << disclosureBits
)

// disclosureID returns the id of an entry's first disclosure.
func disclosureID(index uint64) int64 { return int64(index) * disclosuresPerEntry }

func (t *tx) putDisclosures(r *attestlog.RawEntry) error {
	if len(r.Disclosures) == 0 {
		return nil
	}

	stmt, err := prepare(t.conn, "INSERT OR ROLLBACK INTO disclosures (id, pointer, salt, value) VALUES (?, ?, ?, ?)")
	if err != nil {
		return err
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

func (t *tx) putLeaves(entries []attestlog.RawEntry) error {
	stmt, err := prepare(t.conn, "INSERT OR ROLLBACK INTO entries (idx, n, leaves) VALUES (?, ?, ?)")
	if err != nil {
		return err
	}
	return leafrow.Pack(entries, func(r leafrow.Row) error {
		stmt.BindInt64(1, int64(r.First))
		stmt.BindInt64(2, int64(r.Count))
		stmt.BindBytes(3, r.Leaves)
		return exec(stmt)
	})
}

// tilesPerLevel is how many ids of tiles a level has.
const tilesPerLevel = 1 << 52

func tileID(level int, n uint64) int64 { return int64(level)*tilesPerLevel + int64(n) }

func (t *tx) putTile(tile *attestlog.Tile) error {
	stmt, err := prepare(t.conn, "INSERT INTO tiles (id, hashes) VALUES (?, ?)")
	if err != nil {
		return err
	}
	stmt.BindInt64(1, tileID(tile.Level, tile.N))
	stmt.BindBytes(2, tile.Hashes)
	return exec(stmt)
}

func (t *tx) putTree(tree *attestlog.Tree) error {
	stmt, err := prepare(t.conn, "UPDATE tree SET size = ?, root = ?, peaks = ?, tail = ?, logged_time = ? WHERE one = 1")
	if err != nil {
		return err
	}
	stmt.BindInt64(1, int64(tree.Size))
	stmt.BindBytes(2, tree.Root[:])
	stmt.BindBytes(3, merkle.JoinHashes(tree.Peaks))
	stmt.BindBytes(4, merkle.JoinHashes(tree.OpenTile))
	stmt.BindInt64(5, tree.LoggedTime.UnixMicro())
	return exec(stmt)
}

// PutCheckpoint stores a note, unless one of the same size or a larger one is
// there.
func (t *tx) PutCheckpoint(size uint64, when time.Time, note []byte) error {
	stmt, err := prepare(t.conn, `INSERT INTO checkpoints (size, time, note)
		SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM checkpoints WHERE size >= ?1)`)
	if err != nil {
		return err
	}
	stmt.BindInt64(1, int64(size))
	stmt.BindInt64(2, when.UnixMicro())
	stmt.BindBytes(3, note)
	return exec(stmt)
}
