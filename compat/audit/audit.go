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
// # Where things are
//
// The log is the schema "attestlog" of the same database, or the one that the DSN
// names with log=. Its signing key and newest checkpoint are in a table of that
// schema, so that any number of processes can start anywhere with nothing but the
// DSN. Whoever owns the schema can then sign, and a database that was put back to an
// earlier state is not noticed; Open takes a folder, a signer or witnesses, which
// mend that.
//
// While the database is away, entries are kept in a file in the state folder
// ($XDG_STATE_HOME/attestlog, or ~/.local/state/attestlog), and stored afterwards in
// their order, by this process or the next one there. Without such a folder they are
// logged as errors, as the old log does.
//
// # Taking over the table
//
// The table audit_log is made if it is not there. Its rows are taken over by New, in
// the order of their ids, and the table is left as it was. Rows that a program adds
// later follow within about a second, also those whose transactions end late, so that
// programs with the old log and with this one can run side by side, and the old one
// can be put back for a while. Each row is taken over once; "attestlog import --from
// audit-postgres" adds what is missing, and nothing twice. Once a day the table is
// compared with the log: rows that have disappeared or were changed are logged as a
// warning, and the result is an entry of the log. Only an ordinary table is taken
// over, not a view. New entries have their ids from the table's sequence.
//
// Reports that read the table by SQL see what the old log wrote, and nothing new, until
// "attestlog view create audit_log" has put a view of the log in its place.
//
// # Differences
//
//   - Entries that the table refuses are stored: texts that are too long for its
//     columns, that are not UTF-8 or have a NUL, and times before 4713 BC or after
//     294276.
//   - Entries are stored although the database is away when they are logged.
//   - Query finds no entry that waits for the database, and sorts entries with the
//     same timestamp newest first.
//   - Timestamps before 1678 and after 2261 are returned as they were given; for filters
//     and the order they count as the time when the entry was logged.
//   - Close returns an error if the log could not be closed, as when the database is
//     away, even if all entries are safe in the state folder.
//   - There are two pools, of eight connections at least, and a statement cache that works behind
//     a pooler if the DSN asks for a simple query protocol.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/attestlog/attestlog"
	old "github.com/attestlog/attestlog/convert/audit"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/lasting"
	"github.com/attestlog/attestlog/internal/oldlog"
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
	Query     string    `json:"query"`
	MailID    string    `json:"mail_id"`
	Success   bool      `json:"success"`
	Detail    string    `json:"detail"`
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

// importName names this package in its own entries.
const importName = "audit"

const (
	// storeTimeout is how long an entry may take before it goes to the spool.
	storeTimeout = 10 * time.Second
	defaultPage  = 50
)

// Errors with the texts of those that the old log returns.
var (
	errClosed = errors.New("closed pool")
	errOffset = errors.New("ERROR: OFFSET must not be negative (SQLSTATE 2201X)")
)

// A Logger is an open log. Its methods are safe for concurrent use.
type Logger struct {
	log    *attestlog.Log
	pool   *pgxpool.Pool // for the table and its sequence
	file   *file
	spool  *spool.Spool // nil without a state folder
	logger *slog.Logger
	schema string // of the log

	sequence atomic.Pointer[string] // that ids come from, quoted
	ready    chan struct{}          // closed once log can be used by numbered spools

	away lasting.State // the database

	// Log holds a read lock. Close takes the write lock, so that it ends after the
	// calls that have begun.
	mu     sync.RWMutex
	closed bool

	stop    context.CancelFunc // ends what runs in the background
	running sync.WaitGroup

	closing  sync.Once
	closeErr error
}

// Log stores an entry, and returns once it is durable: in the log, or in the spool
// while the database is away. Errors are logged.
func (l *Logger) Log(e Entry) {
	at := e.Timestamp
	if at.IsZero() {
		at = time.Now()
	}

	err := l.storeOpen(e, at)
	if err != nil {
		l.logger.Error("audit: insert failed", "err", err)
	}
	l.file.write(e, at.UTC())
}

func (l *Logger) storeOpen(e Entry, at time.Time) error {
	l.mu.RLock()
	defer l.mu.RUnlock()

	if l.closed {
		return errClosed
	}
	return l.store(e, at)
}

// recordOf returns an entry as a row of the table, which has microseconds.
func recordOf(e Entry, at time.Time) old.Record {
	r := old.Record{
		ID:        e.ID,
		EventType: &e.EventType,
		Username:  &e.Username,
		IPAddress: &e.IPAddress,
		Query:     &e.Query,
		MailID:    &e.MailID,
		Success:   &e.Success,
		Detail:    &e.Detail,
	}
	r.SetTime(toMicros(at))
	return r
}

