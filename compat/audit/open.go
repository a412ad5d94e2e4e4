package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/spool"
	"github.com/attestlog/attestlog/witness"
)

// Config says where a log's trust comes from. The zero Config is that of New.
type Config struct {
	// Home is the path, without a suffix, of the files with the log's keys and
	// newest checkpoint: see postgres.Config. Every process needs the same.
	// Defaults to a table in the log's schema.
	Home string
	// Signer signs checkpoints. Defaults to the key kept in the home.
	Signer note.Signer
	// Witnesses are asked every ten seconds to cosign a new checkpoint. Defaults
	// to none.
	Witnesses *witness.Quorum
}

// New opens or creates the log in the database, takes over the rows of the table
// audit_log that are not in it yet, and opens logPath for appending. It makes
// folders with mode 0750, and the file with 0640. If logPath is empty or cannot be
// written, New logs a warning. A nil logger is slog.Default().
func New(dsn, logPath string, logger *slog.Logger) (*Logger, error) {
	return Open(dsn, logPath, logger, Config{})
}

// Open is New with a Config.
func Open(dsn, logPath string, logger *slog.Logger, cfg Config) (*Logger, error) {
	if logger == nil {
		logger = slog.Default()
	}
	ctx := context.Background()
	storeCfg := postgres.Config{
		Logger: logger,
		Home:   cfg.Home,
		Retry:  -1, // what the store does not take goes to the spool
	}
	server, err := postgres.SplitDSN(dsn, &storeCfg)
	if err != nil {
		return nil, fmt.Errorf("audit: connect: %w", err)
	}
	storeCfg.HomeInSchema = storeCfg.Home == ""
	server, err = roomy(server)
	if err != nil {
		return nil, fmt.Errorf("audit: connect: %w", err)
	}
	pool, err := pgxpool.New(ctx, server)
	if err != nil {
		return nil, fmt.Errorf("audit: connect: %w", err)
	}

	l := &Logger{logger: logger, pool: pool, stop: func() {}, ready: make(chan struct{})}
	err = l.open(ctx, server, storeCfg, cfg)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("audit: create schema: %w", err)
	}
	l.file = openFile(logPath, logger)
	return l, nil
}

// roomy returns a DSN for a pool that a log can use: see postgres.OpenPool.
func roomy(dsn string) (string, error) {
	pc, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return "", err
	}

	const minConns = 8
	if pc.MaxConns < minConns {
		dsn = withParameter(dsn, "pool_max_conns", fmt.Sprint(minConns))
	}
	switch pc.ConnConfig.DefaultQueryExecMode {
	case pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec:
		dsn = withParameter(dsn, "default_query_exec_mode", "cache_describe")
	}
	return dsn, nil
}

// withParameter sets a parameter of a DSN that was parsed without an error.
func withParameter(dsn, name, value string) string {
	u, err := url.Parse(dsn)
	isURL := strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
	if !isURL || err != nil {
		return strings.TrimSpace(dsn + " " + name + "=" + value) // the last one counts
	}

	query := u.Query()
	query.Set(name, value)
	u.RawQuery = query.Encode()
	return u.String()
}

func (l *Logger) open(ctx context.Context, dsn string, storeCfg postgres.Config, cfg Config) error {
	err := makeTable(ctx, l.pool)
	if err != nil {
		return err
	}
	store, err := postgres.Open(ctx, dsn, storeCfg)
	if err != nil {
		return err
	}

	spools, err := l.openSpools(ctx, store.Log())
	if err == nil {
		l.log, err = attestlog.New(ctx, store, attestlog.Config{Logger: l.logger, Outboxes: spools, Signer: cfg.Signer})
	}
	if err != nil {
		for _, s := range spools {
			err = errors.Join(err, s.Close())
		}
		return errors.Join(err, store.Close())
	}

	err = l.start(ctx, store.Log(), cfg)
	if err != nil {
		l.stop()
		l.running.Wait()
		return errors.Join(err, l.log.Close(ctx))
	}
	return nil
}

// start takes over the table's rows, and starts what runs in the background.
func (l *Logger) start(ctx context.Context, schema string, cfg Config) error {
	err := l.log.ReadOnly()
	if err != nil {
		return err
	}
	l.schema = schema
	err = l.chooseSequence(ctx)
	if err != nil {
		return err
	}
	close(l.ready)

	f := newFollower(l, schema)
	err = f.takeOver(ctx)
	if err != nil {
		return fmt.Errorf("the table audit_log: %w", err)
	}
	background, cancel := context.WithCancel(ctx)
	l.stop = cancel
	l.running.Go(func() { f.run(background) })
	l.running.Go(func() { l.feedView(background) })
	if cfg.Witnesses != nil {
		c := &cosigner{l: l, witnesses: cfg.Witnesses}
		l.running.Go(func() { c.run(background) })
	}

	// Entries that wait in spools, also of processes that are gone, come first.
	flushing, cancelFlush := context.WithTimeout(ctx, storeTimeout)
	defer cancelFlush()
	err = l.log.Flush(flushing)
	if err != nil {
		l.logger.Warn("audit: entries that wait could not be stored yet", "err", err)
	}
	return nil
}

// openSpools opens the first spool that no other process has open, for this
// process, and all others that processes which are gone have left. Without a state
// folder it opens no spool.
func (l *Logger) openSpools(ctx context.Context, schema string) ([]attestlog.Outbox, error) {
	base, err := l.spoolBase(ctx, schema)
	if err != nil || base == "" {
		return nil, err
	}

	// Spools are numbered from 1 on and never removed, so there are no others after
	// the first number that is free.
	var spools []attestlog.Outbox
	for n := 1; ; n++ {
		path := fmt.Sprintf("%s-%d", base, n)
		_, statErr := os.Stat(path)
		if statErr != nil && l.spool != nil {
			return spools, nil
		}

		s, err := spool.Open(path, spool.Config{Wait: time.Millisecond})
		if errors.Is(err, spool.ErrInUse) { // its process is running, and empties it
			continue
		}
		if err != nil {
			l.logger.Warn("audit: a file that could hold entries while the database is away cannot be used", "path", path, "err", err)
			if statErr != nil { // nor could another be made
				return spools, nil
			}
			continue
		}
		spools = append(spools, &numbered{Spool: s, l: l, again: true})
		if l.spool == nil {
			l.spool = s
		}
	}
}

// spoolBase returns the path, without a number, of the spools of the log, or "" if
// this process has no state folder. It depends on the log and not on how the DSN
// names it, which may be another way the next time.
func (l *Logger) spoolBase(ctx context.Context, schema string) (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) { // the XDG base directory specification
		user, err := os.UserHomeDir()
		if err != nil {
			return "", nil
		}
		state = filepath.Join(user, ".local", "state")
	}
	folder := filepath.Join(state, "attestlog")
	err := os.MkdirAll(folder, 0o700)
	if err != nil { // a container, say, whose files cannot be written
		return "", nil
	}

	// The key of its search index is the log's own, and never changes.
	var identity string
	err = l.pool.QueryRow(ctx, "SELECT left(encode(sha256(value), 'hex'), 16) FROM "+
		pgx.Identifier{schema, "meta"}.Sanitize()+" WHERE name = 'index_key'").Scan(&identity)
	return filepath.Join(folder, "audit-"+identity+".spool"), err
}
