// Package auditlog has the API of an audit log that many Go services keep in
// an SQLite table, on top of attestlog: change the import path, and each record
// is an entry of a log that can prove itself.
//
//	s, err := auditlog.New("/var/lib/app/audit.db")
//	s.Record("alice", "POST", "/mail/7", "mail", 200)
//	entries, err := s.List(100)
//	s.Close()
//
// New on a file that holds the old table imports it once into a log beside it,
// FILE.attestlog, and leaves the file as it was; it may be put away afterwards. Where the old log broke its own
// promise this one does not: the order is that of the calls also when many come
// at once, and a Record during or after Close is stored or logged as an error.
package auditlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/query"

	table "github.com/attestlog/attestlog/convert/auditlog"
	"github.com/attestlog/attestlog/sqlite"
)

// An Entry is one recorded request.
type Entry struct {
	Time     string `json:"time" example:"2026-03-01T10:00:00Z" doc:"When the request was made (RFC 3339, UTC)"`
	Username string `json:"username" example:"alice" doc:"Who made it"`
	Method   string `json:"method" example:"POST" doc:"HTTP method"`
	Path     string `json:"path" example:"/mail/7" doc:"Request path"`
	Module   string `json:"module" example:"mail" doc:"Part of the program"`
	Status   int    `json:"status" example:"200" doc:"HTTP status of the answer"`
}

// A Store is an open log. Its methods are safe for concurrent use.
type Store struct {
	log    *attestlog.Log
	closed atomic.Bool
}

// Suffix is what the name of a log has behind that of an old file.
const Suffix = ".attestlog"

// imported is the action of the entry that ends an import.
const imported = "auditlog.imported"

