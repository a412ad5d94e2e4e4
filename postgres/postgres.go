// Package postgres keeps a log in a schema of a PostgreSQL database (15 or
// later). Several processes may append to one log at a time.
//
// The tables are described in schema/0002.sql. The log's keys and its newest
// signed checkpoint should not be in the database: they are files, see
// Config.Home, and Config.HomeInSchema for what it means if they are not.
//
// # A write
//
// Store.Write runs a function of the log in one transaction:
//
//  1. It waits while too many entries are not in the search index yet, and
//     takes a connection from the pool.
//  2. One round trip begins the transaction, sets its limits and locks the row
//     of the table tree. All writers of the log, of all processes, take turns
//     on that row. The round trip also returns the tree and the greatest key. A
//     process that has the log to itself assumes that both are what it left; its
//     next small batch begins the transaction in step 4, and fails there, to be
//     tried again, if another process has written.
//  3. The log asks Tx.PutKeys which ids are new. Only keys up to the greatest
//     are looked up. The keys of new events are mostly beyond it, so most
//     transactions look up none.
//  4. Tx.Put stores the batch: leaves, keys and disclosures by a pipeline of
//     INSERTs, or by COPY from 200 entries on, then the tree's row and the
//     full tiles. The last statements and the COMMIT are one round trip.
//  5. What was committed is handed to the index's filler.
//
// A transaction is given up when one of its steps takes too long. After an error
// that may pass it is tried again, for as long as Config.Retry. If an answer was
// lost, the next try finds out by the ids whether the transaction was
// committed, once it has the lock.
//
// # A search
//
// Store.Search reads the size of the tree, and has package internal/inverted
// answer from the index: it reads rows of the table runs, which hold sorted
// pairs of a term's hash and an entry's index, and combines them. The entries
// that are found, and those that are not indexed yet, are read from the
// partitions of the table entries; the log compares them with the query. With
// Config.Reader all of that happens on a replica.
//
// # Goroutines
//
// A Store that may write has two goroutines, which fill and merge the search
// index (package internal/inverted). Close ends them and waits for them.
// Everything else happens on the callers' goroutines, of which there may be
// any number. The transaction of a Write belongs to the goroutine that called
// it.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/lasting"
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
	// HomeInSchema keeps them in a table of the log's schema instead, for
	// programs that have no state outside the database. Whoever owns the schema
	// can then sign anything, and nobody notices that a backup was put back. The
	// parameter home=schema of a DSN says the same. Defaults to files.
	HomeInSchema bool
	// MustExist makes a missing log an error. Defaults to creating it.
	MustExist bool
	// ReadOnly never writes to the database. Defaults to reading and writing.
	ReadOnly bool
	// Reader is the DSN of a streaming replica, or of several. Queries, counts
	// and exports are answered there, as of what it has received: Page.Size
	// says how much. So is EntryByID of an id that is not a UUIDv7. Everything
	// else is read from the database that is written to. Defaults to none.
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
	// Timeout is how long to wait for a network or a server that hangs. A
	// transaction is given up when a step of it takes longer than this and
	// LockTimeout together; connecting is given up after this time, unless the
	// DSN has connect_timeout. The other way round, the server ends a
	// transaction in which it hears nothing for this time, so that a process
	// that hangs does not hold up the others. Defaults to 30 s.
	Timeout time.Duration
	// Logger receives warnings. Defaults to slog.Default().
	Logger *slog.Logger
}

const (
	minServer = 150_000          // server_version_num of the oldest server that will do
	closeWait = 10 * time.Second // for callers that are still reading
)

// A Store is an attestlog.Store in a schema of a PostgreSQL database. Its
// methods are safe for concurrent use.
type Store struct {
	// Set when the store is opened.
	cfg       Config
	pool      *pgxpool.Pool
	ownsPool  bool   // the pool is closed with the store
	schema    string // quoted
	home      attestlog.Home
	index     index
	replica   *Store // answers queries instead, or nil
	isReplica bool
	closing   stopSignal // given when Close begins

	textMu sync.RWMutex
	texts  map[string]string // SQL with the schema's name, by SQL without; guarded by textMu

	failing lasting.State            // transactions
	last    atomic.Pointer[lastTree] // what this process committed last, or nil

	partitions atomic.Uint64 // how many are known to be there, from number 0 on
}

var _ attestlog.Store = (*Store)(nil)

// Open connects to the database that dsn names, a URL or key=value pairs as
// pgxpool.ParseConfig reads them, and opens or creates the log. Besides that
// function's parameters a URL may have log and home, which set Config.Log and
// Config.Home. Errors match ErrForeign, ErrNewer, ErrOlder or ErrNoLog, or
// come from the server.
func Open(ctx context.Context, dsn string, cfg Config) (*Store, error) {
	dsn, err := ownParameters(dsn, &cfg)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	pc, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}

	severalHosts := len(pc.ConnConfig.Fallbacks) > 0
	if severalHosts && !cfg.ReadOnly && pc.ConnConfig.ValidateConnect == nil {
		// The one that takes writes.
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
	s.ownsPool = true
	return s, nil
}

