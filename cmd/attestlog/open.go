package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/home"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/sqlite"
)

// closeWait bounds how long a command waits at its end for what is queued and
// for followers.
const closeWait = time.Minute

// isPostgres reports whether a log's URL names one in PostgreSQL.
func isPostgres(log string) bool {
	return strings.HasPrefix(log, "postgres://") || strings.HasPrefix(log, "postgresql://")
}

// redacted returns a log's URL without the password that it may hold.
func redacted(log string) string {
	if u, err := url.Parse(log); err == nil && isPostgres(log) {
		q := u.Query()
		if q.Has("password") {
			q.Set("password", "xxxxx")
			u.RawQuery = q.Encode()
		}
		return u.Redacted()
	}
	return log
}

// sqlitePath returns the file that a log's URL names.
func sqlitePath(log string) (string, error) {
	if isRemote(log) {
		return "", hinted{fmt.Errorf("log %s: this command needs the log itself, not a server that has it", log), "run it where the server runs"}
	}
	path, ok := strings.CutPrefix(log, "sqlite:")
	if !ok {
		scheme, _, _ := strings.Cut(log, ":")
		return "", hinted{fmt.Errorf("log %q: unknown kind of log %q", redacted(log), scheme), "a log in a file is named sqlite:FILE, one in PostgreSQL postgres://HOST/DATABASE?log=NAME, one at a server https://SERVER/LOG"}
	}
	path = strings.TrimPrefix(path, "//")
	if path == "" {
		return "", hinted{fmt.Errorf("log %q: the file's name is missing", log), "a log in a file is named sqlite:FILE"}
	}
	return path, nil
}

// openOptions say how a command needs the log.
type openOptions struct {
	create bool // make it if it is missing
	write  bool
	config attestlog.Config
}

// open opens the log and its store. The caller closes the log.
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
	const hint = "append, import and key create make one; --log names another"
	if isPostgres(a.url) {
		store, err := postgres.Open(a.ctx, a.url, postgres.Config{MustExist: !opts.create, ReadOnly: !opts.write, Logger: a.logger})
		if errors.Is(err, postgres.ErrNoLog) {
			return nil, hinted{err, hint}
		}
		if err != nil {
			return nil, err // not a nil *Store in an interface
		}
		return store, nil
	}
	path, err := sqlitePath(a.url)
	if err != nil {
		return nil, err
	}
	store, err := sqlite.Open(a.ctx, path, sqlite.Config{MustExist: !opts.create, ReadOnly: !opts.write, Logger: a.logger})
	if errors.Is(err, fs.ErrNotExist) && !opts.create {
		return nil, hinted{fmt.Errorf("there is no log at %s", path), hint}
	}
	if err != nil {
		return nil, err
	}
	return store, nil
}

// readingHere runs fn with a log that is opened here, for reading.
func (a *app) readingHere(fn func(*attestlog.Log, attestlog.Store) error) error {
	log, store, err := a.open(openOptions{})
	if err != nil {
		return err
	}
	return errors.Join(fn(log, store), log.Close(a.ctx))
}

// closeLog ends a log that was written, even after an interrupt.
func (a *app) closeLog(log interface{ Close(context.Context) error }) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), closeWait)
	defer cancel()
	return log.Close(ctx)
}

// home returns the files beside the log without opening it.
func (a *app) home() (home.Files, string, error) {
	if isPostgres(a.url) {
		path, err := postgres.HomePath(a.url)
		return home.At(path), path, err
	}
	path, err := sqlitePath(a.url)
	return home.At(path), path, err
}

func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0
}
