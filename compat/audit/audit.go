// Package audit has the API of an audit log that many Go services keep in a
// PostgreSQL table with an append-only trigger and in a JSON Lines file, on top of
// attestlog: change the import path, and each record becomes an entry of a log that
// can prove itself.
//
//	l, err := audit.New(dsn, "/var/log/app/audit.jsonl", logger)
//	l.Log(audit.Entry{EventType: audit.EventLogin, Username: "alice", Success: true})
//	entries, total, err := l.Query(audit.QueryFilter{Username: "alice"})
//	l.Close()
//
// The log is the schema "attestlog" of the same database, or the one that the DSN
// names with log=. If there is a table audit_log, New imports it once and leaves it
// as it was. While the database is down, Log keeps the entries in a file next to
// the log's keys; they are stored later, in their order.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/attestlog/attestlog"
	old "github.com/attestlog/attestlog/convert/audit"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/oldlog"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/spool"
)

// The types of events.
const (
	EventLogin        = "login"
	EventLogout       = "logout"
	EventSearch       = "search"
	EventMailView     = "mail_view"
	EventImport       = "import"
	EventExport       = "export"
	EventUserMgmt     = "user_mgmt"
	EventOCRDownload  = "mail:ocr_download"
	EventDSGVORequest = "dsgvo_request"
)

// An Entry is one audited event. Log ignores the ID; a zero Timestamp is the
// time of the call.
type Entry struct {
	ID        int64     `json:"id"`
	Timestamp time.Time `json:"timestamp"`
	EventType string    `json:"event_type"`
	Username  string    `json:"username"`
	IPAddress string    `json:"ip_address"`
	Query     string    `json:"query,omitempty"`
	MailID    string    `json:"mail_id,omitempty"`
	Success   bool      `json:"success"`
	Detail    string    `json:"detail,omitempty"`
}

// A QueryFilter selects entries. Empty fields select all.
type QueryFilter struct {
	Username  string
	EventType string
	MailID    string
	From, To  *time.Time // both included
	PageSize  int        // default 50
	Page      int        // from 0
}

// newIDs is added to the index in the log to make the id of an entry that was not
// imported. A larger number would not be exact in JavaScript.
const newIDs = 1 << 52

// importName names this package in the entry that ends an import.
const importName = "audit"

const (
	// storeTimeout is how long an entry may take before it goes to the spool.
	storeTimeout = 10 * time.Second
	defaultPage  = 50
)

// A Logger is an open log. Its methods are safe for concurrent use.
type Logger struct {
	log    *attestlog.Log
	spool  *spool.Spool
	logger *slog.Logger

	closing  sync.Once
	closeErr error

	mu   sync.Mutex // held while the file is written
	file *os.File   // nil without a file
}

// New opens or creates the log in the database, and opens logPath for appending. It
// makes folders with mode 0750, and the file with 0640. If logPath is empty or
// cannot be written, New logs a warning. A nil logger is slog.Default().
func New(dsn, logPath string, logger *slog.Logger) (*Logger, error) {
	if logger == nil {
		logger = slog.Default()
	}
	l, err := open(context.Background(), dsn, logger)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	l.openFile(logPath)
	return l, nil
}

func open(ctx context.Context, dsn string, logger *slog.Logger) (*Logger, error) {
	// Without tries of its own: what the store does not take goes to the spool.
	store, err := postgres.Open(ctx, dsn, postgres.Config{Logger: logger, Retry: -1})
	if err != nil {
		return nil, err
	}

	l := &Logger{logger: logger}
	spools, err := l.openSpools(dsn)
	if err == nil {
		l.log, err = attestlog.New(ctx, store, attestlog.Config{Logger: logger, Outboxes: spools})
	}
	if err != nil {
		for _, s := range spools {
			err = errors.Join(err, s.Close())
		}
		return nil, errors.Join(err, store.Close())
	}

	err = l.log.ReadOnly()
	if err == nil {
		err = l.importOnce(ctx, dsn)
	}
	if err != nil {
		return nil, errors.Join(err, l.log.Close(ctx))
	}

	// Entries that wait in spools, also of processes that are gone, come first.
	flushing, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err = l.log.Flush(flushing)
	if err != nil {
		logger.Warn("audit: entries that wait could not be stored yet", "err", err)
	}
	return l, nil
}

