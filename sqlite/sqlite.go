// Package sqlite keeps a log in one SQLite database file, without cgo. The
// database is in WAL mode with synchronous=FULL, so that what was committed
// survives a power failure. Several processes may use one log at a time.
//
// # Files
//
//	FILE                               the log: schema/log_0002.sql
//	FILE.index                         the search index: schema/index_0002.sql
//	FILE.key, FILE.pub                 the signing key and the verifier keys
//	FILE.checkpoint                    the newest signed checkpoint
//	FILE.lock, FILE.index.lock         locks between processes
//	FILE-wal, FILE-shm, FILE.index-…   SQLite's own
//
// The search index can be deleted while no process has the log open. It is then
// built again.
//
// # Connections
//
// SQLite connections are not safe for concurrent use, so each has an owner. A
// Store that is not read-only has all of these:
//
//	the writer          one call of Write or PutToken at a time
//	the checkpointer's  its goroutine
//	the readers         each call takes one of a pool, for at most 2,048 entries
//	the index's writer  one transaction of the index's goroutines at a time
//	the index's readers each call takes one of a pool
package sqlite

import (
	"context"
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
	// minVersion is the first version of SQLite, 3.51.3, without a bug that can
	// corrupt a database in WAL mode.
	minVersion = 3_051_003

	pageSize       = 8192
	defaultReaders = 4
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
	// Logger receives warnings about the search index and the write-ahead log.
	// Defaults to slog.Default().
	Logger *slog.Logger
}

// A Store is an attestlog.Store in an SQLite database.
type Store struct {
	path     string
	cfg      Config
	home     home.Files
	readers  *sqlitex.Pool
	index    *index
	writer   *writer       // nil if read-only
	wal      *checkpointer // nil if read-only
	shutdown shutdown
}

var _ attestlog.Store = (*Store)(nil)

// A shutdown is how far the Close of a Store has come.
type shutdown struct {
	once    sync.Once
	err     error       // what the first Close returned; set within once
	readers atomic.Bool // set before the pools of readers are closed
}

// Open opens the log at path, and creates it if it is missing. Errors match
// ErrForeign, ErrNewer, ErrOlder, fs.ErrNotExist with Config.MustExist, or come
// from SQLite or the file system.
func Open(ctx context.Context, path string, cfg Config) (*Store, error) {
	s, err := open(ctx, path, cfg)
	if err != nil {
		return nil, fmt.Errorf("sqlite: open %q: %w", path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string, cfg Config) (*Store, error) {
	if sqlite.VersionNumber < minVersion {
		return nil, fmt.Errorf("SQLite %s has a bug that corrupts databases in WAL mode; build with modernc.org/sqlite v1.60.1 or later", sqlite.Version)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Readers <= 0 {
		cfg.Readers = defaultReaders
	}

	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// SQLite would create a file that others can read.
	if err := prepareFile(path, cfg); err != nil {
		return nil, err
	}

	s := &Store{path: path, cfg: cfg, home: home.At(path)}
	if err := s.openFiles(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// openFiles opens all connections. After an error, Close closes those that were
// opened.
func (s *Store) openFiles(ctx context.Context) (err error) {
	if !s.cfg.ReadOnly {
		// While the lock is held, no other process comes upon a schema that is
		// being made.
		err = s.home.Locked(func() (err error) {
			s.writer, err = openWriter(ctx, s.path)
			return err
		})
		if err != nil {
			return err
		}
	}

	s.readers, err = openReaders(s.path, s.cfg)
	if err != nil {
		return err
	}
	if err := s.checkReadable(ctx); err != nil {
		return err
	}
	s.index, err = openIndex(ctx, s)
	if err != nil {
		return err
	}
	if s.writer != nil {
		s.wal, err = openCheckpointer(s.path, s.cfg.Logger)
	}
	return err
}

// prepareFile creates a missing database file, readable by its owner only.
func prepareFile(path string, cfg Config) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return errors.New("is a folder")
	}
	if err == nil {
		return nil
	}
	missing := errors.Is(err, fs.ErrNotExist)
	if !missing || cfg.MustExist || cfg.ReadOnly {
		return err
	}
	return createFile(path)
}

// createFile creates an empty file, readable by its owner only, unless another
// process was faster.
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// openReaders opens a pool of connections that only read.
func openReaders(path string, cfg Config) (*sqlitex.Pool, error) {
	pool, err := sqlitex.NewPool(fileURI(path, mediaQuery(path, cfg)), sqlitex.PoolOptions{
		Flags:    sqlite.OpenReadOnly | sqlite.OpenURI,
		PoolSize: cfg.Readers,
		PrepareConn: func(conn *sqlite.Conn) error {
			return pragmas(conn, "PRAGMA cache_size = -2048", "PRAGMA trusted_schema = OFF")
		},
	})
	if err != nil {
		return nil, clarify(err)
	}
	return pool, nil
}

// mediaQuery lets SQLite read a database in a folder that cannot be written.
// SQLite cannot create its shared memory there. If the write-ahead log is empty,
// the file does not change, and SQLite may do without.
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

// clarify returns ErrForeign if SQLite says that a file is not a database.
func clarify(err error) error {
	if sqlite.ErrCode(err).ToPrimary() == sqlite.ResultNotADB {
		return ErrForeign
	}
	return err
}

// checkReadable refuses foreign, newer, older and empty files. A Store with a
// writer has done so in migrate, and repeats it for its readers.
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

// read runs fn with a connection to the log that reads.
func (s *Store) read(ctx context.Context, fn func(*sqlite.Conn) error) error {
	return s.readFrom(ctx, s.readers, fn)
}

// readFrom runs fn with a connection of a pool.
func (s *Store) readFrom(ctx context.Context, pool *sqlitex.Pool, fn func(*sqlite.Conn) error) error {
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
	case s.shutdown.readers.Load() && sqlite.ErrCode(err).ToPrimary() != sqlite.ResultCorrupt:
		return attestlog.ErrClosed
	}
	return clarify(err)
}

// Path returns the database file's absolute path.
func (s *Store) Path() string { return s.path }

// Home returns the files next to the database.
func (s *Store) Home() attestlog.Home { return s.home }

// Close waits until the index has caught up, for at most five seconds, and until
// a transaction that is being written has ended, and closes the files. Later
// calls return the error of the first.
func (s *Store) Close() error {
	s.shutdown.once.Do(func() { s.shutdown.err = s.close() })
	return s.shutdown.err
}

func (s *Store) close() error {
	// The index reads the log while it catches up.
	if s.index != nil {
		s.index.stopFilling()
	}

	var errs []error
	s.shutdown.readers.Store(true)
	if s.index != nil {
		errs = append(errs, s.index.close())
	}
	if s.readers != nil {
		errs = append(errs, s.readers.Close())
	}

	// The last connection to close is the writer's: it empties the write-ahead
	// log.
	if s.wal != nil {
		errs = append(errs, s.wal.close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	return errors.Join(errs...)
}

// Stats returns the files' sizes, and how many entries are not indexed yet.
func (s *Store) Stats(ctx context.Context) (attestlog.StoreStats, error) {
	var stats attestlog.StoreStats
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(s.path + suffix); err == nil {
			stats.Bytes += info.Size()
		}
		if info, err := os.Stat(s.path + indexSuffix + suffix); err == nil {
			stats.IndexBytes += info.Size()
		}
	}
	stats.Bytes += stats.IndexBytes

	lag, _, err := s.lag(ctx)
	stats.IndexLag = lag
	stats.IndexMerging = s.index.filler != nil && s.index.filler.Merging()
	return stats, err
}
