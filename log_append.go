package attestlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// A Receipt says where an event is in the log. It is given only once the entry
// is durable.
type Receipt struct {
	Index      uint64
	ID         string
	LeafHash   Hash
	LoggedTime time.Time // UTC, whole microseconds
}

// Append stores events and returns a receipt for each, in order, once they are
// durable. One call is one transaction: either all of its events are in the log
// or none is. An id that is in the log with the same content gets the receipt of
// the entry that is there.
//
// Events that break a rule of docs/format.md are refused with a *FieldError,
// before anything is queued; a call of more than Config.MaxEvents events, or an
// event whose leaf is too large, with ErrTooLarge. Any later error is an
// *AppendError with the events' ids. When ctx ends first, whether the events are
// in the log is unknown, and a retry with the same ids tells.
func (l *Log) Append(ctx context.Context, events ...Event) ([]Receipt, error) {
	for i := range events {
		err := refuseReserved(&events[i])
		if err != nil {
			return nil, atEvent(err, i)
		}
	}
	if l.readOnly != nil && len(events) > 0 {
		return nil, l.readOnly
	}
	return l.appender.append(ctx, events)
}

// Record queues an event and returns. While the queue is full it waits until
// there is room, or until ctx ends (ErrQueueFull). The event is stored even if
// the store fails for a while, in which it waits in the queue or in Config.Spool:
// see Policy. What cannot be stored, because its id is in the log with other
// content or because Close ran out of time, is logged, counted, and returned by
// Flush or Close.
func (l *Log) Record(ctx context.Context, event Event) error {
	err := refuseReserved(&event)
	if err != nil {
		return err
	}
	if l.readOnly != nil {
		return l.readOnly
	}

	s := takeScratch()
	defer s.free()
	d, err := l.encoder.encode(s, &event, l.cfg.Clock())
	if err != nil {
		return err
	}

	// Fail promises an answer at once, which is no only if others are known to
	// wait: the queue has room while the store is merely slow.
	policy := l.cfg.policyOf(event.Action)
	if policy == Fail && l.intake.holdsRecords() {
		return fmt.Errorf("%w: other events wait for it", ErrUnavailable)
	}
	err = l.queue.putRecord(ctx, d, policy)
	if errors.Is(err, ErrQueueFull) {
		why := l.intake.spoolErr.Load()
		if why != nil {
			return fmt.Errorf("%w: %w", err, *why)
		}
	}
	if err != nil {
		return err
	}
	l.counters.queued.Add(1)
	return nil
}

