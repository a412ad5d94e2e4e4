package sqlite

import (
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

const indexSuffix = ".index"

// An index is the search index, in a file of its own.
type index struct {
	segments
	store   *Store
	path    string
	key     inverted.Key
	logHash [32]byte // tells the index of another log
	readers *sqlitex.Pool
	search  *inverted.Index
	filler  *inverted.Filler // nil: this process does not fill it
	swept   atomic.Bool      // what an earlier process left was cleared away

	mu   sync.Mutex
	conn *sqlite.Conn // guarded by mu; nil: nothing fills the index
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
		if err := s.home.Locked(func() error { return ix.openWriter(ctx) }); err != nil {
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

func (ix *index) loadKey(ctx context.Context) error {
	return ix.store.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT value FROM meta WHERE name = 'index_key'")
		if err != nil {
			return err
		}
		var key []byte
		if err := rows(stmt, func() error { key = columnBytes(stmt, 0); return nil }); err != nil {
			return err
		}
		ix.logHash = sha256.Sum256(key)
		ix.key, err = inverted.ParseKey(key)
		return err
	})
}

// openWriter opens or creates the file. One that SQLite cannot read, or that is
// something else, is made anew: nothing in it is lost, but processes that have the
// old one open cannot search until they open the log again.
func (ix *index) openWriter(ctx context.Context) error {
	err := ix.tryWriter()
	code := sqlite.ErrCode(err).ToPrimary()
	if errors.Is(err, ErrForeign) || errors.Is(err, ErrNewer) || errors.Is(err, ErrOlder) || code == sqlite.ResultCorrupt || code == sqlite.ResultNotADB {
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

func (ix *index) remove() error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(ix.path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (ix *index) tryWriter() error {
	f, err := os.OpenFile(ix.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
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
	return pragmas(conn, "PRAGMA synchronous = NORMAL", "PRAGMA wal_autocheckpoint = 1000", "PRAGMA cache_size = -8192")
}

// write runs fn in a transaction of the index.
func (ix *index) write(ctx context.Context, fn func(*sqlite.Conn) error) (err error) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
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

// claim empties an index that belongs to another log, to other terms, or to a
// history that this log no longer has.
func (ix *index) claim(ctx context.Context, conn *sqlite.Conn) error {
	st, err := readState(conn)
	if err != nil {
		return err
	}
	ok, err := ix.belongs(ctx, st)
	if err != nil || ok {
		return err
	}
	return ix.clear(conn)
}

// indexState is the index's row of state, and how many entries it is about.
type indexState struct {
	found bool
	log   []byte
	terms int64
	last  []byte
	size  uint64
}

func readState(conn *sqlite.Conn) (indexState, error) {
	var st indexState
	stmt, err := conn.Prepare("SELECT log, terms, last, (SELECT coalesce(max(hi), 0) FROM segments WHERE live) FROM state")
	if err != nil {
		return st, err
	}
	return st, rows(stmt, func() error {
		st = indexState{true, columnBytes(stmt, 0), stmt.ColumnInt64(1), columnBytes(stmt, 2), uint64(stmt.ColumnInt64(3))}
		return nil
	})
}

func (ix *index) belongs(ctx context.Context, st indexState) (bool, error) {
	if !st.found || string(st.log) != string(ix.logHash[:]) || st.terms != attestlog.TermsVersion {
		return false, nil
	}
	if st.size == 0 {
		return true, nil
	}
	last, err := ix.leafHash(ctx, st.size-1)
	var corrupt *attestlog.CorruptError
	if errors.As(err, &corrupt) {
		return false, nil // whoever reads or verifies the entry is told
	}
	return last != nil && string(st.last) == string(last), err
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

// clear empties the index, within a transaction.
func (ix *index) clear(conn *sqlite.Conn) error {
	if err := sqlitex.ExecuteScript(conn, "DELETE FROM runs; DELETE FROM segments; DELETE FROM state;", nil); err != nil {
		return err
	}
	return change(conn, "INSERT INTO state (one, log, terms, last) VALUES (1, ?, ?, x'')", ix.logHash[:], attestlog.TermsVersion)
}

// openReaders opens the file for queries; a missing one means that there is no
// index to read.
func (ix *index) openReaders(ctx context.Context) error {
	if _, err := os.Stat(ix.path); errors.Is(err, fs.ErrNotExist) || ix.store.cfg.NoIndex {
		return nil
	}
	pool, err := openReaders(ix.path, ix.store.cfg)
	if err != nil {
		return ix.unreadable(err)
	}
	ix.readers = pool
	if ix.conn != nil {
		return nil
	}
	var st indexState
	err = ix.read(ctx, func(conn *sqlite.Conn) (err error) {
		if _, err := checkHeader(conn, indexSchema); err != nil {
			return err
		}
		st, err = readState(conn)
		return err
	})
	ok := false
	if err == nil {
		ok, err = ix.belongs(ctx, st)
	}
	if err != nil || !ok {
		ix.readers = nil
		return errors.Join(pool.Close(), ix.unreadable(err))
	}
	return nil
}

// unreadable lets a log that is only read do without its index.
func (ix *index) unreadable(err error) error {
	if ix.conn != nil {
		return err
	}
	ix.store.cfg.Logger.Warn("attestlog: the search index is left aside, queries read the entries", "file", ix.path, "err", err)
	return nil
}

// read runs fn with a reading connection, or not at all without an index.
func (ix *index) read(ctx context.Context, fn func(*sqlite.Conn) error) error {
	if ix.readers == nil {
		return nil
	}
	return ix.store.with(ctx, ix.readers, fn)
}

// watermark returns how many entries are indexed.
func (ix *index) watermark(ctx context.Context) (uint64, error) {
	var st indexState
	err := ix.read(ctx, func(conn *sqlite.Conn) (err error) {
		st, err = readState(conn)
		return err
	})
	return st.size, err
}

// Add indexes the next entries. What another program claimed for itself in the
// meantime is left alone.
func (ix *index) Add(ctx context.Context, f *inverted.Filler) (more bool, err error) {
	if ix.swept.CompareAndSwap(false, true) {
		if _, err := home.TryLocked(ix.store.path+mergeSuffix, func() error { return ix.sweep(ctx) }); err != nil {
			return false, err
		}
	}
	tree, err := ix.store.Tree(ctx)
	if err != nil {
		return false, err
	}
	size, err := ix.watermark(ctx)
	if err != nil {
		return false, err
	}
	if size < tree.Size {
		err = ix.write(ctx, func(conn *sqlite.Conn) error {
			st, err := readState(conn)
			if size = st.size; err != nil || size >= tree.Size {
				return err
			}
			if string(st.log) != string(ix.logHash[:]) || st.terms != attestlog.TermsVersion {
				return errors.New("another program uses the file for another index")
			}
			return f.Build(ctx, size, tree.Size, ix.store.Scan, func(b *inverted.Builder) error {
				seg, spans := b.Segment()
				size = seg.Hi
				return ix.put(ctx, conn, seg, spans, b)
			})
		})
	}
	if err != nil {
		return false, err
	}
	f.Backlog.Settled(size, false)
	return size < tree.Size, nil
}

// put stores the segment of the next entries.
func (ix *index) put(ctx context.Context, conn *sqlite.Conn, seg inverted.Segment, spans []byte, b *inverted.Builder) error {
	last, err := ix.leafHash(ctx, seg.Hi-1)
	if err == nil {
		err = putSegment(conn, seg, spans, true)
	}
	if err != nil {
		return err
	}
	id := conn.LastInsertRowID()
	if err := b.Rows(func(kind inverted.Kind, r inverted.Row) error { return putRow(conn, id, kind, r) }); err != nil {
		return err
	}
	return change(conn, "UPDATE state SET last = ?", last)
}

// Reindex empties the search index and fills it again, while the log is in use.
// progress, if not nil, is called with the number of entries done.
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

// lag returns how many of the log's entries are not indexed.
func (s *Store) lag(ctx context.Context) (missing, size uint64, err error) {
	indexed, err := s.index.watermark(ctx)
	if err != nil {
		return 0, 0, err
	}
	tree, err := s.Tree(ctx)
	return tree.Size - min(tree.Size, indexed), tree.Size, err
}

func (ix *index) close() error {
	if ix.filler != nil {
		ix.filler.Close()
	}
	ix.store.closed.Store(true)
	var errs []error
	if ix.readers != nil {
		errs = append(errs, ix.readers.Close())
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if ix.conn != nil {
		errs = append(errs, closeWriter(ix.conn))
		ix.conn = nil
	}
	return errors.Join(errs...)
}