// openSpools opens the first spool that no other process has open, for this
// process, and all others that processes which are gone have left.
func (l *Logger) openSpools(dsn string) ([]attestlog.Outbox, error) {
	home, err := postgres.HomePath(dsn)
	if err != nil {
		return nil, err
	}

	// Spools are numbered from 1 on and never removed, so there are no others after
	// the first number that is free.
	var spools []attestlog.Outbox
	for n := 1; ; n++ {
		path := fmt.Sprintf("%s.spool-%d", home, n)
		_, err := os.Stat(path)
		if err != nil && l.spool != nil {
			return spools, nil
		}

		s, err := spool.Open(path, spool.Config{Wait: time.Millisecond})
		if errors.Is(err, spool.ErrInUse) { // its process is running, and empties it
			continue
		}
		if err != nil {
			return spools, err
		}
		spools = append(spools, s)
		if l.spool == nil {
			l.spool = s
		}
	}
}

func (l *Logger) openFile(path string) {
	if path == "" {
		l.logger.Warn("audit: no file was named; entries go to the database alone")
		return
	}

	err := os.MkdirAll(filepath.Dir(path), 0o750)
	if err == nil {
		l.file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	}
	if err != nil {
		l.file = nil
		l.logger.Warn("audit: the file cannot be written; entries go to the database alone", "path", path, "err", err)
	}
}

// Log stores an entry, and returns once it is durable: in the log, or in the spool
// while the database is down. Errors are logged.
func (l *Logger) Log(e Entry) {
	if e.Timestamp.IsZero() {
		e.Timestamp = time.Now()
	}
	record := recordOf(e)

	err := l.store(record.Event())
	if err != nil {
		l.logger.Error("audit: an entry could not be stored", "err", err,
			"event_type", e.EventType, "username", e.Username, "mail_id", e.MailID, "success", e.Success)
	}

	l.mu.Lock()
	defer l.mu.Unlock()

	if l.file == nil {
		return
	}
	_, err = l.file.Write(append(record.Line(), '\n'))
	if err != nil {
		l.logger.Warn("audit: an entry could not be written to the file", "path", l.file.Name(), "err", err)
	}
}

func recordOf(e Entry) old.Record {
	r := old.Record{
		EventType: &e.EventType,
		Username:  &e.Username,
		IPAddress: &e.IPAddress,
		Query:     &e.Query,
		MailID:    &e.MailID,
		Success:   &e.Success,
		Detail:    &e.Detail,
	}
	r.SetTime(e.Timestamp)
	return r
}

// store appends an event, or spools it if the database is down or older events
// wait in the spool.
func (l *Logger) store(e attestlog.Event) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	e.ID = id.String()
	fit.Event(&e)

	waiting, err := l.spool.Backlog(context.Background())
	if err != nil {
		return err
	}
	if waiting.Events == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		defer cancel()
		_, err = l.log.Append(ctx, e)
		isDown := errors.Is(err, attestlog.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
		if !isDown {
			return err
		}
		l.logger.Warn("audit: the database does not take entries, which wait in the spool", "spool", l.spool.Name(), "err", err)
	}

	// It may be in the log all the same. It has the same id, so it is stored once.
	return l.spool.Record(context.Background(), e)
}

// Query returns the entries of one page, newest timestamp first, and how many
// entries there are on all pages. Entries that wait in the spool are not among
// them.
func (l *Logger) Query(f QueryFilter) ([]Entry, int, error) {
	entries, total, err := l.query(context.Background(), f)
	if err != nil {
		return nil, 0, fmt.Errorf("audit: query: %w", err)
	}
	return entries, int(total), nil
}

