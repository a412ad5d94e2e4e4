// Package postgres keeps a log in a schema of a PostgreSQL database (15 or
// later). Several processes may append to one log at a time.
//
// The tables are described in schema/0002.sql. The log's keys and its newest
// signed checkpoint must not lie in the database: they are files, see
// Config.Home.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/home"
)

// DefaultLog is the schema of a log whose name is not given.
const DefaultLog = "attestlog"

// Config configures a Store. The zero Config is useful.
type Config struct {
	// Log is the log's name: the schema that it is kept in, of at most 48
	// lower-case letters, digits and underscores. The parameter log of a DSN
	// says the same. Defaults to "attestlog".
	Log string
	// Home is the path, without a suffix, of the files that hold the log's
	// keys and its newest signed checkpoint: HOME.key, HOME.pub,
	// HOME.checkpoint and HOME.lock. The parameter home of a DSN says the
	// same. Defaults to attestlog/HOST-PORT-DATABASE-LOG in the user's state
	// folder ($XDG_STATE_HOME, or ~/.local/state).
	Home string
	// MustExist makes a missing log an error. Defaults to creating it.
	MustExist bool
	// ReadOnly never writes to the database. Defaults to reading and writing.
	ReadOnly bool
	// Reader is the DSN of a streaming replica, or of several. Queries, counts
	// and exports are answered there, as of what it has received: Page.Size
	// says how much. So is EntryByID of an id that is no UUIDv7. Everything else
	// is read where it was written. Defaults to none.
	Reader string
	// NoIndex leaves the search index alone: what is appended is not indexed
	// until another process does it, and every query reads the entries.
	// Defaults to filling it.
	NoIndex bool
	// LockTimeout is how long a transaction waits for other processes to end
	// theirs. Defaults to 10 s.
	LockTimeout time.Duration
	// Retry is how long a transaction is tried again after the connection was
	// lost, the server was restarting, or it had to be rolled back. Defaults
	// to 5 s; negative means not at all.
	Retry time.Duration
	// Timeout is how long a network or a server that hangs is waited for: a
	// transaction of which a step takes longer, besides LockTimeout, is given
	// up, and so is connecting, unless the DSN has connect_timeout. The other
	// way round, the server ends a transaction within which it hears nothing
	// for as long, so that a process that hangs does not hold up the others.
	// Defaults to 30 s.
	Timeout time.Duration
	// Logger receives warnings. Defaults to slog.Default().
	Logger *slog.Logger
}

const (
	defaultLockTimeout = 10 * time.Second
	defaultRetry       = 5 * time.Second
	minServer          = 150_000
	closeWait          = 10 * time.Second // for callers that are still reading
)

// A Store is an attestlog.Store in a schema of a PostgreSQL database.
type Store struct {
	cfg    Config
	pool   *pgxpool.Pool
	owns   bool   // the pool is closed with the store
	schema string // quoted
	home   home.Files

	replica   *Store // what searches instead, or nil
	isReplica bool

	sqlMu sync.RWMutex
	sqls  map[string]string // with the schema's name, by the text without

	parts atomic.Uint64 // partitions that are known to be there: all below
	index index

	stop context.Context // ends when Close begins
	end  context.CancelFunc
}

var _ attestlog.Store = (*Store)(nil)

