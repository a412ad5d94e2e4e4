package attestlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/google/uuid"
)

// Bounds of what an Outbox hands out at a time.
const (
	MaxMove      = 1_000   // events
	MaxMoveBytes = 8 << 20 // of their JSON, but for a single event
)

// ErrOutboxHeld is returned by an Outbox that another process is moving.
var ErrOutboxHeld = errors.New("outbox is being moved by another process")

// A Prepared event is checked and has its id, and waits to be appended.
type Prepared struct {
	Event []byte    // canonical JSON, with an id; without a time unless the caller gave one
	At    time.Time // when the caller handed it over, which is the time of one without
}

// An Outbox holds events that became durable outside the log. A Log moves them
// into itself in their order, each once, and tries again until the outbox is
// empty. Its methods are safe for concurrent use.
type Outbox interface {
	// Name tells outboxes apart in statistics and messages.
	Name() string
	// Move calls fn with the oldest events, at most MaxMove and MaxMoveBytes,
	// unless there are none. fn returns, for each event, nil once it is in
	// the log, and otherwise why the log never takes it: Move sets that event
	// aside. When fn fails, everything stays where it is. Move returns how
	// many events left. While another process moves them, it may return
	// ErrOutboxHeld.
	Move(ctx context.Context, fn func([]Prepared) ([]error, error)) (int, error)
	// Backlog returns what waits.
	Backlog(ctx context.Context) (Backlog, error)
	// Close releases the outbox, not what is in it.
	Close() error
}

// A Backlog is what waits in an Outbox.
type Backlog struct {
	Events      uint64    // without those set aside
	First, Last uint64    // positions of the first and the last; later events have greater ones
	Since       time.Time // when the first was put there; zero if none waits
	Refused     uint64    // events that were set aside
}

// Prepare checks an event as Append would and gives it an id if it has none,
// for an Outbox. Only Sealed and Clock of the configuration matter. Errors are
// those of Append.
func (c Config) Prepare(e Event) (Prepared, error) {
	if err := refuseReserved(&e); err != nil {
		return Prepared{}, err
	}
	sealed := c.Sealed
	if sealed == nil {
		sealed = DefaultSealed
	}
	seals, err := newSealSet(sealed)
	if err != nil {
		return Prepared{}, fmt.Errorf("attestlog: %w", err)
	}
	now := time.Now
	if c.Clock != nil {
		now = c.Clock
	}
	if e.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return Prepared{}, err
		}
		e.ID = id.String()
	}
	at := now()
	if err := (&encoder{seals}).check(e, at); err != nil {
		return Prepared{}, err
	}
	text, err := e.MarshalJSON()
	return Prepared{text, at}, err
}

// A mover moves the events of one outbox into the log.
type mover struct {
	log      *Log
	box      Outbox
	nudge    chan struct{} // asks for a try now
	progress broadcast     // fires after each try
	moved    atomic.Uint64
	failures atomic.Uint64
	held     atomic.Bool
	lastErr  atomic.Pointer[error] // of the last try, nil if it went well
}

func newMover(l *Log, box Outbox) *mover {
	return &mover{log: l, box: box, nudge: make(chan struct{}, 1)}
}

// run ends with ctx: what is left is durable where it is.
func (m *mover) run(ctx context.Context) {
	wait := retryFirst
	for ctx.Err() == nil {
		n, err := m.step(ctx)
		pause := m.log.cfg.OutboxInterval
		switch {
		case n > 0:
			wait = retryFirst
			continue
		case errors.Is(err, ErrOutboxHeld):
		case err != nil && ctx.Err() == nil:
			m.log.cfg.Logger.Warn("attestlog: events could not be moved from an outbox and are tried again", "outbox", m.box.Name(), "err", err)
			pause = wait
			wait = min(2*wait, retryLongest)
		default:
			wait = retryFirst
		}
		nudge := m.nudge
		if err != nil {
			nudge = nil // the pause is to be waited out
		}
		select {
		case <-time.After(pause):
		case <-nudge:
		case <-ctx.Done():
		}
	}
}

func (m *mover) wake() {
	select {
	case m.nudge <- struct{}{}:
	default:
	}
}

// step moves the oldest events, and returns how many left the outbox.
func (m *mover) step(ctx context.Context) (int, error) {
	defer m.progress.fire()
	n, err := m.box.Move(ctx, func(waiting []Prepared) ([]error, error) { return m.take(ctx, waiting) })
	m.held.Store(errors.Is(err, ErrOutboxHeld))
	if err != nil && !errors.Is(err, ErrOutboxHeld) {
		m.failures.Add(1)
		m.lastErr.Store(&err)
		return 0, err
	}
	m.lastErr.Store(nil)
	m.moved.Add(uint64(n))
	return n, err
}

