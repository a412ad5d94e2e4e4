package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/home"
	"github.com/attestlog/attestlog/internal/inverted"
)

// indexSuffix is appended to the log's path.
const indexSuffix = ".index"

// An index is the search index, in a file of its own.
type index struct {
	segments
	store   *Store
	path    string
	key     inverted.Key
	logHash [32]byte      // tells whose index a file is: SHA-256 of key
	readers *sqlitex.Pool // nil: there is no index to read
	search  *inverted.Index
	filler  *inverted.Filler // nil: this process does not fill the index
	swept   atomic.Bool      // the segments that earlier processes left were deleted

	writing sync.Mutex   // locked during a transaction
	conn    *sqlite.Conn // guarded by writing; nil: read-only, or closed
}

func openIndex(ctx context.Context, s *Store) (*index, error) {
	ix := &index{store: s, path: s.path + indexSuffix}
	ix.segments = segments{ix.read}
	if err := ix.loadKey(ctx); err != nil {
		return nil, err
	}
	ix.search = inverted.New(ix.key, ix.segments, entries{s})

	fills := !s.cfg.ReadOnly && !s.cfg.NoIndex
	if fills {
		err := s.home.Locked(func() error { return ix.openWriter(ctx) })
		if err != nil {
			return nil, fmt.Errorf("search index: %w", err)
		}
	}
	if err := ix.openReaders(ctx); err != nil {
		ix.close()
		return nil, fmt.Errorf("search index: %w", err)
	}

	if fills {
		ix.filler = inverted.Fill(ix.key, ix, s.cfg.Logger.With("file", ix.path))
	}
	return ix, nil
}

// stopFilling waits until the index has caught up, for a bounded time.
func (ix *index) stopFilling() {
	if ix.filler != nil {
		ix.filler.Close()
	}
}

// close closes the connections. Nothing fills the index any more.
func (ix *index) close() error {
	var errs []error
	if ix.readers != nil {
		errs = append(errs, ix.readers.Close())
	}

	ix.writing.Lock()
	defer ix.writing.Unlock()
	if ix.conn != nil {
		errs = append(errs, closeWriter(ix.conn))
		ix.conn = nil
	}
	return errors.Join(errs...)
}

func (ix *index) loadKey(ctx context.Context) error {
	return ix.store.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := prepare(conn, "SELECT value FROM meta WHERE name = 'index_key'")
		if err != nil {
			return err
		}
		var key []byte
		err = rows(stmt, func() error {
			key = columnBytes(stmt, 0)
			return nil
		})
		if err != nil {
			return err
		}

		ix.logHash = sha256.Sum256(key)
		ix.key, err = inverted.ParseKey(key)
		return err
	})
}

// openWriter opens the file for writing, and creates it if it is missing. A file
// that cannot be used is replaced: nothing in it is lost, but processes that
// have the old one open cannot search until they open the log again.
func (ix *index) openWriter(ctx context.Context) error {
	err := ix.tryWriter()
	if unusable(err) {
		ix.store.cfg.Logger.Warn("attestlog: the search index cannot be read and is built again", "file", ix.path, "err", err)
		if err := ix.remove(); err != nil {
			return err
		}
		err = ix.tryWriter()
	}
	if err != nil {
		return err
	}

	return ix.write(ctx, func(conn *sqlite.Conn) error { return ix.claim(ctx, conn) })
}

// unusable reports whether an error says that a file is damaged, or is not an
// index of this version.
func unusable(err error) bool {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultCorrupt, sqlite.ResultNotADB:
		return true
	}
	return errors.Is(err, ErrForeign) || errors.Is(err, ErrNewer) || errors.Is(err, ErrOlder)
}

