package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/keep"
	"github.com/attestlog/attestlog/sqlite"
)

// closeWait bounds how long a command waits at its end for what is queued and
// for followers.
const closeWait = time.Minute

// isPostgres reports whether a log's URL names one in PostgreSQL.
func isPostgres(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}

// sqlitePath returns the file that a log's URL names.
func sqlitePath(url string) (string, error) {
	path, ok := strings.CutPrefix(url, "sqlite:")
	if !ok {
		scheme, _, _ := strings.Cut(url, ":")
		return "", hinted{fmt.Errorf("log %q: unknown kind of log %q", url, scheme), "a log in a file is named sqlite:FILE"}
	}
	path = strings.TrimPrefix(path, "//")
	if path == "" {
		return "", hinted{fmt.Errorf("log %q: the file's name is missing", url), "a log in a file is named sqlite:FILE"}
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
func (a *app) open(opts openOptions) (*attestlog.Log, *sqlite.Store, error) {
	path, err := sqlitePath(a.url)
	if err != nil {
		return nil, nil, err
	}
	store, err := sqlite.Open(a.ctx, path, sqlite.Config{MustExist: !opts.create, ReadOnly: !opts.write, Logger: a.logger})
	if errors.Is(err, fs.ErrNotExist) && !opts.create {
		return nil, nil, hinted{fmt.Errorf("there is no log at %s", path), "append, import and key create make one; --log names another"}
	}
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

// reading runs fn with the log open for reading.
func (a *app) reading(fn func(*attestlog.Log, *sqlite.Store) error) error {
	log, store, err := a.open(openOptions{})
	if err != nil {
		return err
	}
	return errors.Join(fn(log, store), log.Close(a.ctx))
}

// closeLog ends a log that was written, even after an interrupt.
func (a *app) closeLog(log *attestlog.Log) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), closeWait)
	defer cancel()
	return log.Close(ctx)
}

// home returns the files beside the log without opening it.
func (a *app) home() (keep.Files, string, error) {
	path, err := sqlitePath(a.url)
	return keep.At(path), path, err
}

func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0
}
