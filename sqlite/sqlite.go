// Package sqlite keeps a log in one SQLite database file (WAL,
// synchronous=FULL), without cgo.
//
// Beside FILE stand FILE.index, the search index, which can be deleted while no
// process has the log open; FILE.key, FILE.pub and FILE.checkpoint, the log's keys and its newest
// signed checkpoint; FILE.lock and FILE.index.lock; and SQLite's own FILE-wal and FILE-shm. The
// tables are described in schema/log_0002.sql and schema/index_0002.sql.
// Several processes may use one log at a time.
package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/home"
)

const (
	// Older versions can corrupt a database in WAL mode.
	minVersion  = 3_051_003
	pageSize    = 8192
	defaultPool = 4
)

//go:embed schema/*.sql
var schemas embed.FS

// A schema is what a database file of ours is made with: see the folder schema.
type schema struct {
	name    string
	id      int64 // the database's application id
	version int64
}

var (
	logSchema   = schema{"log", 0x41544c47, 2}   // "ATLG"
	indexSchema = schema{"index", 0x41544c49, 2} // "ATLI"
)

// ErrForeign is returned by Open for a file that is not an attestlog database.
var ErrForeign = errors.New("not an attestlog database")

// ErrNewer is returned by Open for a database of a newer schema than this
// program knows.
var ErrNewer = errors.New("database was written by a newer version")

// ErrOlder is returned by Open for a database of a schema from before the first
// release, which no program reads any more.
var ErrOlder = errors.New("database was written by a version from before the first release; export it with that version, and import it")

// Config configures a Store. The zero Config is useful.
type Config struct {
	// MustExist makes a missing file an error. Defaults to creating it.
	MustExist bool
	// ReadOnly opens the files for reading, also on read-only media. Defaults
	// to reading and writing.
	ReadOnly bool
	// Readers is the number of connections that read at a time. Defaults to 4.
	Readers int
	// NoIndex leaves the search index alone: nothing fills it, and every query
	// reads the entries. Defaults to filling it.
	NoIndex bool
	// Logger receives warnings about the search index. Defaults to
	// slog.Default().
	Logger *slog.Logger
}

// A Store is an attestlog.Store in a SQLite database.
type Store struct {
	path    string
	cfg     Config
	home    home.Files
	readers *sqlitex.Pool
	index   *index

	writing chan struct{} // holds a token while a transaction may begin
	writer  *sqlite.Conn  // owned by whoever holds the token; nil if read-only
	wal     *checkpointer // nil if read-only

	closing sync.Once
	closed  atomic.Bool // Close has begun
	endErr  error
}

var _ attestlog.Store = (*Store)(nil)

