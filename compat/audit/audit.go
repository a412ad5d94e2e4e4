// Package audit has the API of an audit log that many Go services keep in a
// PostgreSQL table with an append-only trigger and in a JSON Lines file, on top
// of attestlog: change the import path, and each record is an entry of a log that
// can prove itself.
//
//	l, err := audit.New(dsn, "/var/log/app/audit.jsonl", logger)
//	l.Log(audit.Entry{EventType: audit.EventLogin, Username: "alice", Success: true})
//	entries, total, err := l.Query(audit.QueryFilter{Username: "alice"})
//	l.Close()
//
// The log is the schema "attestlog" of the same database, or the one that the
// DSN names with log=. New imports a table audit_log that is there once, and
// leaves it as it was. While the database is down, Log keeps the entries in a
// file beside the log's keys, and they follow in their order.
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

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/query"
	"github.com/google/uuid"

	old "github.com/attestlog/attestlog/convert/audit"
	"github.com/attestlog/attestlog/postgres"
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

// newIDs is where the ids of entries that are not imported start: they are this
// and the index in the log. A larger id would not be exact in JavaScript.
const newIDs = 1 << 52

// imported is the action of the entry that ends an import.
const imported = "audit.imported"

const (
	storeTimeout = 10 * time.Second // after which an entry goes to the spool
	defaultPage  = 50
)

// A Logger is an open log. Its methods are safe for concurrent use.
type Logger struct {
	log    *attestlog.Log
	spool  *spool.Spool
	logger *slog.Logger
	close  sync.Once
	err    error // of Close

	mu   sync.Mutex // orders what Log writes
	file *os.File   // nil: off
}

// New opens or creates the log in the database, and opens logPath for appending:
// folders are made with mode 0750, the file with 0640. A file that cannot be
// written, or an empty logPath, is a warning. A nil logger is slog.Default().
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
	store, err := postgres.Open(ctx, dsn, postgres.Config{Logger: logger, Retry: -1})
	if err != nil {
		return nil, err
	}
	l := &Logger{logger: logger}
	boxes, err := l.openSpools(dsn)
	if err == nil {
		l.log, err = attestlog.New(ctx, store, attestlog.Config{Logger: logger, Outboxes: boxes})
	}
	if err != nil {
		for _, box := range boxes {
			err = errors.Join(err, box.Close())
		}
		return nil, errors.Join(err, store.Close())
	}
	if err = l.log.ReadOnly(); err == nil {
		err = l.takeOver(ctx, dsn)
	}
	if err == nil {
		// What waits in spools, of processes that are gone too, comes first.
		drain, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		if flushErr := l.log.Flush(drain); flushErr != nil {
			logger.Warn("audit: entries that wait could not be stored yet", "err", flushErr)
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.log.Close(ctx))
	}
	return l, nil
}