// toMicros returns a time as the table has it.
func toMicros(t time.Time) time.Time {
	t = t.UTC()
	return t.Add(-time.Duration(t.Nanosecond() % 1_000))
}

// store appends an entry, or spools it if the database is away or older entries
// wait in the spool.
func (l *Logger) store(e Entry, at time.Time) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}

	e.ID = 0 // that of the caller means nothing; one without an id is numbered when it is moved
	waiting, err := l.areWaiting()
	if err != nil {
		return err
	}
	if !waiting {
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		defer cancel()
		isAway, err := l.append(ctx, id.String(), &e, at)
		if !isAway {
			return err
		}
		l.away.Note(err, l.logger, slog.LevelWarn, "audit: the database takes no entries", "audit: the database takes entries again")
		if l.spool == nil {
			return err
		}
	}

	// It may be in the log all the same. It is the same event, so it is stored once.
	return l.spool.Record(context.Background(), eventOf(id.String(), e, at))
}

// areWaiting reports whether entries wait in the spool.
func (l *Logger) areWaiting() (bool, error) {
	if l.spool == nil {
		return false, nil
	}
	b, err := l.spool.Backlog(context.Background())
	return b.Events > 0, err
}

// append numbers an entry and appends it. It reports whether an error is one of a
// database that is away.
func (l *Logger) append(ctx context.Context, id string, e *Entry, at time.Time) (isAway bool, err error) {
	ids, err := l.nextIDs(ctx, 1)
	if err != nil {
		return true, err
	}
	e.ID = ids[0]
	_, err = l.log.Append(ctx, eventOf(id, *e, at))
	if err == nil {
		l.away.Note(nil, l.logger, slog.LevelWarn, "", "audit: the database takes entries again")
	}
	isAway = errors.Is(err, attestlog.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
	return isAway, err
}

// eventOf returns the event of an entry that is logged here.
func eventOf(id string, e Entry, at time.Time) attestlog.Event {
	record := recordOf(e, at)
	event := record.Event()
	event.ID = id
	fit.Event(&event)
	return event
}

// nextIDs draws the ids of n new entries, in their order.
func (l *Logger) nextIDs(ctx context.Context, n int) ([]int64, error) {
	ids, err := l.drawIDs(ctx, n)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42P01" { // undefined_table: somebody has dropped the table
		err = l.chooseSequence(ctx)
		if err != nil {
			return nil, err
		}
		ids, err = l.drawIDs(ctx, n)
	}
	return ids, err
}