// OpenPool opens or creates the log in a database that the caller is connected
// to. The pool stays the caller's, who closes it after the store. An append,
// a query, each of the two goroutines that keep the search index, and the one
// that empties the outbox take one of its connections at a time, so it needs
// at least two. Its query mode must be neither exec nor simple_protocol.
func OpenPool(ctx context.Context, pool *pgxpool.Pool, cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, pool: pool, texts: map[string]string{}, closing: newStopSignal()}
	err := s.open(ctx)
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("postgres: open log %q: %w", s.cfg.Log, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	err := s.configure()
	if err != nil {
		return err
	}

	switch s.pool.Config().ConnConfig.DefaultQueryExecMode {
	case pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec:
		return errors.New("default_query_exec_mode is simple_protocol or exec, which have no binary values: " +
			"set it to cache_describe, which also works behind a pooler")
	}
	if s.pool.Config().MaxConns < 2 && !s.cfg.ReadOnly {
		return errors.New("the pool has one connection: set pool_max_conns to 2 or more")
	}
	err = s.checkServer(ctx)
	if err != nil {
		return err
	}

	err = s.migrate(ctx)
	if err != nil {
		return err
	}
	v, err := s.version(ctx, s.pool)
	if err != nil || v == 0 {
		return errors.Join(err, ErrNoLog)
	}

	err = s.openHome(ctx)
	if err != nil {
		return err
	}
	err = s.openIndex(ctx)
	if err != nil {
		return err
	}
	return s.openReplica(ctx)
}

var validName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)

func checkName(log string) error {
	if !validName.MatchString(log) || strings.HasPrefix(log, "pg_") {
		return fmt.Errorf("log name %q: want a lower-case letter and then "+
			"at most 47 lower-case letters, digits or underscores", log)
	}
	return nil
}

// configure checks the configuration and puts the defaults in.
func (s *Store) configure() error {
	c := &s.cfg
	if c.Log == "" {
		c.Log = DefaultLog
	}
	err := checkName(c.Log)
	if err != nil {
		return err
	}
	s.schema = pgx.Identifier{c.Log}.Sanitize()

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

	return nil
}

func (s *Store) checkServer(ctx context.Context) error {
	var version int
	var fsync string
	err := s.pool.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, current_setting('fsync')").
		Scan(&version, &fsync)
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

// sql writes the schema's name in place of the @ of each "@.".
func (s *Store) sql(text string) string {
	s.textMu.RLock()
	out, ok := s.texts[text]
	s.textMu.RUnlock()
	if ok {
		return out
	}

	out = strings.ReplaceAll(text, "@.", s.schema+".")
	s.textMu.Lock()
	s.texts[text] = out
	s.textMu.Unlock()
	return out
}

// unavailable marks an error as one of the store's own.
func unavailable(err error) error {
	return fmt.Errorf("postgres: %w: %w", attestlog.ErrUnavailable, err)
}

// readError gives an error of reading the meaning that attestlog.Store
// promises.
func (s *Store) readError(ctx context.Context, err error) error {
	var corrupt *attestlog.CorruptError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case s.closing.given():
		return attestlog.ErrClosed
	case errors.As(err, &corrupt), errors.Is(err, attestlog.ErrNotFound):
		return err
	}
	return fmt.Errorf("postgres: %w", err)
}

// Log returns the name of the log's schema.
func (s *Store) Log() string { return s.cfg.Log }

// Home returns where the log's keys and kept checkpoint are: files, or the schema.
func (s *Store) Home() attestlog.Home { return s.home }

// Close ends the store, and closes the pool unless it is the caller's. It waits
// for the search index to catch up, and for callers that are still reading.
func (s *Store) Close() error {
	if s.replica != nil {
		defer s.replica.Close()
	}
	s.index.close()
	s.closing.give()
	if !s.ownsPool {
		return nil
	}

	closed := make(chan struct{})
	go func() {
		s.pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
		return nil
	case <-time.After(closeWait):
		return errors.New("postgres: close: connections are still in use; they are closed once they are not")
	}
}

// Stats returns the tables' sizes, and how many entries are not indexed yet.
func (s *Store) Stats(ctx context.Context) (attestlog.StoreStats, error) {
	var st attestlog.StoreStats
	var lag int64
	err := s.pool.QueryRow(ctx, s.sql(`SELECT
		coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint,
		coalesce(sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname IN ('segments', 'runs')), 0)::bigint,
		(SELECT size FROM @.tree) - (SELECT coalesce(max(hi), 0) FROM @.segments WHERE terms = $2)
		FROM pg_class c WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'r'`),
		s.schema, attestlog.TermsVersion).Scan(&st.Bytes, &st.IndexBytes, &lag)
	st.IndexLag = uint64(max(lag, 0))
	st.IndexMerging = s.index.filler != nil && s.index.filler.Merging()
	return st, s.readError(ctx, err)
}