func (l *Logger) query(ctx context.Context, f QueryFilter) ([]Entry, uint64, error) {
	q := queryOf(f)
	total, err := l.log.Count(ctx, q, 0)
	if err != nil {
		return nil, 0, err
	}

	size := f.PageSize
	if size <= 0 {
		size = defaultPage
	}
	number := max(f.Page, 0)
	out := []Entry{}
	if uint64(number) > total/uint64(size) { // a larger number*size could overflow
		return out, total, nil
	}

	// A page of the log is found only by the cursor of the one before it, so the
	// entries before this page are read and skipped.
	skip := number * size
	cursor := ""
	for len(out) < size {
		opts := attestlog.PageOptions{Limit: skip + size - len(out), Cursor: cursor}
		page, err := l.log.Query(ctx, q.OrderBy(query.ByTime), opts)
		if err != nil {
			return nil, 0, err
		}

		skipped := min(skip, len(page.Entries))
		skip -= skipped
		for i := range page.Entries[skipped:] {
			out = append(out, entryOf(&page.Entries[skipped+i]))
		}
		if page.Next == "" {
			break
		}
		cursor = page.Next
	}
	return out, total, nil
}

// queryOf selects, of what Log and the import put into the log, the entries that a
// filter selects.
func queryOf(f QueryFilter) query.Query {
	all := []query.Query{
		query.Not(query.Prefix("action", "attestlog.")),
		query.Not(oldlog.Imported(importName)),
	}

	// The texts as they are in the log, which fit may have changed.
	e := attestlog.Event{
		Action:  f.EventType,
		Actor:   attestlog.Actor{ID: f.Username},
		Targets: []attestlog.Target{{Type: "mail", ID: f.MailID}},
	}
	fit.Event(&e)
	if f.Username != "" {
		all = append(all, query.Field("actor", e.Actor.ID))
	}
	if f.EventType != "" {
		all = append(all, query.Field("action", e.Action))
	}
	if f.MailID != "" {
		all = append(all, query.Field("target", "mail/"+e.Targets[0].ID))
	}

	var from, before time.Time
	if f.From != nil {
		from = *f.From
	}
	if f.To != nil {
		before = f.To.Add(time.Nanosecond)
	}
	if f.From != nil || f.To != nil {
		all = append(all, query.Between(from, before))
	}
	return query.And(all...)
}

func entryOf(e *attestlog.Entry) Entry {
	out := Entry{ID: newIDs + int64(e.Index), Timestamp: e.Time}
	r, err := old.RecordOf(e.Event)
	if err != nil { // another program put the entry into the log
		out.EventType = e.Action
		out.Username = e.Actor.ID
		out.Success = e.Outcome == attestlog.Success
		out.Detail = e.Message
		return out
	}

	if r.ID != 0 {
		out.ID = r.ID
	}
	if t, ok := r.Time(); ok {
		out.Timestamp = t
	}
	setText(&out.EventType, r.EventType)
	setText(&out.Username, r.Username)
	setText(&out.IPAddress, r.IPAddress)
	setText(&out.Query, r.Query)
	setText(&out.MailID, r.MailID)
	setText(&out.Detail, r.Detail)
	out.Success = r.Success != nil && *r.Success
	return out
}

// setText sets a text to another, unless that is nil.
func setText(to, from *string) {
	if from != nil {
		*to = *from
	}
}

// Close closes the log and the file. A second Close does nothing, and returns the
// error of the first.
func (l *Logger) Close() error {
	l.closing.Do(func() { l.closeErr = l.close() })
	if l.closeErr != nil {
		return fmt.Errorf("audit: close: %w", l.closeErr)
	}
	return nil
}

func (l *Logger) close() error {
	err := l.log.Close(context.Background())

	l.mu.Lock()
	defer l.mu.Unlock()

	if l.file != nil {
		err = errors.Join(err, l.file.Close())
		l.file = nil
	}
	return err
}

// AuditLog returns the log itself, to query, verify and prove.
func (l *Logger) AuditLog() *attestlog.Log { return l.log }
