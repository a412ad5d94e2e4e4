package attestlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/attestlog/attestlog/internal/lasting"
	"github.com/attestlog/attestlog/internal/retry"
	"github.com/attestlog/attestlog/internal/wake"
)

// An outboxWorker moves the events of one outbox into the log.
type outboxWorker struct {
	box      Outbox
	appender *appender
	interval time.Duration
	life     *lifecycle
	counters *counters
	logger   *slog.Logger

	tryNow wake.Bell   // rung when a try is wanted now
	tried  wake.Signal // fires after each try

	moved    atomic.Uint64
	failures atomic.Uint64
	held     atomic.Bool // another process moves the outbox
	failing  lasting.State
	lastErr  atomic.Pointer[error] // of the last try, nil if it went well
}

// run ends with ctx: what has not been moved is durable where it is.
func (w *outboxWorker) run(ctx context.Context) {
	backoff := retry.Backoff{First: retryFirst, Longest: retryLongest}
	for ctx.Err() == nil {
		n, err := w.step(ctx)
		isHeld := errors.Is(err, ErrOutboxHeld)
		if !isHeld && ctx.Err() == nil {
			w.failing.Note(err, w.logger, slog.LevelWarn, "attestlog: events could not be moved from an outbox and are tried again",
				"attestlog: events are moved from an outbox again", "outbox", w.box.Name())
		}

		pause := w.interval
		tryNow := w.tryNow
		switch {
		case n > 0:
			backoff.Reset()
			continue
		case err == nil:
			backoff.Reset()
		case isHeld:
			tryNow = nil // the other process has to be waited for
		case ctx.Err() == nil:
			pause = backoff.Next()
			tryNow = nil
		}

		select {
		case <-time.After(pause):
		case <-tryNow:
		case <-ctx.Done():
		}
	}
}

// step moves the oldest events, and returns how many left the outbox.
func (w *outboxWorker) step(ctx context.Context) (int, error) {
	defer w.tried.Fire()

	n, err := w.box.Move(ctx, func(waiting []Prepared) ([]error, error) { return w.move(ctx, waiting) })
	held := errors.Is(err, ErrOutboxHeld)
	w.held.Store(held)
	if err != nil && !held {
		w.failures.Add(1)
		w.lastErr.Store(&err)
		return 0, err
	}

	w.lastErr.Store(nil)
	w.moved.Add(uint64(n))
	return n, err
}

// move appends what an outbox handed out, and returns what is wrong with each.
func (w *outboxWorker) move(ctx context.Context, waiting []Prepared) ([]error, error) {
	verdicts := make([]error, len(waiting))
	moves := make([]moving, 0, len(waiting))
	for i := range waiting {
		e, err := w.parse(&waiting[i])
		if err != nil {
			verdicts[i] = err
			continue
		}
		moves = append(moves, moving{e, i})
	}

	err := w.append(ctx, moves, waiting, verdicts)
	if err != nil {
		return nil, err
	}

	// The outbox keeps an event that is refused, with the reason, for somebody to
	// look at.
	for i, verdict := range verdicts {
		if verdict == nil {
			continue
		}
		verdicts[i] = storable(verdict)
		w.counters.failed.Add(1)
		w.logger.Error("attestlog: an event in an outbox is not one that the log takes, and is set aside",
			"outbox", w.box.Name(), "at", waiting[i].At, "err", verdicts[i])
	}
	return verdicts, nil
}

// A moving event has its position among those that the outbox handed out.
type moving struct {
	event    Event
	position int
}

// append appends events in their order, and writes into verdicts why the log will
// never take some.
func (w *outboxWorker) append(ctx context.Context, moves []moving, waiting []Prepared, verdicts []error) error {
	for len(moves) > 0 {
		events := make([]Event, len(moves))
		for i := range moves {
			events[i] = moves[i].event
		}

		c, err := w.appender.appendFirst(ctx, events, func(i int) time.Time { return waiting[moves[i].position].At })
		if err == nil || len(c.conflicts) == 0 {
			return err
		}

		// The others are tried again without those that conflict.
		var rest []moving
		for i, m := range moves {
			why, conflicts := c.conflicts[i]
			if conflicts {
				verdicts[m.position] = why
			} else {
				rest = append(rest, m)
			}
		}
		moves = rest
	}
	return nil
}

// parse reads what Prepare wrote, or somebody who can write there too.
func (w *outboxWorker) parse(p *Prepared) (Event, error) {
	e, err := ParseEvent(p.Event)
	if err != nil {
		return e, err
	}
	if e.ID == "" {
		return e, &FieldError{Field: "id", Rule: "required in an outbox"}
	}
	err = refuseReserved(&e)
	if err != nil {
		return e, err
	}
	return e, w.appender.encoder.check(e, p.At)
}

// drain waits until everything that is in the outbox now has left it.
func (w *outboxWorker) drain(ctx context.Context) error {
	begin, err := w.box.Backlog(ctx)
	if err != nil {
		return err
	}

	left := begin
	for left.Events > 0 && left.First <= begin.Last {
		tried := w.tried.Next()
		w.tryNow.Ring()
		select {
		case <-tried:
		case <-time.After(w.interval): // another process may be moving it
		case <-w.life.closing.Done():
			return fmt.Errorf("outbox %s: %d events: %w", w.box.Name(), left.Events, ErrClosed)
		case <-ctx.Done():
			return w.stillWaiting(ctx, left)
		}

		now, err := w.box.Backlog(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return w.stillWaiting(ctx, left)
		case err != nil:
			return err
		}
		left = now
	}
	return nil
}

// stillWaiting is the error of a drain whose context has ended.
func (w *outboxWorker) stillWaiting(ctx context.Context, backlog Backlog) error {
	err := ctx.Err()
	last := w.lastErr.Load()
	if last != nil {
		err = fmt.Errorf("%w: %w", err, *last)
	}
	return fmt.Errorf("outbox %s: %d events wait: %w", w.box.Name(), backlog.Events, err)
}