// Open opens the log at path, creating it if it is missing. Errors match
// ErrForeign, ErrNewer, ErrOlder, fs.ErrNotExist with Config.MustExist, or come from
// SQLite or the file system.
func Open(ctx context.Context, path string, cfg Config) (*Store, error) {
	s, err := open(ctx, path, cfg)
	if err != nil {
		return nil, fmt.Errorf("sqlite: open %q: %w", path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string, cfg Config) (_ *Store, err error) {
	if sqlite.VersionNumber < minVersion {
		return nil, fmt.Errorf("SQLite %s has a bug that corrupts databases in WAL mode; build with modernc.org/sqlite v1.60.1 or later", sqlite.Version)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Readers <= 0 {
		cfg.Readers = defaultPool
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if err := prepareFile(path, cfg); err != nil {
		return nil, err
	}
	s := &Store{path: path, cfg: cfg, home: home.At(path), writing: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if !cfg.ReadOnly {
		// Under the lock, nobody meets a schema that is being made.
		err := s.home.Locked(func() (err error) {
			s.writer, err = openWriter(ctx, path)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	s.writing <- struct{}{}
	if s.readers, err = openReaders(path, cfg); err != nil {
		return nil, err
	}
	if err := s.checkReadable(ctx); err != nil {
		return nil, err
	}
	if s.index, err = openIndex(ctx, s); err != nil {
		return nil, err
	}
	if s.writer != nil {
		s.wal, err = openCheckpointer(path, cfg.Logger)
	}
	return s, err
}

// prepareFile creates a missing database file, readable by its owner only.
func prepareFile(path string, cfg Config) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return errors.New("is a folder")
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist) || cfg.MustExist || cfg.ReadOnly:
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process was first
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func openWriter(ctx context.Context, path string) (*sqlite.Conn, error) {
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
	return conn, nil
}

func setUpWriter(conn *sqlite.Conn) error {
	if err := migrate(conn, logSchema); err != nil {
		return err
	}
	return pragmas(conn, "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL",
		"PRAGMA wal_autocheckpoint = 0", "PRAGMA cache_size = -8192", "PRAGMA trusted_schema = OFF")
}

func pragmas(conn *sqlite.Conn, all ...string) error {
	for _, p := range all {
		if err := sqlitex.ExecuteTransient(conn, p, nil); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

// clarify explains what SQLite calls a file that is not its own.
func clarify(err error) error {
	if code := sqlite.ErrCode(err); code.ToPrimary() == sqlite.ResultNotADB {
		return ErrForeign
	}
	return err
}

func openReaders(path string, cfg Config) (*sqlitex.Pool, error) {
	pool, err := sqlitex.NewPool(fileURI(path, mediaQuery(path, cfg)), sqlitex.PoolOptions{
		Flags: sqlite.OpenReadOnly | sqlite.OpenURI, PoolSize: cfg.Readers,
		PrepareConn: func(conn *sqlite.Conn) error {
			return pragmas(conn, "PRAGMA cache_size = -2048", "PRAGMA trusted_schema = OFF")
		},
	})
	if err != nil {
		return nil, clarify(err)
	}
	return pool, nil
}

// mediaQuery lets SQLite read a database in a folder that cannot be written:
// there it has no shared memory to take part in, and with nothing left in a
// write-ahead log the file does not change.
func mediaQuery(path string, cfg Config) string {
	if !cfg.ReadOnly {
		return ""
	}
	if info, err := os.Stat(path + "-wal"); err == nil && info.Size() > 0 {
		return ""
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".attestlog-*")
	if err == nil {
		probe.Close()
		os.Remove(probe.Name())
		return ""
	}
	return "immutable=1"
}

func fileURI(path, query string) string {
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query}
	return u.String()
}

// checkReadable refuses foreign, newer and empty files when they are only
// read; with a writer, migrate has seen to it.
func (s *Store) checkReadable(ctx context.Context) error {
	return s.read(ctx, func(conn *sqlite.Conn) error {
		empty, err := checkHeader(conn, logSchema)
		if err != nil {
			return clarify(err)
		}
		if empty {
			return fmt.Errorf("%w: the file is empty", ErrForeign)
		}
		return nil
	})
}

// read runs fn with a reading connection.
func (s *Store) read(ctx context.Context, fn func(*sqlite.Conn) error) error {
	return s.with(ctx, s.readers, fn)
}

// with runs fn with a connection of a pool.
func (s *Store) with(ctx context.Context, pool *sqlitex.Pool, fn func(*sqlite.Conn) error) error {
	conn, err := pool.Take(ctx)
	if err == nil {
		err = func() error {
			defer pool.Put(conn)
			return fn(conn)
		}()
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case s.closed.Load() && sqlite.ErrCode(err).ToPrimary() != sqlite.ResultCorrupt:
		return attestlog.ErrClosed
	}
	return clarify(err)
}

// closeWriter closes a connection that writes. An interrupt that came behind the
// statement that it was for would keep closing from emptying the write-ahead log:
// another statement takes it away.
func closeWriter(conn *sqlite.Conn) error {
	_, err := integer(conn, "SELECT 1")
	return errors.Join(err, conn.Close())
}

// Path returns the database file's absolute path.
func (s *Store) Path() string { return s.path }

// Home returns the files beside the database.
func (s *Store) Home() attestlog.Home { return s.home }

// Close waits for the index to be caught up and closes the files. Later calls
// return the first one's error.
func (s *Store) Close() error {
	s.closing.Do(func() {
		var errs []error
		if s.index != nil {
			errs = append(errs, s.index.close())
		}
		s.closed.Store(true)
		if s.readers != nil {
			errs = append(errs, s.readers.Close())
		}
		if s.wal != nil {
			errs = append(errs, s.wal.close())
		}
		if s.writer != nil {
			errs = append(errs, closeWriter(s.writer))
		}
		s.endErr = errors.Join(errs...)
	})
	return s.endErr
}

// Stats returns the files' sizes and the index's lag.
func (s *Store) Stats(ctx context.Context) (attestlog.StoreStats, error) {
	var st attestlog.StoreStats
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(s.path + suffix); err == nil {
			st.Bytes += info.Size()
		}
		if info, err := os.Stat(s.path + indexSuffix + suffix); err == nil {
			st.IndexBytes += info.Size()
		}
	}
	st.Bytes += st.IndexBytes
	var err error
	st.IndexLag, _, err = s.lag(ctx)
	st.IndexMerging = s.index.filler != nil && s.index.filler.Merging()
	return st, err
}
