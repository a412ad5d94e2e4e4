package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/client"
	"github.com/attestlog/attestlog/internal/home"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
)

// closeWait bounds how long a command waits at its end for queued events and
// for followers.
const closeWait = time.Minute

// A reader is a log that is only read. It is opened here, or at a server.
type reader interface {
	Origin() string
	Size(ctx context.Context) (uint64, error)
	Query(ctx context.Context, q query.Query, opts attestlog.PageOptions) (attestlog.Page, error)
	Count(ctx context.Context, q query.Query, limit uint64) (uint64, error)
	Entry(ctx context.Context, index uint64) (attestlog.Entry, error)
	EntryByID(ctx context.Context, id string) (attestlog.Entry, error)
	Entries(ctx context.Context, q query.Query) iter.Seq2[attestlog.Entry, error]
	Scan(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error
	Tail(ctx context.Context, from uint64, q query.Query) iter.Seq2[attestlog.Entry, error]
	Checkpoint(ctx context.Context) (attestlog.Checkpoint, error)
	InclusionProof(ctx context.Context, index uint64) (attestlog.InclusionProof, error)
	HashTile(ctx context.Context, level int, n uint64, width int) ([]byte, error)
	EntryBundle(ctx context.Context, n uint64, width int) ([]byte, error)
	Verify(ctx context.Context, opts verify.Options) (verify.Report, error)
}

// A local log is one that is opened here.
type local struct{ *attestlog.Log }

// Verify verifies the log.
func (l local) Verify(ctx context.Context, opts verify.Options) (verify.Report, error) {
	return verify.Log(ctx, l.Log, opts)
}

// A writer is a log that events are appended to. Close waits until they are
// stored.
type writer interface {
	Append(ctx context.Context, events ...attestlog.Event) ([]attestlog.Receipt, error)
	Size(ctx context.Context) (uint64, error)
	Close(ctx context.Context) error
}

// reading runs fn with the log open for reading, here or at a server.
func (a *app) reading(fn func(reader) error) error {
	if !isRemote(a.url) {
		return a.readingHere(func(log *attestlog.Log, _ attestlog.Store) error { return fn(local{log}) })
	}

	c, err := a.dial()
	if err != nil {
		return err
	}
	info, err := c.Info(a.ctx)
	if err != nil {
		return errors.Join(err, c.Close(a.ctx))
	}
	return errors.Join(fn(remote{c, info.Origin}), c.Close(a.ctx))
}

// readingHere runs fn with a log that is opened here, for reading.
func (a *app) readingHere(fn func(*attestlog.Log, attestlog.Store) error) error {
	log, store, err := a.open(openOptions{})
	if err != nil {
		return err
	}
	return errors.Join(fn(log, store), log.Close(a.ctx))
}

// openWriter opens the log for appending, here or at a server. A log here is
// created if it is missing. The caller passes it to closeLog.
func (a *app) openWriter() (writer, error) {
	if isRemote(a.url) {
		return a.dial()
	}
	log, _, err := a.open(openOptions{create: true, write: true})
	return log, err
}

// blamesEvents reports whether an error of a writer's Append may be about the
// events themselves, so that some of them can be stored without the others.
func (a *app) blamesEvents(err error) bool {
	for _, other := range []error{attestlog.ErrUnavailable, attestlog.ErrReadOnly, client.ErrDenied} {
		if errors.Is(err, other) {
			return false
		}
	}
	return a.ctx.Err() == nil
}

// closeLog closes a log that was written to, and waits for it even after an
// interrupt.
func (a *app) closeLog(log interface{ Close(context.Context) error }) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), closeWait)
	defer cancel()
	return log.Close(ctx)
}

// openOptions say how a command needs the log.
type openOptions struct {
	create bool // create it if it is missing
	write  bool
	config attestlog.Config
}

// open opens the log here, and its store. The caller closes the log, which
// closes the store.
func (a *app) open(opts openOptions) (*attestlog.Log, attestlog.Store, error) {
	store, err := a.openStore(opts)
	if err != nil {
		return nil, nil, err
	}

	opts.config.Logger = a.logger
	opts.config.ReadOnly = !opts.write
	log, err := attestlog.New(a.ctx, store, opts.config)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}

	if err := log.ReadOnly(); err != nil && opts.write {
		return nil, nil, errors.Join(err, log.Close(a.ctx))
	}
	return log, store, nil
}

func (a *app) openStore(opts openOptions) (attestlog.Store, error) {
	if isPostgres(a.url) {
		return a.openPostgres(opts)
	}
	return a.openSQLite(opts)
}

const hintNoLog = "append, import and key create make one; --log names another"