// New opens or creates the log in the file path, whose folder it makes with
// mode 0700. If the file holds an old audit table, the log is path with Suffix,
// and New first imports the table unless that was done before: an import that
// was interrupted goes on.
func New(path string) (*Store, error) {
	s, err := open(context.Background(), path)
	if err != nil {
		return nil, fmt.Errorf("auditlog: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	old, err := table.Open(path)
	if err == nil {
		defer old.Close()
		old.Source = "audit" // whatever the file is called: there is one beside a log
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, table.ErrNoTable) {
		return nil, err
	}
	_, beside := os.Stat(path + Suffix)
	switch {
	case old != nil:
		path += Suffix
	case beside == nil && errors.Is(err, fs.ErrNotExist): // the old file was put away
		path += Suffix
	case beside == nil:
		return nil, fmt.Errorf("%s is not the table that %s was begun with; move one of them away", path, path+Suffix)
	}
	store, err := sqlite.Open(ctx, path, sqlite.Config{})
	if err != nil {
		return nil, err
	}
	log, err := attestlog.New(ctx, store, attestlog.Config{})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	if err := log.ReadOnly(); err != nil {
		return nil, errors.Join(err, log.Close(ctx))
	}
	if old != nil {
		if err := takeOver(ctx, log, old); err != nil {
			return nil, errors.Join(fmt.Errorf("import of the old table: %w", err), log.Close(ctx))
		}
	}
	return &Store{log: log}, nil
}

// takeOver imports the old table, unless an entry says that this was done.
func takeOver(ctx context.Context, log *attestlog.Log, old *table.Table) error {
	if n, err := log.Count(ctx, isImported, 1); err != nil || n > 0 {
		return err
	}
	slog.Info("auditlog: importing the old table", "rows", old.Rows)
	const batch, every = 1_000, 100_000
	var rows int64
	events := make([]attestlog.Event, 0, batch)
	flush := func() error {
		_, err := log.Append(ctx, events...)
		events = events[:0]
		return err
	}
	for e, err := range old.Events(ctx) {
		if err != nil {
			return err
		}
		events = append(events, e)
		if rows++; len(events) == batch {
			if err := flush(); err != nil {
				return err
			}
		}
		if rows%every == 0 {
			slog.Info("auditlog: importing the old table", "done", rows, "rows", old.Rows)
		}
	}
	if err := flush(); err != nil {
		return err
	}
	stored, err := log.Count(ctx, query.Prefix("id", table.Format+":"), 0)
	if err != nil {
		return err
	}
	if rows != old.Rows || int64(stored) < rows {
		return fmt.Errorf("the table has %d rows, of which %d were read and %d are in the log", old.Rows, rows, stored)
	}
	_, err = log.Append(ctx, attestlog.Event{
		Action: imported, Operation: "import", Outcome: attestlog.Success, Actor: attestlog.Actor{ID: "auditlog", Type: "system"},
		Attributes: map[string]any{"rows": rows},
	})
	return err
}

// Record queues one request, with the time of the call, and returns. While the
// queue is full it waits. What cannot be stored is logged.
func (s *Store) Record(username, method, path, module string, status int) {
	e := attestlog.Event{
		Time: time.Now(), Action: table.Action(method), Outcome: table.OutcomeOf(status), Actor: attestlog.Actor{ID: username}, Module: module,
		Request: attestlog.Request{Method: method, Path: path, Status: status},
	}
	if err := fit.Record(context.Background(), s.log, e); err != nil {
		slog.Error("auditlog: a request could not be recorded", "err", err,
			"username", username, "method", method, "path", path, "module", module, "status", status)
	}
}

// isImported selects the entry that ends an import.
var isImported = query.And(query.Field("action", imported), query.Field("operation", "import"))

// requests selects what Record and the import put into the log.
var requests = query.And(query.Not(query.Prefix("action", "attestlog.")), query.Not(isImported))

// List returns the newest entries, newest first, at most limit; with a negative
// limit all of them. Everything that was recorded before is among them. The
// slice is never nil.
func (s *Store) List(limit int) ([]Entry, error) {
	entries, err := s.list(context.Background(), limit)
	if err != nil {
		return []Entry{}, fmt.Errorf("auditlog: list: %w", err)
	}
	return entries, nil
}

func (s *Store) list(ctx context.Context, limit int) ([]Entry, error) {
	out := []Entry{}
	if err := s.log.Flush(ctx); err != nil {
		slog.Error("auditlog: some requests could not be recorded", "err", err)
	}
	const most = 1_000
	for cursor := ""; limit < 0 || len(out) < limit; {
		want := most
		if limit >= 0 {
			want = min(limit-len(out), most)
		}
		page, err := s.log.Query(ctx, requests, attestlog.PageOptions{Limit: want, Cursor: cursor})
		if err != nil {
			return nil, err
		}
		for i := range page.Entries {
			out = append(out, entryOf(page.Entries[i].Event))
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	return out, nil
}

func entryOf(e attestlog.Event) Entry {
	e = fit.Restore(e)
	out := Entry{
		Time: e.Time.UTC().Format(time.RFC3339), Username: e.Actor.ID, Method: e.Request.Method,
		Path: e.Request.Path, Module: e.Module, Status: e.Request.Status,
	}
	if row, err := table.RowOf(e); err == nil { // values of another kind than the table's columns
		for _, f := range [...]struct {
			v  any
			to *string
		}{{row.Username, &out.Username}, {row.Method, &out.Method}, {row.Path, &out.Path}, {row.Module, &out.Module}} {
			if f.v != nil {
				*f.to = fmt.Sprint(f.v)
			}
		}
	}
	return out
}

// Close stores what was recorded and closes the log. A second Close does
// nothing.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if err := s.log.Close(context.Background()); err != nil {
		return fmt.Errorf("auditlog: close: %w", err)
	}
	return nil
}

// Log returns the log itself, to query, verify and prove.
func (s *Store) Log() *attestlog.Log { return s.log }

// ServeHTTP answers GET with the newest entries as a JSON array, as many as the
// parameter limit says, 100 by default and 10,000 at most. It has no
// authentication of its own.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "entries are only read here", http.StatusMethodNotAllowed)
		return
	}
	const usual, most = 100, 10_000
	limit := usual
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			http.Error(w, "limit: want a number from 0 to 10000", http.StatusBadRequest)
			return
		}
		limit = min(n, most)
	}
	entries, err := s.list(r.Context(), limit)
	if err != nil {
		slog.Error("auditlog: list", "err", err)
		http.Error(w, "the audit log could not be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	json.NewEncoder(w).Encode(entries)
}
