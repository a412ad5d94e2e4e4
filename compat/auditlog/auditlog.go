// Package auditlog has the API of an audit log that many Go services keep in an
// SQLite table, on top of attestlog: change the import path, and each record
// becomes an entry of a log that can prove itself.
//
//	s, err := auditlog.New("/var/lib/app/audit.db")
//	s.Record("alice", "POST", "/mail/7", "mail", 200)
//	entries, err := s.List(100)
//	s.Close()
//
// # Files
//
// A path is what it is to the driver modernc.org/sqlite: a file, a URI, with
// parameters, or ":memory:". The table audit is made in it, as the old log makes
// it, and stays empty if it is new: the entries are in a log next to it, the file
// FILE.attestlog, with further files that begin with that name. Among them are its
// search index (.index), its key (.key, .pub) and its last signed checkpoint
// (.checkpoint); back them up together. The folder is made with mode 0700, the table's
// file with 0644, as SQLite does; only the owner can read the log, except for its
// public key and checkpoint. The log of a database in memory is in a temporary folder, which Close removes.
//
// # Taking over the table
//
// Rows that are in the table are taken over by New, in the order of their ids, and
// the table is left as it was. Rows that a program adds later follow within about
// a second, so that programs with the old log and with this one can run side by
// side, and the old one can be put back for a while. Each row is taken over once.
// The program attestlog can do the same: "attestlog --log
// sqlite:FILE.attestlog import --from auditlog-sqlite FILE" adds what is missing, if
// FILE is the name that the table had when it was first taken over.
// Once a day the table is compared with the log: rows that have disappeared from it
// or were changed are logged as a warning, and the result is an entry of the log.
// The file may be moved away when no program writes it any more.
//
// # Differences
//
//   - Entries are in the order of the calls, even when more than 1,024 wait; the old
//     log stores the call that finds its queue full before those that wait.
//   - List has what was recorded before it. The old log may not have stored it yet.
//   - Calls of Record that begin before Close has stored what waits are stored. Later
//     ones are logged. The old log stores or loses them, or ends with a panic.
//   - A second Close returns nil. That of the old log panics.
//   - A URI's folder is not made; the old log makes one named "file:".
package auditlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
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

// Suffix is appended to the name of the table's file to make that of the log.
const Suffix = ".attestlog"

// errClosed has the text of the error that a closed database returns to the old log.
var errClosed = errors.New("sql: database is closed")

// A Store is an open log. Its methods are safe for concurrent use.
type Store struct {
	log    *attestlog.Log
	place  place
	follow context.CancelFunc // ends following
	joined sync.WaitGroup     // following

	// Records holds a read lock. Close takes the write lock, so that it ends after
	// the calls that have begun.
	mu     sync.RWMutex
	closed bool
}

// New opens or creates the log of the table in path, and takes over the rows that
// are not in it yet. What was interrupted goes on the next time.
func New(path string) (*Store, error) {
	ctx := context.Background()
	place, err := takePlace(path)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, place)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open audit db: %w", err), place.leave())
	}
	return s, nil
}

func open(ctx context.Context, place place) (*Store, error) {
	store, err := sqlite.Open(ctx, place.log, sqlite.Config{})
	if err != nil {
		return nil, err
	}
	log, err := attestlog.New(ctx, store, attestlog.Config{})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	s := &Store{log: log, place: place, follow: func() {}}

	// Record returns no error, so it is found out here that the log takes nothing.
	err = log.ReadOnly()
	if err == nil && place.table != "" {
		err = s.takeOver(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, log.Close(ctx))
	}
	return s, nil
}

// takeOver takes over the table's rows, and starts to follow it.
func (s *Store) takeOver(ctx context.Context) error {
	f, err := newFollower(ctx, s.log, s.place.table)
	if err == nil {
		err = f.catchUp(ctx)
	}
	if err != nil {
		return fmt.Errorf("the old table: %w", err)
	}

	ctx, s.follow = context.WithCancel(ctx)
	s.joined.Go(func() { f.run(ctx) })
	return nil
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

	err := s.record(e)
	if err != nil {
		log.Printf("audit: insert failed (%s %s by %s): %v", method, path, username, err)
	}
}

func (s *Store) record(e attestlog.Event) error {
	s.mu.RLock()
	defer s.mu.RUnlock()

	if s.closed {
		return errClosed
	}
	return fit.Record(context.Background(), s.log, e)
}

// requests selects what Record and the table put into the log.
var requests = query.Not(oldlog.Own(importName))

// List returns the newest entries, newest first, at most limit; with a negative
// limit all of them. Everything that was recorded before is among them. The slice
// is nil only with an error.
func (s *Store) List(limit int) ([]Entry, error) {
	entries, err := s.list(context.Background(), limit)
	if errors.Is(err, attestlog.ErrClosed) {
		return nil, errClosed
	}
	return entries, err
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
			e := &page.Entries[i]
			if e.Err != nil {
				return nil, e.Err
			}
			out = append(out, entryOf(e.Event))
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
	s.follow()
	s.joined.Wait()

	// Calls of Record go on meanwhile. Their events are stored too.
	ctx := context.Background()
	flushErr := s.log.Flush(ctx)
	if !s.close() {
		return nil
	}
	err := s.log.Close(ctx)
	if err == nil {
		err = flushErr
	}
	return errors.Join(err, s.place.leave())
}

// close ends recording, after the calls that have begun. It reports whether that had
// not been done before.
func (s *Store) close() bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	was := s.closed
	s.closed = true
	return !was
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
