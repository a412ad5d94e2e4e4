package sqlite

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/backlog"
)

const (
	indexSuffix = ".index"

	indexLag   = 20_000                 // entries that an append lets wait
	indexBatch = 20_000                 // entries in one transaction
	indexPause = 50 * time.Millisecond  // between two small transactions
	indexPoll  = 200 * time.Millisecond // for what other processes wrote
	indexQuiet = 5                      // polls without an append before the index is tidied
	indexRetry = time.Second
)

// An index is the search index: a follower of the log in a file of its own,
// filled behind the commit by one goroutine. A query reads it up to its
// watermark, and the entries after that themselves.
type index struct {
	store   *Store
	path    string
	k0, k1  uint64       // key the terms' hashes
	logHash [32]byte     // tells the index of another log
	conn    *sqlite.Conn // owned by run; nil: nothing fills the index
	readers *sqlitex.Pool

	backlog *backlog.Backlog
	blocks  blockCache

	untidy atomic.Bool // segments were added since the last merge
	wake   chan struct{}
	stop   context.Context
	end    context.CancelFunc
	ended  chan struct{}
}

func openIndex(ctx context.Context, s *Store) (*index, error) {
	ix := &index{
		store: s, path: s.path + indexSuffix, backlog: backlog.New(indexLag),
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	ix.stop, ix.end = context.WithCancel(context.Background())
	if err := ix.loadKey(ctx); err != nil {
		return nil, err
	}
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
		go ix.run()
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
		if len(key) != 16 {
			return errors.New("the index key is missing")
		}
		for i, b := range key[:8] {
			ix.k0 |= uint64(b) << (8 * i)
			ix.k1 |= uint64(key[8+i]) << (8 * i)
		}
		ix.logHash = sha256.Sum256(key)
		return nil
	})
}

// openWriter opens or creates the file. One that SQLite cannot read, or that
// is something else, is made anew: nothing in it is lost.
func (ix *index) openWriter(ctx context.Context) error {
	err := ix.tryWriter()
	code := sqlite.ErrCode(err).ToPrimary()
	if errors.Is(err, ErrForeign) || errors.Is(err, ErrNewer) || code == sqlite.ResultCorrupt || code == sqlite.ResultNotADB {
		ix.store.cfg.Logger.Warn("attestlog: the search index cannot be read and is built again", "file", ix.path, "err", err)
		if err := ix.remove(); err != nil {
			return err
		}
		err = ix.tryWriter()
	}
	if err != nil {
		return err
	}
	return ix.claim(ctx)
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
	if err := migrate(conn, indexID, "index"); err != nil {
		return err
	}
	return pragmas(conn, "PRAGMA synchronous = NORMAL", "PRAGMA wal_autocheckpoint = 1000", "PRAGMA cache_size = -8192")
}

// claim empties an index that belongs to another log, to other terms, or to a
// history that this log no longer has.
func (ix *index) claim(ctx context.Context) (err error) {
	end, err := sqlitex.ImmediateTransaction(ix.conn)
	if err != nil {
		return err
	}
	defer end(&err)
	st, err := readState(ix.conn)
	if err != nil {
		return err
	}
	ok, err := ix.belongs(ctx, st)
	if err != nil || ok {
		return err
	}
	return ix.clear()
}

// indexState is the index's row of state.
type indexState struct {
	found bool
	log   []byte
	terms int64
	size  uint64
	last  []byte
	high  int64
}

func readState(conn *sqlite.Conn) (indexState, error) {
	var st indexState
	stmt, err := conn.Prepare("SELECT log, terms, size, last, high FROM state")
	if err != nil {
		return st, err
	}
	return st, rows(stmt, func() error {
		st = indexState{true, columnBytes(stmt, 0), stmt.ColumnInt64(1), uint64(stmt.ColumnInt64(2)), columnBytes(stmt, 3), stmt.ColumnInt64(4)}
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
	same := false
	err := ix.store.Scan(ctx, st.size-1, st.size, func(r *attestlog.Record) error {
		h := attestlog.LeafHash(r.Leaf)
		same = string(st.last) == string(h[:])
		return nil
	})
	return same, err
}

// clear empties the index, within a transaction.
func (ix *index) clear() error {
	script := "INSERT INTO terms (terms) VALUES ('delete-all'); DELETE FROM late; DELETE FROM blocks; DELETE FROM state;" +
		"INSERT INTO terms (terms, rank) VALUES ('hashsize', 16777216); INSERT INTO terms (terms, rank) VALUES ('automerge', 16); INSERT INTO terms (terms, rank) VALUES ('crisismerge', 32); INSERT INTO terms (terms, rank) VALUES ('pgsz', 8000);"
	if err := sqlitex.ExecuteScript(ix.conn, script, nil); err != nil {
		return err
	}
	stmt, err := ix.conn.Prepare("INSERT INTO state (one, log, terms, size, last, high) VALUES (1, ?, ?, 0, x'', ?)")
	if err != nil {
		return err
	}
	stmt.BindBytes(1, ix.logHash[:])
	stmt.BindInt64(2, attestlog.TermsVersion)
	stmt.BindInt64(3, math.MinInt64)
	return exec(stmt)
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
		if _, err := checkHeader(conn, indexID); err != nil {
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

func (ix *index) read(ctx context.Context, fn func(*sqlite.Conn) error) error {
	return ix.store.with(ctx, ix.readers, fn)
}

// errRebuilt ends a query that began before the index was emptied.
var errRebuilt = fmt.Errorf("%w: the search index is being built again; ask again", attestlog.ErrUnavailable)

// readAt is read within one transaction, in which the index holds the first
// mark entries for certain: another process may have emptied it.
func (ix *index) readAt(ctx context.Context, mark uint64, fn func(*sqlite.Conn) error) error {
	return ix.read(ctx, func(conn *sqlite.Conn) (err error) {
		defer sqlitex.Transaction(conn)(&err)
		size, err := indexed(conn)
		if err != nil {
			return err
		}
		if size < mark {
			return errRebuilt
		}
		return fn(conn)
	})
}

// indexed returns how many entries the index holds.
func indexed(conn *sqlite.Conn) (size uint64, err error) {
	stmt, err := conn.Prepare("SELECT size FROM state")
	if err != nil {
		return 0, err
	}
	return size, rows(stmt, func() error { size = uint64(stmt.ColumnInt64(0)); return nil })
}

// watermark returns how many entries are indexed.
func (ix *index) watermark(ctx context.Context) (uint64, error) {
	if ix.readers == nil {
		return 0, nil
	}
	var size uint64
	err := ix.read(ctx, func(conn *sqlite.Conn) (err error) {
		size, err = indexed(conn)
		return err
	})
	return size, err
}

// offer hands a committed batch over.
func (ix *index) offer(b *attestlog.Batch) {
	if ix.conn == nil {
		return
	}
	ix.backlog.Offer(b)
	select {
	case ix.wake <- struct{}{}:
	default:
	}
}

func (ix *index) close() error {
	ix.end()
	if ix.conn != nil && ix.readers != nil {
		<-ix.ended
	}
	ix.store.closed.Store(true)
	var errs []error
	if ix.readers != nil {
		errs = append(errs, ix.readers.Close())
	}
	if ix.conn != nil {
		errs = append(errs, ix.conn.Close())
	}
	return errors.Join(errs...)
}
