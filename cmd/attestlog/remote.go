package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"os"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/client"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

// A reader is a log that is looked into: one that is opened here, or one that a
// server has.
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

// A writer takes events. Closing it waits until they are stored.
type writer interface {
	Append(ctx context.Context, events ...attestlog.Event) ([]attestlog.Receipt, error)
	Size(ctx context.Context) (uint64, error)
	Close(ctx context.Context) error
}

// remote is a server's log, whose origin is known.
type remote struct {
	*client.Client
	origin string
}

func (r remote) Origin() string { return r.origin }

// isRemote reports whether a log's URL names one at a server.
func isRemote(log string) bool {
	return strings.HasPrefix(log, "https://") || strings.HasPrefix(log, "http://")
}

const tokenVariable = "ATTESTLOG_TOKEN"

// dial makes a client of the server that has the log.
func (a *app) dial() (*client.Client, error) {
	token := os.Getenv(tokenVariable)
	if token == "" {
		return nil, hinted{fmt.Errorf("log %s: a token is needed", a.url), tokenVariable + " holds it; attestlog token create makes one where the log is"}
	}
	if u, err := url.Parse(a.url); err == nil && u.User != nil {
		return nil, hinted{errors.New("the log's URL holds a password"), tokenVariable + " holds the token"}
	}
	return client.New(client.Config{URL: a.url, Token: token, Logger: a.logger})
}

// reading runs fn with the log open for reading.
func (a *app) reading(fn func(reader) error) error {
	if !isRemote(a.url) {
		return a.readingHere(func(log *attestlog.Log, _ attestlog.Store) error { return fn(log) })
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

// openWriter opens the log to store events.
func (a *app) openWriter() (writer, error) {
	if isRemote(a.url) {
		return a.dial()
	}
	log, _, err := a.open(openOptions{create: true, write: true})
	return log, err
}