// openSpools opens the first spool that no other process has as this one's, and
// with it those that processes which are gone have left.
func (l *Logger) openSpools(dsn string) ([]attestlog.Outbox, error) {
	home, err := postgres.HomePath(dsn)
	if err != nil {
		return nil, err
	}
	var boxes []attestlog.Outbox
	for n := 1; ; n++ {
		path := fmt.Sprintf("%s.spool-%d", home, n)
		if _, err := os.Stat(path); err != nil && l.spool != nil {
			return boxes, nil
		}
		s, err := spool.Open(path, spool.Config{Wait: time.Millisecond})
		switch {
		case errors.Is(err, spool.ErrInUse):
		case err != nil:
			return boxes, err
		default:
			boxes = append(boxes, s)
			if l.spool == nil {
				l.spool = s
			}
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

// Log stores an entry, and returns once that is durable: in the log, or while
// the database is down in the spool. Errors are logged.
func (l *Logger) Log(e Entry) {
	if e.Timestamp.IsZero() {
		e.Timestamp = time.Now()
	}
	record := recordOf(e)
	event := record.Event()
	id, err := uuid.NewV7()
	if err == nil {
		event.ID = id.String()
		fit.Event(&event)
		err = l.store(event)
	}
	if err != nil {
		l.logger.Error("audit: an entry could not be stored", "err", err, "event_type", e.EventType, "username", e.Username, "mail_id", e.MailID, "success", e.Success)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	if _, err := l.file.Write(append(record.Line(), '\n')); err != nil {
		l.logger.Warn("audit: an entry could not be written to the file", "path", l.file.Name(), "err", err)
	}
}

func recordOf(e Entry) old.Record {
	r := old.Record{
		EventType: &e.EventType, Username: &e.Username, IPAddress: &e.IPAddress,
		Query: &e.Query, MailID: &e.MailID, Success: &e.Success, Detail: &e.Detail,
	}
	r.SetTime(e.Timestamp)
	return r
}

// store appends an event, or spools it behind those that wait already.
func (l *Logger) store(e attestlog.Event) error {
	waiting, err := l.spool.Backlog(context.Background())
	if err != nil {
		return err
	}
	if waiting.Events == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		defer cancel()
		_, err = l.log.Append(ctx, e)
		if !errors.Is(err, attestlog.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		l.logger.Warn("audit: the database does not take entries, which wait in the spool", "spool", l.spool.Name(), "err", err)
	}
	return l.spool.Record(context.Background(), e) // with the same id
}

// Query returns the entries of one page, newest timestamp first, and how many
// there are without paging. What waits in the spool is not among them.
func (l *Logger) Query(f QueryFilter) ([]Entry, int, error) {
	ctx := context.Background()
	q := filter(f)
	total, err := l.log.Count(ctx, q, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("audit: query: %w", err)
	}
	if f.PageSize <= 0 {
		f.PageSize = defaultPage
	}
	out := []Entry{}
	if uint64(max(f.Page, 0)) > total/uint64(f.PageSize) {
		return out, int(total), nil
	}
	skip := max(f.Page, 0) * f.PageSize
	for cursor := ""; len(out) < f.PageSize; {
		page, err := l.log.Query(ctx, q.OrderBy(query.ByTime), attestlog.PageOptions{Limit: skip + f.PageSize - len(out), Cursor: cursor})
		if err != nil {
			return nil, 0, fmt.Errorf("audit: query: %w", err)
		}
		passed := min(skip, len(page.Entries))
		skip -= passed
		for i := range page.Entries[passed:] {
			out = append(out, entryOf(&page.Entries[passed+i]))
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	return out, int(total), nil
}

// isImported selects the entry that ends an import.
var isImported = query.And(query.Field("action", imported), query.Field("operation", "import"))

// filter selects what Log and the import put into the log.
func filter(f QueryFilter) query.Query {
	all := []query.Query{query.Not(query.Prefix("action", "attestlog.")), query.Not(isImported)}
	// As they stand in the log, where Bound had to change them.
	e := attestlog.Event{Action: f.EventType, Actor: attestlog.Actor{ID: f.Username}, Targets: []attestlog.Target{{Type: "mail", ID: f.MailID}}}
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
		before = f.To.Add(1)
	}
	if f.From != nil || f.To != nil {
		all = append(all, query.Between(from, before))
	}
	return query.And(all...)
}

func entryOf(e *attestlog.Entry) Entry {
	out := Entry{ID: newIDs + int64(e.Index)}
	r, err := old.RecordOf(e.Event)
	if err != nil { // an entry that another program put into the log
		out.Timestamp, out.EventType, out.Username, out.Success, out.Detail = e.Time, e.Action, e.Actor.ID, e.Outcome == attestlog.Success, e.Message
		return out
	}
	if r.ID != 0 {
		out.ID = r.ID
	}
	out.Timestamp = e.Time
	for _, f := range [...]struct{ from, to *string }{
		{r.EventType, &out.EventType}, {r.Username, &out.Username}, {r.IPAddress, &out.IPAddress},
		{r.Query, &out.Query}, {r.MailID, &out.MailID}, {r.Detail, &out.Detail},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if at, ok := r.Time(); ok {
		out.Timestamp = at
	}
	out.Success = r.Success != nil && *r.Success
	return out
}

// Close closes the log and the file. A second Close does nothing and returns
// what the first did.
func (l *Logger) Close() error {
	l.close.Do(func() {
		l.err = l.log.Close(context.Background())
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.file != nil {
			l.err = errors.Join(l.err, l.file.Close())
			l.file = nil
		}
	})
	if l.err != nil {
		return fmt.Errorf("audit: close: %w", l.err)
	}
	return nil
}

// AuditLog returns the log itself, to query, verify and prove.
func (l *Logger) AuditLog() *attestlog.Log { return l.log }
