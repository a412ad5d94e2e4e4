// Package attestlog keeps a tamper-evident audit log: who did what, to what,
// when, from where, with what outcome, and proof that no answer was changed,
// removed, reordered or invented since.
//
// Entries are RFC 8785 (JCS) JSON. They are the leaves of an RFC 6962 Merkle
// tree, whose heads are signed as c2sp.org/tlog-checkpoint notes and whose
// hashes are kept as c2sp.org/tlog-tiles; docs/format.md describes every byte.
// A leaf looks like this (line breaks added):
//
//	{"action":"mail.view","actor":{"id":"alice"},
//	 "id":"019a9f0c-2f5e-7cc1-9c1e-5d6f3a1b2c3d",
//	 "logged_time":"2026-11-22T10:00:00.000123Z","outcome":"success",
//	 "targets":[{"id":"123","type":"mail"}],
//	 "time":"2026-11-22T10:00:00.000100000Z","v":1}
//
// A Log stands on a Store: package sqlite keeps one in a file. Append returns
// once its events are durable; Record queues an event and returns. Behind the
// commit a checkpoint is signed, and Followers such as package jsonl copy the
// entries elsewhere.
package attestlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Config configures a Log. The zero Config is useful.
type Config struct {
	// Origin names a new log in its checkpoints and keys: printable, without
	// spaces and plus signs. A log's origin never changes; opening it with
	// another is an error. Defaults to "attestlog/" and 16 random hex digits
	// for a new log, and to the log's own for any other.
	Origin string
	// Signer signs checkpoints. Defaults to the key kept with the store,
	// which is created with a new log.
	Signer note.Signer
	// Verifiers are the public keys of earlier Signers, whose checkpoints the
	// log may still be kept with. Defaults to those kept with the store.
	Verifiers []note.Verifier
	// Sealed lists RFC 6901 pointers of the fields whose values are kept
	// outside the leaves, so that they can be erased. "/original" is always
	// among them. Nil means DefaultSealed; an empty list seals nothing else.
	Sealed []string
	// Followers receive every entry, in order, behind the commit. The Log
	// closes them.
	Followers []Follower
	// Outboxes are emptied into the log, beside the store's own. The Log closes
	// them.
	Outboxes []Outbox
	// OutboxInterval is how often an outbox is looked at: about how long an
	// event waits in it. Defaults to 100 ms.
	OutboxInterval time.Duration
	// Spool keeps recorded events on this machine while the store cannot take
	// them. The Log closes it. Defaults to none: they wait in the queue.
	Spool Spool
	// Policies say, for the actions of recorded events, what becomes of those
	// that the store cannot take; the first that covers an action counts.
	// Defaults to ToSpool with a Spool, and to Block without.
	Policies []ActionPolicy
	// Logger receives warnings: failed followers, records that could not be
	// stored, a clock that jumps. Defaults to slog.Default().
	Logger *slog.Logger
	// Clock returns the current time. Defaults to time.Now.
	Clock func() time.Time
	// QueueEvents and QueueBytes bound what waits to be stored. Default to
	// 20,000 events and 64 MiB.
	QueueEvents int
	QueueBytes  int
	// MaxEvents bounds one Append call. Defaults to 10,000, which is also the
	// most it can be.
	MaxEvents int
	// ReadOnly opens the log for reading and verifying, even without keys.
	ReadOnly bool
	// AcceptRestore lets a log be written whose database is behind or beside
	// its kept checkpoint: an entry "attestlog.restore" says so, and names the
	// checkpoint that was given up.
	AcceptRestore bool
}

const (
	maxCall          = 10_000
	defaultQueue     = 20_000
	defaultBytes     = 64 << 20
	batchEvents      = 5_000
	batchBytes       = 8 << 20
	followMost       = 20_000 // entries of other processes that are hashed to follow them
	clockJump        = 5 * time.Second
	followerPoll     = 100 * time.Millisecond
	outboxPoll       = 100 * time.Millisecond
	keepInterval     = time.Minute
	publishIdle      = 50 * time.Millisecond
	publishBusy      = time.Second
	lastGrace        = 2 * time.Second
	retryFirst       = 20 * time.Millisecond
	retryLongest     = 5 * time.Second
	scanChunk        = 1_000
	defaultPage      = 50
	defaultPageBytes = 64 << 20
	maxPage          = 10_000
)