// Open connects to the database that dsn names, a URL or key=value pairs as
// pgxpool.ParseConfig reads them, and opens or creates the log. Besides that
// function's parameters a URL may have log and home, which set Config.Log and
// Config.Home. Errors match ErrForeign, ErrNewer, ErrNoLog, or come from the
// server.
func Open(ctx context.Context, dsn string, cfg Config) (*Store, error) {
	dsn, err := ownParameters(dsn, &cfg)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	pc, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if len(pc.ConnConfig.Fallbacks) > 0 && !cfg.ReadOnly && pc.ConnConfig.ValidateConnect == nil {
		// Of several hosts, the one that takes writes.
		pc.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	limitConnecting(pc, cfg.Timeout)
	limitLocks(pc, cfg.LockTimeout)
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	s, err := OpenPool(ctx, pool, cfg)
	if err != nil {
		pool.Close()
		return nil, err
	}
	s.owns = true
	return s, nil
}

// HomePath returns the path, without a suffix, of the files with the keys and
// the kept checkpoint of the log that a DSN names: see Config.Home.
func HomePath(dsn string) (string, error) {
	var cfg Config
	dsn, err := ownParameters(dsn, &cfg)
	if err != nil || cfg.Home != "" {
		return cfg.Home, err
	}
	cc, err := pgx.ParseConfig(dsn)
	if err != nil {
		return "", err
	}
	return defaultHome(cc, cmp.Or(cfg.Log, DefaultLog))
}

// ServerDSN returns a DSN without the parameters log and home, which a server
// does not know.
func ServerDSN(dsn string) (string, error) { return ownParameters(dsn, &Config{}) }

// ownParameters takes log and home out of a URL.
func ownParameters(dsn string, cfg *Config) (string, error) {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return dsn, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err // without the password that the URL may hold
		}
		return "", fmt.Errorf("the log's URL: %w", err)
	}
	q := u.Query()
	for name, field := range map[string]*string{"log": &cfg.Log, "home": &cfg.Home} {
		if q.Has(name) {
			if given := q.Get(name); *field == "" || *field == given {
				*field = given
			} else {
				return "", fmt.Errorf("%s is %q in the URL and %q in the configuration", name, given, *field)
			}
			q.Del(name)
		}
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// OpenPool opens or creates the log in a database that the caller is connected
// to. The pool stays the caller's, who closes it after the store; an append,
// a query, each of the two goroutines that keep the search index, and the one
// that empties the outbox take one of its connections at a time, so it needs
// two at least. Its query mode must be neither exec nor simple_protocol.
func OpenPool(ctx context.Context, pool *pgxpool.Pool, cfg Config) (*Store, error) {
	s, err := openPool(ctx, pool, cfg)
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("postgres: open log %q: %w", s.cfg.Log, err)
	}
	return s, nil
}

func openPool(ctx context.Context, pool *pgxpool.Pool, cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, pool: pool, sqls: map[string]string{}}
	s.stop, s.end = context.WithCancel(context.Background())
	if err := s.configure(); err != nil {
		return s, err
	}
	switch pool.Config().ConnConfig.DefaultQueryExecMode {
	case pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec:
		return s, errors.New("default_query_exec_mode is simple_protocol or exec, which have no binary values: set it to cache_describe, which also works behind a pooler")
	}
	if pool.Config().MaxConns < 2 && !s.cfg.ReadOnly {
		return s, errors.New("the pool has one connection: set pool_max_conns to 2 or more")
	}
	if err := s.checkServer(ctx); err != nil {
		return s, err
	}
	if err := s.migrate(ctx); err != nil {
		return s, err
	}
	if v, err := s.version(ctx, pool); err != nil || v == 0 {
		return s, errors.Join(err, ErrNoLog)
	}
	if err := s.openIndex(ctx); err != nil {
		return s, err
	}
	return s, s.openReplica(ctx)
}

var validName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)

func checkName(log string) error {
	if !validName.MatchString(log) || strings.HasPrefix(log, "pg_") {
		return fmt.Errorf("log name %q: want a lower-case letter and then at most 47 lower-case letters, digits or underscores", log)
	}
	return nil
}