func (l *Logger) drawIDs(ctx context.Context, n int) ([]int64, error) {
	rows, err := l.pool.Query(ctx, "SELECT nextval($1::regclass) FROM generate_series(1, $2)", *l.sequence.Load(), n)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// Query returns the entries of one page, newest timestamp first, and how many
// entries there are on all pages. The slice of an empty page is nil.
func (l *Logger) Query(f QueryFilter) ([]Entry, int, error) {
	ctx := context.Background()
	q, isExact := queryOf(f)
	if !isExact {
		return l.queryExactly(ctx, q, f)
	}
	total, err := l.log.Count(ctx, q, 0)
	if errors.Is(err, attestlog.ErrClosed) {
		err = errClosed
	}
	if err != nil {
		return nil, 0, fmt.Errorf("audit: count: %w", err)
	}
	entries, err := l.page(ctx, q, f, total)
	if errors.Is(err, errOffset) {
		return nil, int(total), err
	}
	if err != nil {
		return nil, 0, fmt.Errorf("audit: query: %w", err)
	}
	return entries, int(total), nil
}

// queryExactly is Query for a query that selects other entries too.
func (l *Logger) queryExactly(ctx context.Context, q query.Query, f QueryFilter) (out []Entry, total int, err error) {
	skip, size, offsetErr := f.bounds()
	for e, err := range l.log.Entries(ctx, q.OrderBy(query.ByTime)) {
		if err == nil {
			err = e.Err
		}
		if errors.Is(err, attestlog.ErrClosed) {
			err = errClosed
		}
		if err != nil {
			return nil, 0, fmt.Errorf("audit: count: %w", err)
		}
		entry := entryOf(&e)
		if !f.selects(&entry) {
			continue
		}

		if total >= skip && len(out) < size {
			out = append(out, entry)
		}
		total++
	}
	if offsetErr != nil {
		return nil, total, offsetErr
	}
	return out, total, nil
}

// selects reports whether an entry has the texts that the filter wants.
func (f *QueryFilter) selects(e *Entry) bool {
	return (f.Username == "" || f.Username == e.Username) &&
		(f.EventType == "" || f.EventType == e.EventType) &&
		(f.MailID == "" || f.MailID == e.MailID)
}

// bounds returns how many entries come before a page, and how many it has at most.
func (f *QueryFilter) bounds() (skip, size int, err error) {
	size = f.PageSize
	if size <= 0 {
		size = defaultPage
	}
	skip = f.Page * size // which wraps around like that of the old log
	if skip < 0 {
		return 0, size, errOffset
	}
	return skip, size, nil
}

// page returns the entries of a filter's page.
func (l *Logger) page(ctx context.Context, q query.Query, f QueryFilter, total uint64) ([]Entry, error) {
	skip, size, err := f.bounds()
	if err != nil {
		return nil, err
	}
	var out []Entry
	if uint64(skip) >= total {
		return out, nil
	}

	// A page of the log is found only by the cursor of the one before it, so the
	// entries before this page are read and skipped.
	cursor := ""
	for len(out) < size {
		opts := attestlog.PageOptions{Limit: min(skip+size-len(out), maxPage), Cursor: cursor}
		if opts.Limit <= 0 { // the sum is beyond an int
			opts.Limit = maxPage
		}
		page, err := l.log.Query(ctx, q.OrderBy(query.ByTime), opts)
		if err != nil {
			return nil, err
		}

		skipped := min(skip, len(page.Entries))
		skip -= skipped
		for i := range page.Entries[skipped:] {
			e := &page.Entries[skipped+i]
			if e.Err != nil {
				return nil, e.Err
			}
			out = append(out, entryOf(e))
		}
		if page.Next == "" {
			break
		}
		cursor = page.Next
	}
	return out, nil
}

const maxPage = 10_000 // entries that the log returns at a time

// queryOf selects, of what Log and the import put into the log, the entries that a
// filter selects. It is not exact if it may select others: those whose texts fit has
// replaced, by what is the text of another entry.
func queryOf(f QueryFilter) (q query.Query, isExact bool) {
	all := []query.Query{query.Not(oldlog.Own(importName))}

	// The texts as they are in the log, which fit may have changed.
	e := attestlog.Event{
		Action:  f.EventType,
		Actor:   attestlog.Actor{ID: f.Username},
		Targets: []attestlog.Target{{Type: "mail", ID: f.MailID}},
	}
	fit.Event(&e)
	isExact = isOnlyItself(f.EventType, e.Action) && isOnlyItself(f.Username, e.Actor.ID) && isOnlyItself(f.MailID, e.Targets[0].ID)
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
		from = toMicros(*f.From)
	}
	if f.To != nil {
		before = toMicros(*f.To).Add(time.Microsecond)
	}
	if f.From != nil || f.To != nil {
		all = append(all, query.Between(from, before))
	}
	return query.And(all...), isExact
}

// isOnlyItself reports whether a text that the log has as fitted cannot be what
// another text has become in it: a reserved value, an escape, or the beginning of a text
// that was cut. Nobody asks for an empty text.
func isOnlyItself(text, fitted string) bool {
	if text == "" {
		return true
	}
	isReserved := text == fit.UnknownAction || text == fit.UnknownActor || strings.HasPrefix(text, fit.ForeignPrefix)
	isEscape := strings.Contains(text, "\uFFFD")
	return text == fitted && !isReserved && !isEscape && !cutText.MatchString(text)
}

// cutText matches what fit leaves of a text that is too long.
var cutText = regexp.MustCompile(`~[0-9a-f]{32}$`)

func entryOf(e *attestlog.Entry) Entry {
	r := old.Of(e)
	out := Entry{ID: r.ID, Timestamp: e.Time.Local()}
	if t, ok := r.Time(); ok {
		out.Timestamp = t.Local() // as the driver returns it
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

// Close closes the file and the log. A second Close does nothing, and returns the
// error of the first.
func (l *Logger) Close() error {
	l.closing.Do(func() { l.closeErr = l.close() })
	if l.closeErr != nil {
		return fmt.Errorf("audit: close: %w", l.closeErr)
	}
	return nil
}

func (l *Logger) close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()

	l.file.close()
	l.stop()
	l.running.Wait()
	err := l.log.Close(context.Background())
	l.pool.Close()
	return err
}

// AuditLog returns the log itself, to query, verify and prove.
func (l *Logger) AuditLog() *attestlog.Log { return l.log }
