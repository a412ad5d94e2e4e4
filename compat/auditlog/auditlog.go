// Package auditlog has the API of an audit log that many Go services keep in an
// SQLite table, on top of attestlog: change the import path, and each record
// becomes an entry of a log that can prove itself.
//
//	s, err := auditlog.New("/var/lib/app/audit.db")
//	s.Record("alice", "POST", "/mail/7", "mail", 200)
//	entries, err := s.List(100)
//	s.Close()
//
// If the file holds the old table, New imports it once into a log next to it,
// FILE.attestlog, and leaves the file as it was; it may be moved away afterwards.
//
// Where the old log broke its own promises, this one keeps them: entries are in
// the order of the calls even when many come at once, and a Record during or after
// Close is stored or logged as an error.
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
	table "github.com/attestlog/attestlog/convert/auditlog"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/oldlog"
	"github.com/attestlog/attestlog/query"
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

// Suffix is appended to the name of an old file to make that of its log.
const Suffix = ".attestlog"

// importName names this package in the entry that ends an import.
const importName = "auditlog"

// New opens or creates the log in the file path, whose folder it makes with mode
// 0700. If the file holds an old audit table, the log is the file path+Suffix, and
// New first imports the table, unless that was done before. An import that was
// interrupted is continued.
func New(path string) (*Store, error) {
	s, err := open(context.Background(), path)
	if err != nil {
		return nil, fmt.Errorf("auditlog: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, path string) (*Store, error) {
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err != nil {
		return nil, err
	}

	// The table has the file's name if there is one, and the log another.
	old, err := openTable(path)
	if err != nil {
		return nil, err
	}
	if old != nil {
		defer old.Close()
	}
	logPath, err := logPathOf(path, old != nil)
	if err != nil {
		return nil, err
	}

	store, err := sqlite.Open(ctx, logPath, sqlite.Config{})
	if err != nil {
		return nil, err
	}
	log, err := attestlog.New(ctx, store, attestlog.Config{})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}

	// Record returns no error, so it is found out here that the log takes nothing.
	err = log.ReadOnly()
	if err != nil {
		return nil, errors.Join(err, log.Close(ctx))
	}
	if old != nil {
		err := importOnce(ctx, log, old)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("import of the old table: %w", err), log.Close(ctx))
		}
	}
	return &Store{log: log}, nil
}

// openTable opens the old table in a file, or returns nil if there is none.
func openTable(path string) (*table.Table, error) {
	old, err := table.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, table.ErrNoTable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}

	// The ids of the rows must not change if the file is given another name.
	old.Source = "audit"
	return old, nil
}

// logPathOf returns the path of the log that belongs to a file, which may hold the
// old table.
func logPathOf(path string, isTable bool) (string, error) {
	if isTable {
		return path + Suffix, nil
	}

	_, err := os.Stat(path + Suffix)
	if err != nil {
		return path, nil // there never was a table
	}
	_, err = os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path + Suffix, nil // the file with the table was moved away
	}
	return "", fmt.Errorf("%s is not the table that %s was begun with; move one of them away", path, path+Suffix)
}

// importOnce imports the old table, unless an entry says that this was done.
func importOnce(ctx context.Context, log *attestlog.Log, old *table.Table) error {
	done, err := oldlog.IsImported(ctx, log, importName)
	if err != nil || done {
		return err
	}
	return oldlog.Import(ctx, log, oldlog.Table{
		Name:   importName,
		Format: table.Format,
		Rows:   old.Rows,
		Events: old.Events(ctx),
		Logger: slog.Default(),
	})
}

// Record queues one request, with the time of the call, and returns. While the
// queue is full it waits. A request that cannot be stored is logged.
func (s *Store) Record(username, method, path, module string, status int) {
	e := attestlog.Event{
		Time:    time.Now(),
		Action:  table.Action(method),
		Outcome: table.OutcomeOf(status),
		Actor:   attestlog.Actor{ID: username},
		Module:  module,
		Request: attestlog.Request{Method: method, Path: path, Status: status},
	}

	err := fit.Record(context.Background(), s.log, e)
	if err != nil {
		slog.Error("auditlog: a request could not be recorded", "err", err,
			"username", username, "method", method, "path", path, "module", module, "status", status)
	}
}

// requests selects what Record and the import put into the log.
var requests = query.And(query.Not(query.Prefix("action", "attestlog.")), query.Not(oldlog.Imported(importName)))

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
	err := s.log.Flush(ctx)
	if err != nil {
		slog.Error("auditlog: some requests could not be recorded", "err", err)
	}

	const maxPage = 1_000
	out := []Entry{}
	cursor := ""
	for limit < 0 || len(out) < limit {
		want := maxPage
		if limit >= 0 {
			want = min(limit-len(out), maxPage)
		}
		page, err := s.log.Query(ctx, requests, attestlog.PageOptions{Limit: want, Cursor: cursor})
		if err != nil {
			return nil, err
		}

		for i := range page.Entries {
			out = append(out, entryOf(page.Entries[i].Event))
		}
		if page.Next == "" {
			break
		}
		cursor = page.Next
	}
	return out, nil
}

func entryOf(e attestlog.Event) Entry {
	e = fit.Restore(e)
	out := Entry{
		Time:     e.Time.UTC().Format(time.RFC3339),
		Username: e.Actor.ID,
		Method:   e.Request.Method,
		Path:     e.Request.Path,
		Module:   e.Module,
		Status:   e.Request.Status,
	}

	// An imported row may have values of other types than the table declares.
	row, err := table.RowOf(e)
	if err != nil {
		return out
	}
	setText(&out.Username, row.Username)
	setText(&out.Method, row.Method)
	setText(&out.Path, row.Path)
	setText(&out.Module, row.Module)
	return out
}

// setText sets a text to a value, unless that is nil.
func setText(to *string, v any) {
	if v != nil {
		*to = fmt.Sprint(v)
	}
}

// Close stores everything that was recorded and closes the log. A second Close does
// nothing.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	err := s.log.Close(context.Background())
	if err != nil {
		return fmt.Errorf("auditlog: close: %w", err)
	}
	return nil
}

// Log returns the log itself, to query, verify and prove.
func (s *Store) Log() *attestlog.Log { return s.log }

// ServeHTTP answers GET with the newest entries as a JSON array. The parameter limit
// says how many, 100 by default and 10,000 at most. It has no authentication of its
// own.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "entries are only read here", http.StatusMethodNotAllowed)
		return
	}

	const defaultLimit, maxLimit = 100, 10_000
	limit := defaultLimit
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			http.Error(w, "limit: want a number from 0 to 10000", http.StatusBadRequest)
			return
		}
		limit = min(n, maxLimit)
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
