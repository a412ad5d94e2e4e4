package attestlog

import (
	"context"
	"errors"
	"fmt"
)

// Record queues an event and returns. While the queue is full it waits until
// there is room, or until ctx ends (ErrQueueFull). The event is stored even if
// the store fails for a while, in which it waits in the queue or in
// Config.Spool: see Policy. What cannot be stored, because its id is in the log
// with other content or because Close ran out of time, is logged, counted, and
// returned by Flush or Close.
func (l *Log) Record(ctx context.Context, event Event) error {
	if err := refuseReserved(&event); err != nil {
		return err
	}
	if l.readOnly != nil {
		return l.readOnly
	}
	r := takeRoom()
	defer r.free()
	d, err := l.enc.encode(r, &event, l.cfg.Clock())
	if err != nil {
		return err
	}
	d.policy = l.policyOf(event.Action)
	if d.policy == Fail && l.waits() {
		return fmt.Errorf("%w: other events wait for it", ErrUnavailable)
	}
	if err := l.queue.record(ctx, d); err != nil {
		if full := l.spoolErr.Load(); full != nil && errors.Is(err, ErrQueueFull) {
			err = fmt.Errorf("%w: %w", err, *full)
		}
		return err
	}
	l.counters.queued.Add(1)
	return nil
}

// Ready returns nil if a recorded event would be taken now, as far as can be
// told without writing: the log is open for writing, no events wait for the
// store, the queue has room, and the store answers. Otherwise it returns why
// not. A service that rather refuses its own work than leave it unrecorded
// asks first.
func (l *Log) Ready(ctx context.Context) error {
	switch {
	case l.readOnly != nil:
		return l.readOnly
	case l.queue.full():
		return ErrQueueFull
	case l.waits():
		return fmt.Errorf("%w: events wait for it", ErrUnavailable)
	}
	select {
	case <-l.ending:
		return ErrClosed
	default:
	}
	if _, err := l.store.Tree(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}