// Ready returns nil if a recorded event would be taken now, as far as can be
// told without writing: the log is open for writing, no events wait for the
// store, the queue has room, and the store answers. Otherwise it returns why not.
// A service that would rather refuse its own work than leave it unrecorded asks
// first.
func (l *Log) Ready(ctx context.Context) error {
	switch {
	case l.readOnly != nil:
		return l.readOnly
	case l.queue.full():
		return ErrQueueFull
	case l.intake.holdsRecords():
		return fmt.Errorf("%w: events wait for it", ErrUnavailable)
	case l.life.closing.reached():
		return ErrClosed
	}

	_, err := l.store.Tree(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// Flush waits until everything that was queued before is durable or given up,
// and what waited in the outboxes and the spool is in the log. It returns the
// errors of the recorded events that could not be stored since the last Flush,
// 100 of them at most. While events have room neither in the store nor in the
// spool, it says so, and does not wait for them.
func (l *Log) Flush(ctx context.Context) error {
	if l.readOnly != nil {
		return l.readOnly
	}

	// A call without events is answered when everything before it is.
	c := &call{done: make(chan struct{})}
	err := l.queue.put(ctx, c)
	switch {
	case errors.Is(err, ErrClosed):
		return l.failures.take()
	case err != nil:
		return err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return ctx.Err()
	}

	errs := []error{c.err}
	for _, w := range l.outboxes {
		errs = append(errs, w.drain(ctx))
	}
	errs = append(errs, l.failures.take())
	return errors.Join(errs...)
}

// Prepare checks an event as Append would and gives it an id if it has none, for
// an Outbox. Only Sealed and Clock of the configuration matter. Errors are those
// of Append.
func (c Config) Prepare(e Event) (Prepared, error) {
	err := refuseReserved(&e)
	if err != nil {
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

	// The event keeps its lack of a time: the log takes the time of the handing
	// over, and a retry without one is the same event.
	handedOver := now()
	err = (&encoder{seals}).check(e, handedOver)
	if err != nil {
		return Prepared{}, err
	}
	text, err := e.MarshalJSON()
	return Prepared{text, handedOver}, err
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

// An appender brings calls into the queue and waits for their answers.
type appender struct {
	encoder   *encoder
	queue     *queue
	clock     func() time.Time
	counters  *counters
	maxEvents int // of a call
}

// append is Log.Append, also for what only the log may say.
func (a *appender) append(ctx context.Context, events []Event) ([]Receipt, error) {
	if len(events) == 0 {
		return nil, ctx.Err()
	}
	if len(events) > a.maxEvents {
		return nil, fmt.Errorf("%d events in one call, at most %d: %w", len(events), a.maxEvents, ErrTooLarge)
	}

	now := a.clock()
	c, err := a.encodeCall(events, constant(now))
	if err != nil {
		return nil, err
	}
	err = a.queue.put(ctx, c)
	if err != nil {
		return nil, c.failure(err)
	}
	a.counters.queued.Add(uint64(len(events)))

	// After ctx has ended, the sequencer may still store the call: the error says
	// that this is unknown.
	select {
	case <-c.done:
		return c.receipts, c.err
	case <-ctx.Done():
		return nil, c.failure(ctx.Err())
	}
}

// appendFirst is append ahead of what is queued, without waiting for room: what
// comes from an outbox is older, and the queue may be full because it waits.
// handedOver is when each event was handed over. The answer has what became of
// the call.
func (a *appender) appendFirst(ctx context.Context, events []Event, handedOver func(int) time.Time) (*call, error) {
	c, err := a.encodeCall(events, handedOver)
	if err != nil {
		return &call{}, err
	}

	a.queue.putFirst(c)
	select {
	case <-c.done:
		return c, c.err
	case <-ctx.Done():
		return &call{}, c.failure(ctx.Err()) // the call itself is still the sequencer's
	}
}

// appendOwn appends an entry of the log's own.
func (a *appender) appendOwn(ctx context.Context, e Event) error {
	e.Actor = Actor{ID: "attestlog", Type: "system"}
	e.Outcome = Success
	_, err := a.append(ctx, []Event{e})
	return err
}

// constant is the time of every event.
func constant(t time.Time) func(int) time.Time { return func(int) time.Time { return t } }

// encodeCall makes the drafts of one call. handedOver is when each event was
// handed over.
func (a *appender) encodeCall(events []Event, handedOver func(int) time.Time) (*call, error) {
	c := &call{drafts: make([]draft, len(events)), done: make(chan struct{})}
	s := takeScratch()
	defer s.free()

	var kept arena
	for i := range events {
		e := events[i]
		d, err := a.encoder.encode(s, &e, handedOver(i))
		if err != nil {
			return nil, atEvent(err, i)
		}

		kept.copy(&d, len(events)-i-1)
		c.bytes += d.size()
		c.drafts[i] = d
	}
	return c, nil
}

// maxFailures bounds the errors that are kept for Flush; all of them are counted.
const maxFailures = 100

// failures is where jobs go that cannot be stored. It is safe for concurrent use.
type failures struct {
	counters *counters
	logger   *slog.Logger

	mu   sync.Mutex
	errs []error // of recorded events, since the last take; by mu
}

// fail answers a job that cannot be stored.
func (f *failures) fail(j *job, err error) {
	if j.call == nil {
		f.record(&AppendError{[]string{j.draft.id()}, err})
		return
	}

	if !j.call.fromOutbox {
		f.counters.failed.Add(uint64(len(j.call.drafts)))
	}
	j.call.receipts = nil
	j.call.err = j.call.failure(err)
	close(j.call.done)
}

// record keeps the error of a recorded event, which has nobody to return it to.
func (f *failures) record(err error) {
	f.counters.failed.Add(1)
	f.logger.Error("attestlog: a recorded event could not be stored", "err", err)

	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.errs) < maxFailures {
		f.errs = append(f.errs, err)
	}
}

// take returns the errors since the last take, as one.
func (f *failures) take() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := errors.Join(f.errs...)
	f.errs = nil
	return err
}