// take appends what an outbox handed out, and returns what is wrong with each.
func (m *mover) take(ctx context.Context, waiting []Prepared) ([]error, error) {
	verdicts := make([]error, len(waiting))
	calls := make([]Event, 0, len(waiting))
	var at []int // of each event: its place in waiting
	for i := range waiting {
		e, err := m.log.parsePrepared(&waiting[i])
		if err != nil {
			verdicts[i] = err
			continue
		}
		calls, at = append(calls, e), append(at, i)
	}
	err := m.append(ctx, calls, func(i int) time.Time { return waiting[at[i]].At }, func(i int, err error) { verdicts[at[i]] = err })
	if err != nil {
		return nil, err
	}
	for i, err := range verdicts {
		if err != nil {
			verdicts[i] = plainError(err)
			m.log.counters.failed.Add(1)
			m.log.cfg.Logger.Error("attestlog: an event in an outbox is not one that the log takes, and is set aside", "outbox", m.box.Name(), "at", waiting[i].At, "err", verdicts[i])
		}
	}
	return verdicts, nil
}

// plainError is an error whose text any store can keep, whatever bytes of a
// foreign event it quotes.
func plainError(err error) error {
	const most = 1_000
	text := strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, err.Error()), "\uFFFD")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return errors.New(text)
}

// append appends events in their order, and calls refuse for those that the
// log will never take.
func (m *mover) append(ctx context.Context, events []Event, at func(int) time.Time, refuse func(i int, err error)) error {
	place := make([]int, len(events)) // of each event that is left: its place at first
	for i := range place {
		place[i] = i
	}
	for len(events) > 0 {
		c, err := m.log.appendFirst(ctx, events, func(i int) time.Time { return at(place[i]) })
		if err == nil || len(c.conflicts) == 0 {
			return err
		}
		left, leftPlace := events[:0:0], place[:0:0]
		for i := range events {
			if why, conflicts := c.conflicts[i]; conflicts {
				refuse(place[i], why)
				continue
			}
			left, leftPlace = append(left, events[i]), append(leftPlace, place[i])
		}
		events, place = left, leftPlace
	}
	return nil
}

// parsePrepared reads what Prepare wrote, or somebody who can write there too.
func (l *Log) parsePrepared(p *Prepared) (Event, error) {
	e, err := ParseEvent(p.Event)
	if err != nil {
		return e, err
	}
	if e.ID == "" {
		return e, &FieldError{Field: "id", Rule: "required in an outbox"}
	}
	if err := refuseReserved(&e); err != nil {
		return e, err
	}
	return e, l.enc.check(e, p.At)
}

// appendFirst is append ahead of what is queued, without waiting for room: what
// comes from an outbox is older, and the queue may be full because it waits.
func (l *Log) appendFirst(ctx context.Context, events []Event, at func(int) time.Time) (*call, error) {
	c, err := l.encodeCall(events, at)
	if err != nil {
		return &call{}, err
	}
	l.queue.putFirst(c)
	select {
	case <-c.done:
		return c, c.err
	case <-ctx.Done():
		return &call{}, c.failure(ctx.Err())
	}
}

// drain waits until everything that is in the outbox now has left it.
func (m *mover) drain(ctx context.Context) error {
	begin, err := m.box.Backlog(ctx)
	if err != nil {
		return err
	}
	for left := begin; left.Events > 0 && left.First <= begin.Last; {
		progress := m.progress.wait()
		m.wake()
		select {
		case <-progress:
		case <-time.After(m.log.cfg.OutboxInterval): // another process may be moving it
		case <-m.log.ending:
			return fmt.Errorf("outbox %s: %d events: %w", m.box.Name(), left.Events, ErrClosed)
		case <-ctx.Done():
		}
		if ctx.Err() == nil {
			now, err := m.box.Backlog(ctx)
			if err == nil {
				left = now
				continue
			}
			if ctx.Err() == nil {
				return err
			}
		}
		err := ctx.Err()
		if last := m.lastErr.Load(); last != nil {
			err = fmt.Errorf("%w: %w", err, *last)
		}
		return fmt.Errorf("outbox %s: %d events wait: %w", m.box.Name(), left.Events, err)
	}
	return nil
}

// openOutboxes makes a mover for each outbox; those of a log that is open for
// reading only do not run.
func (l *Log) openOutboxes(ctx context.Context) error {
	if box := l.store.Outbox(); box != nil {
		l.movers = append(l.movers, newMover(l, box))
	}
	for _, box := range l.cfg.Outboxes {
		l.movers = append(l.movers, newMover(l, box))
	}
	if l.cfg.Spool == nil {
		return nil
	}
	if _, err := l.cfg.Spool.Backlog(ctx); err != nil {
		return fmt.Errorf("spool %s: %w", l.cfg.Spool.Name(), err)
	}
	l.spoolMover = newMover(l, l.cfg.Spool)
	l.movers = append(l.movers, l.spoolMover)
	return nil
}

func (l *Log) closeOutboxes() error {
	var errs []error
	for _, box := range l.cfg.Outboxes {
		errs = append(errs, box.Close())
	}
	if l.cfg.Spool != nil {
		errs = append(errs, l.cfg.Spool.Close())
	}
	return errors.Join(errs...)
}