func (a *app) openPostgres(opts openOptions) (attestlog.Store, error) {
	store, err := postgres.Open(a.ctx, a.url, postgres.Config{
		MustExist: !opts.create,
		ReadOnly:  !opts.write,
		Logger:    a.logger,
	})
	if errors.Is(err, postgres.ErrNoLog) {
		return nil, hinted{err, hintNoLog}
	}
	if err != nil {
		return nil, err // and not a nil *postgres.Store in an interface
	}
	return store, nil
}

func (a *app) openSQLite(opts openOptions) (attestlog.Store, error) {
	path, err := sqlitePath(a.url)
	if err != nil {
		return nil, err
	}

	store, err := sqlite.Open(a.ctx, path, sqlite.Config{
		MustExist: !opts.create,
		ReadOnly:  !opts.write,
		Logger:    a.logger,
	})
	if errors.Is(err, fs.ErrNotExist) && !opts.create {
		return nil, hinted{fmt.Errorf("there is no log at %s", path), hintNoLog}
	}
	if err != nil {
		return nil, err // and not a nil *sqlite.Store in an interface
	}
	return store, nil
}

// homePath returns the base of the names of the files with the log's keys and kept
// checkpoint, without opening the log.
func (a *app) homePath() (string, error) {
	if isPostgres(a.url) {
		return postgres.HomePath(a.url)
	}
	return sqlitePath(a.url)
}

// publicKeys returns the keys that the log's home has, or attestlog.ErrNotFound.
// Only a home within the database takes opening the log.
func (a *app) publicKeys() (keys []string, base string, err error) {
	base, err = a.homePath()
	if err == nil && base != postgres.InSchema {
		keys, err = home.At(base).VerifierKeys()
		if err == nil || !isPostgres(a.url) {
			return keys, base, err
		}
	}

	store, openErr := a.openPostgres(openOptions{})
	if errors.Is(openErr, postgres.ErrNoLog) || openErr != nil && err != nil {
		return nil, base, cmp.Or(err, error(attestlog.ErrNotFound))
	}
	if openErr != nil {
		return nil, base, openErr
	}
	defer store.Close()
	keys, err = store.Home().VerifierKeys()
	return keys, base, err
}

// exists reports whether there is a file with something in it.
func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0
}

// isPostgres reports whether a log's URL names one in PostgreSQL.
func isPostgres(log string) bool {
	return strings.HasPrefix(log, "postgres://") || strings.HasPrefix(log, "postgresql://")
}

// isRemote reports whether a log's URL names one at a server.
func isRemote(log string) bool {
	return strings.HasPrefix(log, "https://") || strings.HasPrefix(log, "http://")
}

// sqlitePath returns the file that a log's URL names.
func sqlitePath(log string) (string, error) {
	if isRemote(log) {
		err := fmt.Errorf("log %s: this command needs the log itself, not a server that has it", log)
		return "", hinted{err, "run it where the server runs"}
	}

	path, ok := strings.CutPrefix(log, "sqlite:")
	if !ok {
		scheme, _, _ := strings.Cut(log, ":")
		err := fmt.Errorf("log %q: unknown kind of log %q", redacted(log), scheme)
		return "", hinted{err, "a log in a file is named sqlite:FILE, one in PostgreSQL " +
			"postgres://HOST/DATABASE?log=NAME, one at a server https://SERVER/LOG"}
	}

	path = strings.TrimPrefix(path, "//")
	if path == "" {
		return "", hinted{fmt.Errorf("log %q: the file's name is missing", log), "a log in a file is named sqlite:FILE"}
	}
	return path, nil
}

// redacted returns a log's URL without the password that it may hold.
func redacted(log string) string {
	u, err := url.Parse(log)
	if err != nil || !isPostgres(log) {
		return log
	}

	// libpq takes a password among the parameters too.
	q := u.Query()
	if q.Has("password") {
		q.Set("password", "xxxxx")
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}

// remote is a server's log, with its origin, which the client has asked for.
type remote struct {
	*client.Client
	origin string
}

func (r remote) Origin() string { return r.origin }

const tokenVariable = "ATTESTLOG_TOKEN"

// dial returns a client of the server that has the log.
func (a *app) dial() (*client.Client, error) {
	// The URL is not shown: it holds a secret.
	if u, err := url.Parse(a.url); err == nil && u.User != nil {
		return nil, hinted{errors.New("the log's URL holds a password"), "put the token into " + tokenVariable}
	}

	token := os.Getenv(tokenVariable)
	if token == "" {
		return nil, hinted{
			fmt.Errorf("log %s: a token is needed", a.url),
			"put it into " + tokenVariable + "; attestlog token create makes one, on the machine that has the log",
		}
	}
	return client.New(client.Config{URL: a.url, Token: token, Logger: a.logger})
}