// A Log is an open log. Its methods are safe for concurrent use.
type Log struct {
	store    Store
	cfg      Config
	enc      *encoder
	origin   string
	readOnly error // why, or nil

	queue     *queue
	committed broadcast // fires after each commit and each publication
	edge      *edge     // owned by the sequencer goroutine; nil: must be loaded
	lastWall  time.Time // owned by the sequencer
	lastMono  time.Time // owned by the sequencer

	pub   publisher
	tails []*runner

	movers     []*mover              // of all outboxes, the spool among them
	spoolMover *mover                // nil without a spool
	spoolErr   atomic.Pointer[error] // why the spool takes no more, nil if it does
	held       atomic.Int64          // recorded events that a failed transaction left
	stuck      atomic.Int64          // recorded events without room in the spool

	known    atomic.Pointer[Tree] // the last tree that this process wrote or checked
	counters counters
	failedMu sync.Mutex
	failed   []error // of records, since the last Flush

	moving       context.Context // ends when Close begins
	stopMoving   context.CancelFunc
	spooling     context.Context // ends when the queue is empty
	stopSpooling context.CancelFunc

	stop    context.Context // ends when Close gives up waiting
	giveUp  context.CancelFunc
	drained chan struct{} // closed when the sequencer has ended
	ending  chan struct{} // closed when Close has begun
	closing sync.Once
	closed  chan struct{} // closed when Close has ended
	wg      sync.WaitGroup
	endErr  error
}

type counters struct {
	queued, appended, duplicates, failed, retries, clockJumps, spooled, spoolFull atomic.Uint64
	size                                                                          atomic.Uint64
}

// New opens the log that store keeps, or starts it if the store is empty and
// nothing was kept for it. A log whose database does not agree with its kept
// checkpoint, or whose keys are missing, is opened for reading only: Append
// then returns an error that matches ErrReadOnly and gives the reason. New
// takes over the store: Close closes it.
func New(ctx context.Context, store Store, cfg Config) (*Log, error) {
	l := &Log{store: store, cfg: cfg, drained: make(chan struct{}), ending: make(chan struct{}), closed: make(chan struct{})}
	if err := l.configure(); err != nil {
		return nil, fmt.Errorf("attestlog: %w", err)
	}
	l.stop, l.giveUp = context.WithCancel(context.Background())
	l.moving, l.stopMoving = context.WithCancel(l.stop)
	l.spooling, l.stopSpooling = context.WithCancel(l.stop)
	if err := errors.Join(l.open(ctx), l.openOutboxes(ctx)); err != nil {
		l.giveUp()
		return nil, fmt.Errorf("attestlog: %w", err)
	}
	if l.readOnly != nil {
		close(l.drained)
		return l, nil
	}
	go l.sequence()
	l.wg.Go(l.publish)
	for _, m := range l.movers {
		ctx := l.moving
		if m == l.spoolMover { // Close may wait for room in the spool
			ctx = l.spooling
		}
		l.wg.Go(func() { m.run(ctx) })
	}
	for _, f := range cfg.Followers {
		r := newRunner(l, f)
		l.tails = append(l.tails, r)
		l.wg.Go(r.run)
	}
	return l, nil
}

func (l *Log) configure() error {
	c := &l.cfg
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Sealed == nil {
		c.Sealed = DefaultSealed
	}
	c.QueueEvents = orDefault(c.QueueEvents, defaultQueue)
	c.QueueBytes = orDefault(c.QueueBytes, defaultBytes)
	c.MaxEvents = min(orDefault(c.MaxEvents, maxCall), maxCall)
	if c.OutboxInterval <= 0 {
		c.OutboxInterval = outboxPoll
	}
	if err := checkPolicies(c); err != nil {
		return err
	}
	seals, err := newSealSet(c.Sealed)
	if err != nil {
		return err
	}
	l.enc = &encoder{seals}
	l.queue = newQueue(c.QueueEvents, c.QueueBytes)
	return nil
}

func orDefault(n, def int) int {
	if n <= 0 {
		return def
	}
	return n
}

// Origin returns the log's name, as it stands in its checkpoints.
func (l *Log) Origin() string { return l.origin }