func (s *Store) configure() error {
	c := &s.cfg
	if c.Log == "" {
		c.Log = DefaultLog
	}
	if err := checkName(c.Log); err != nil {
		return err
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.LockTimeout <= 0 {
		c.LockTimeout = defaultLockTimeout
	}
	if c.Retry == 0 {
		c.Retry = defaultRetry
	}
	c.Timeout = timeoutOr(c.Timeout)
	s.schema = pgx.Identifier{c.Log}.Sanitize()
	if c.Home == "" {
		home, err := defaultHome(s.pool.Config().ConnConfig, c.Log)
		if err != nil {
			return err
		}
		c.Home = home
	}
	if !c.ReadOnly {
		if err := os.MkdirAll(filepath.Dir(c.Home), 0o700); err != nil {
			return fmt.Errorf("the folder of the log's keys and kept checkpoint: %w", err)
		}
	}
	s.home = home.At(c.Home)
	return nil
}

// defaultHome returns the base name of the log's files in the state folder.
func defaultHome(cc *pgx.ConnConfig, log string) (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) { // the XDG base directory specification
		user, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("%w: name the files of the log's keys and kept checkpoint (home=PATH)", err)
		}
		state = filepath.Join(user, ".local", "state")
	}
	name := strings.Join([]string{cc.Host, strconv.Itoa(int(cc.Port)), cc.Database, log}, "-")
	return filepath.Join(state, "attestlog", url.PathEscape(strings.TrimLeft(name, "/"))), nil
}

func (s *Store) checkServer(ctx context.Context) error {
	var version int
	var fsync string
	err := s.pool.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, current_setting('fsync')").Scan(&version, &fsync)
	if err != nil {
		return err
	}
	if version < minServer {
		return fmt.Errorf("the server is version %d, want 15 or later", version/10_000)
	}
	if fsync != "on" {
		s.cfg.Logger.Warn("attestlog: the server runs with fsync off: receipts do not survive its crash")
	}
	return nil
}

// queryer is what a pool, a connection and a transaction share.
type queryer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// sql writes the schema's name for the @ of each "@.".
func (s *Store) sql(text string) string {
	s.sqlMu.RLock()
	out, ok := s.sqls[text]
	s.sqlMu.RUnlock()
	if !ok {
		out = strings.ReplaceAll(text, "@.", s.schema+".")
		s.sqlMu.Lock()
		s.sqls[text] = out
		s.sqlMu.Unlock()
	}
	return out
}

// unavailable marks an error as one of the store's own.
func unavailable(err error) error {
	return fmt.Errorf("postgres: %w: %w", attestlog.ErrUnavailable, err)
}

// clarify gives reading errors the meanings that attestlog.Store promises.
func (s *Store) clarify(ctx context.Context, err error) error {
	var corrupt *attestlog.CorruptError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case s.stop.Err() != nil:
		return attestlog.ErrClosed
	case errors.As(err, &corrupt), errors.Is(err, attestlog.ErrNotFound):
		return err
	}
	return fmt.Errorf("postgres: %w", err)
}

// Log returns the name of the log's schema.
func (s *Store) Log() string { return s.cfg.Log }

// Home returns the files with the log's keys and kept checkpoint.
func (s *Store) Home() attestlog.Home { return s.home }

// Close ends the store, and closes the pool unless it is the caller's.
func (s *Store) Close() error {
	if s.replica != nil {
		defer s.replica.Close()
	}
	s.index.close()
	s.end()
	if !s.owns {
		return nil
	}
	closed := make(chan struct{})
	go func() { s.pool.Close(); close(closed) }()
	select {
	case <-closed:
		return nil
	case <-time.After(closeWait):
		return errors.New("postgres: close: connections are still in use; they are closed once they are not")
	}
}

// Stats returns the tables' sizes and how far the search index is behind.
func (s *Store) Stats(ctx context.Context) (attestlog.StoreStats, error) {
	var st attestlog.StoreStats
	var lag int64
	err := s.pool.QueryRow(ctx, s.sql(`SELECT
		coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint,
		coalesce(sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname IN ('segments', 'runs')), 0)::bigint,
		(SELECT size FROM @.tree) - (SELECT coalesce(max(hi), 0) FROM @.segments WHERE terms = $2)
		FROM pg_class c WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'r'`), s.schema, attestlog.TermsVersion).Scan(&st.Bytes, &st.IndexBytes, &lag)
	st.IndexLag = uint64(max(lag, 0))
	st.IndexMerging = s.index.filler != nil && s.index.filler.Merging()
	return st, s.clarify(ctx, err)
}