func (ix *index) remove() error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		err := os.Remove(ix.path + suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (ix *index) tryWriter() error {
	if err := createFile(ix.path); err != nil {
		return err
	}
	conn, err := sqlite.OpenConn(fileURI(ix.path, ""), sqlite.OpenReadWrite|sqlite.OpenURI)
	if err != nil {
		return clarify(err)
	}

	if err := setUpIndex(conn); err != nil {
		conn.Close()
		return clarify(err)
	}
	ix.conn = conn
	return nil
}

func setUpIndex(conn *sqlite.Conn) error {
	if err := migrate(conn, indexSchema); err != nil {
		return err
	}
	return pragmas(conn,
		"PRAGMA synchronous = NORMAL", // what a power failure takes is indexed again
		"PRAGMA wal_autocheckpoint = 1000",
		"PRAGMA cache_size = -8192",
	)
}

// openReaders opens the file for queries. A log that is only read does without
// an index that is missing or that cannot be used.
func (ix *index) openReaders(ctx context.Context) error {
	_, err := os.Stat(ix.path)
	if errors.Is(err, fs.ErrNotExist) || ix.store.cfg.NoIndex {
		return nil
	}
	pool, err := openReaders(ix.path, ix.store.cfg)
	if err != nil {
		return ix.ignore(err)
	}
	ix.readers = pool
	if ix.conn != nil {
		return nil // the writer has checked it
	}

	ok, err := ix.checkForReading(ctx)
	if err != nil || !ok {
		ix.readers = nil
		return errors.Join(pool.Close(), ix.ignore(err))
	}
	return nil
}

// checkForReading reports whether the file is the index of this log.
func (ix *index) checkForReading(ctx context.Context) (bool, error) {
	var state indexState
	err := ix.read(ctx, func(conn *sqlite.Conn) error {
		_, err := checkHeader(conn, indexSchema)
		if err != nil {
			return err
		}
		state, err = readState(conn)
		return err
	})
	if err != nil {
		return false, err
	}
	return ix.matches(ctx, state)
}

// ignore returns the error if the index is to be filled, and otherwise logs it.
func (ix *index) ignore(err error) error {
	if ix.conn != nil {
		return err
	}
	ix.store.cfg.Logger.Warn("attestlog: the search index is not used, and queries read the entries", "file", ix.path, "err", err)
	return nil
}

// read runs fn with a connection that reads, or not at all if there is no index.
func (ix *index) read(ctx context.Context, fn func(*sqlite.Conn) error) error {
	if ix.readers == nil {
		return nil
	}
	return ix.store.readFrom(ctx, ix.readers, fn)
}

// write runs fn in a transaction of the index.
func (ix *index) write(ctx context.Context, fn func(*sqlite.Conn) error) (err error) {
	ix.writing.Lock()
	defer ix.writing.Unlock()

	if ix.conn == nil {
		return attestlog.ErrClosed
	}
	ix.conn.SetInterrupt(ctx.Done())
	defer ix.conn.SetInterrupt(nil)

	end, err := sqlitex.ImmediateTransaction(ix.conn)
	if err != nil {
		return err
	}
	defer end(&err)
	return fn(ix.conn)
}

// An indexState is the row of the table state, and the watermark.
type indexState struct {
	found bool
	log   []byte // logHash of the log that the index is of
	terms int64  // attestlog.TermsVersion
	last  []byte // leaf hash of the last entry that is indexed
	size  uint64 // how many entries are indexed
}

func readState(conn *sqlite.Conn) (indexState, error) {
	var state indexState
	stmt, err := prepare(conn, "SELECT log, terms, last, (SELECT coalesce(max(hi), 0) FROM segments WHERE live) FROM state")
	if err != nil {
		return state, err
	}
	err = rows(stmt, func() error {
		state = indexState{
			found: true,
			log:   columnBytes(stmt, 0),
			terms: stmt.ColumnInt64(1),
			last:  columnBytes(stmt, 2),
			size:  uint64(stmt.ColumnInt64(3)),
		}
		return nil
	})
	return state, err
}

// claim empties an index of another log, of other terms, or of a history that
// this log does not have (any more).
func (ix *index) claim(ctx context.Context, conn *sqlite.Conn) error {
	state, err := readState(conn)
	if err != nil {
		return err
	}
	ok, err := ix.matches(ctx, state)
	if err != nil || ok {
		return err
	}
	return ix.clear(conn)
}

// clear empties the index, within a transaction.
func (ix *index) clear(conn *sqlite.Conn) error {
	err := sqlitex.ExecuteScript(conn, "DELETE FROM runs; DELETE FROM segments; DELETE FROM state;", nil)
	if err != nil {
		return err
	}
	return change(conn, "INSERT INTO state (one, log, terms, last) VALUES (1, ?, ?, x'')",
		ix.logHash[:], attestlog.TermsVersion)
}

// isOurs reports whether an index is of this log and of this program's terms.
func (ix *index) isOurs(state indexState) bool {
	return state.found && bytes.Equal(state.log, ix.logHash[:]) && state.terms == attestlog.TermsVersion
}

// matches reports whether an index is ours and ends at an entry that the log
// has.
func (ix *index) matches(ctx context.Context, state indexState) (bool, error) {
	if !ix.isOurs(state) {
		return false, nil
	}
	if state.size == 0 {
		return true, nil
	}

	last, err := ix.leafHash(ctx, state.size-1)
	var corrupt *attestlog.CorruptError
	if errors.As(err, &corrupt) {
		return false, nil // reading or verifying the entry tells
	}
	return last != nil && bytes.Equal(last, state.last), err
}

// leafHash returns the hash of an entry of the log, or nil if it is missing.
func (ix *index) leafHash(ctx context.Context, index uint64) (hash []byte, err error) {
	err = ix.store.Scan(ctx, index, index+1, func(r *attestlog.RawEntry) error {
		h := attestlog.LeafHash(r.Leaf)
		hash = h[:]
		return nil
	})
	return hash, err
}

// watermark returns how many entries are indexed.
func (ix *index) watermark(ctx context.Context) (uint64, error) {
	var state indexState
	err := ix.read(ctx, func(conn *sqlite.Conn) (err error) {
		state, err = readState(conn)
		return err
	})
	return state.size, err
}

// Add indexes the next entries. The first call also deletes what merges of
// earlier processes left.
func (ix *index) Add(ctx context.Context, f *inverted.Filler) (more bool, err error) {
	// A process that merges now has a segment that is not live yet. It holds the
	// lock, and sweeps when it is done.
	if ix.swept.CompareAndSwap(false, true) {
		_, err := home.TryLocked(ix.store.path+mergeSuffix, func() error { return ix.sweep(ctx) })
		if err != nil {
			return false, err
		}
	}

	// Mostly there is nothing to do, which needs no transaction.
	tree, err := ix.store.Tree(ctx)
	if err != nil {
		return false, err
	}
	indexed, err := ix.watermark(ctx)
	if err != nil {
		return false, err
	}
	if indexed < tree.Size {
		err = ix.write(ctx, func(conn *sqlite.Conn) (err error) {
			indexed, err = ix.addSegment(ctx, conn, f, tree.Size)
			return err
		})
		if err != nil {
			return false, err
		}
	}

	f.Unindexed.Indexed(indexed)
	return indexed < tree.Size, nil
}

// addSegment adds a segment of the next entries, within a transaction, unless
// another process has added all below size. It returns the new watermark.
func (ix *index) addSegment(
	ctx context.Context,
	conn *sqlite.Conn,
	f *inverted.Filler,
	size uint64,
) (indexed uint64, err error) {
	state, err := readState(conn)
	if err != nil || state.size >= size {
		return state.size, err
	}
	// Another program may have claimed the file since it was opened.
	if !ix.isOurs(state) {
		return state.size, errors.New("another program uses the file for another index")
	}

	err = f.Build(ctx, state.size, size, ix.store.Scan, func(b *inverted.Builder) error {
		seg, spans := b.Segment()
		indexed = seg.Hi

		// A process that opens the index later finds out by this hash whether it is
		// of the log that is there then.
		last, err := ix.leafHash(ctx, seg.Hi-1)
		if err != nil {
			return err
		}

		id, err := putSegment(conn, seg, spans, true)
		if err != nil {
			return err
		}
		err = b.Rows(func(kind inverted.Kind, r inverted.Row) error { return putRow(conn, id, kind, r) })
		if err != nil {
			return err
		}
		return change(conn, "UPDATE state SET last = ?", last)
	})
	return indexed, err
}

// Reindex empties the search index and fills it again, while the log is in use.
// Progress, if it is not nil, is called with the number of entries done.
func (s *Store) Reindex(ctx context.Context, progress func(done, total uint64)) error {
	ix := s.index
	if ix.filler == nil {
		return fmt.Errorf("sqlite: reindex: %w", attestlog.ErrReadOnly)
	}

	err := ix.write(ctx, ix.clear)
	if err == nil {
		err = ix.filler.Refill(ctx, s.lag, progress)
	}
	if err != nil {
		return fmt.Errorf("sqlite: reindex: %w", err)
	}
	return nil
}

// lag returns how many of the log's entries are not indexed, and how many there
// are.
func (s *Store) lag(ctx context.Context) (missing, size uint64, err error) {
	// The index first, then the log: what is indexed is in the log.
	indexed, err := s.index.watermark(ctx)
	if err != nil {
		return 0, 0, err
	}
	tree, err := s.Tree(ctx)
	return tree.Size - min(tree.Size, indexed), tree.Size, err
}