// ReadOnly returns why the log cannot be written, or nil if it can.
func (l *Log) ReadOnly() error { return l.readOnly }

// Append stores events and returns a receipt for each, in order, once they are
// durable. One call is one transaction: either all of its events are in the
// log or none is. An id that is in the log with the same content gets the
// receipt of the entry that is there.
//
// Events that break a rule of docs/format.md are refused with a *FieldError,
// before anything is queued; a call of more than Config.MaxEvents events, or
// an event whose leaf is too large, with ErrTooLarge. Any later error is an
// *AppendError with the events' ids. When ctx ends first, whether the events
// are in the log is unknown, and a retry with the same ids tells.
func (l *Log) Append(ctx context.Context, events ...Event) ([]Receipt, error) {
	for i := range events {
		if err := refuseReserved(&events[i]); err != nil {
			return nil, atEvent(err, i)
		}
	}
	return l.append(ctx, events)
}

// refuseReserved keeps callers from writing what only the log may say.
func refuseReserved(e *Event) error {
	if strings.HasPrefix(e.Action, ReservedPrefix) {
		return &FieldError{Field: "action", Rule: `"` + ReservedPrefix + `" starts the log's own actions`}
	}
	return nil
}

// atEvent tells which event of a call an error is about.
func atEvent(err error, i int) error {
	var field *FieldError
	if errors.As(err, &field) {
		field.Event = i
		return field
	}
	return fmt.Errorf("event %d: %w", i, err)
}

func (l *Log) append(ctx context.Context, events []Event) ([]Receipt, error) {
	if len(events) == 0 {
		return nil, ctx.Err()
	}
	if len(events) > l.cfg.MaxEvents {
		return nil, fmt.Errorf("%d events in one call, at most %d: %w", len(events), l.cfg.MaxEvents, ErrTooLarge)
	}
	if l.readOnly != nil {
		return nil, l.readOnly
	}
	now := l.cfg.Clock()
	c, err := l.encodeCall(events, func(int) time.Time { return now })
	if err != nil {
		return nil, err
	}
	if err := l.queue.put(ctx, c); err != nil {
		return nil, c.failure(err)
	}
	l.counters.queued.Add(uint64(len(events)))
	select {
	case <-c.done:
		return c.receipts, c.err
	case <-ctx.Done():
		return nil, c.failure(ctx.Err())
	}
}

// encodeCall makes the drafts of one call; at is when each event was handed
// over.
func (l *Log) encodeCall(events []Event, at func(int) time.Time) (*call, error) {
	c := &call{drafts: make([]draft, len(events)), done: make(chan struct{})}
	r := takeRoom()
	defer r.free()
	var kept arena
	for i := range events {
		e := events[i]
		d, err := l.enc.encode(r, &e, at(i))
		if err != nil {
			return nil, atEvent(err, i)
		}
		kept.keep(&d, len(events)-i-1)
		c.bytes += d.size()
		c.drafts[i] = d
	}
	return c, nil
}

// Flush waits until everything that was queued before is durable or given up,
// and what waited in the outboxes and the spool is in the log. It returns the
// errors of the records that could not be stored since the last Flush.
func (l *Log) Flush(ctx context.Context) error {
	if l.readOnly != nil {
		return l.readOnly
	}
	c := &call{done: make(chan struct{})}
	if err := l.queue.put(ctx, c); err != nil && !errors.Is(err, ErrClosed) {
		return err
	} else if err != nil {
		return l.takeFailed()
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	errs := []error{c.err}
	for _, m := range l.movers {
		errs = append(errs, m.drain(ctx))
	}
	return errors.Join(append(errs, l.takeFailed())...)
}

func (l *Log) takeFailed() error {
	l.failedMu.Lock()
	defer l.failedMu.Unlock()
	err := errors.Join(l.failed...)
	l.failed = nil
	return err
}

// maxFailed bounds the errors kept for Flush; all of them are counted.
const maxFailed = 100

func (l *Log) recordFailed(err error) {
	l.counters.failed.Add(1)
	l.cfg.Logger.Error("attestlog: a recorded event could not be stored", "err", err)
	l.failedMu.Lock()
	defer l.failedMu.Unlock()
	if len(l.failed) < maxFailed {
		l.failed = append(l.failed, err)
	}
}
