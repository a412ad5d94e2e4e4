package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/halve"
)

// maxRefused bounds the errors that Flush returns.
const maxRefused = 100

// Record queues an event and returns. While the queue is full it waits, until
// there is room or ctx ends (ErrQueueFull). Events are sent in their order, each
// again until the server has it; if the server stays away they go to the spool,
// if there is one. An event that the server refuses for good is logged, counted
// and returned by Flush.
func (c *Client) Record(ctx context.Context, e attestlog.Event) error {
	p, err := c.prepare(e)
	if err != nil {
		return err
	}

	err = c.queue.add(ctx, queued{p, c.cfg.Clock()})
	if err != nil {
		return err
	}

	c.count(func(s *Stats) { s.Queued++ })
	return nil
}

// Flush waits until everything that was recorded before is in the log, or
// refused for good. It returns why events were refused since the last Flush, of
// at most 100 events.
func (c *Client) Flush(ctx context.Context) error {
	for {
		changed := c.queue.changed.Next()
		if c.queue.len() == 0 && !c.hasSpooled() {
			return c.takeRefused()
		}

		timer := time.NewTimer(spoolInterval) // the spool does not tell when it changes
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// sendQueue sends what is queued until the queue is closed and empty, or Close
// gives up.
func (c *Client) sendQueue() {
	var awaySince time.Time // zero while the server, or the spool, takes events
	backoff := newBackoff()

	for {
		batch, more := c.queue.next(c.ctx)
		if !more {
			return
		}

		// While older events wait in the spool, newer ones must not overtake them.
		send := c.deliver
		if c.hasSpooled() {
			send = c.spool
		}
		done, err := send(batch)
		c.queue.remove(done)
		if err == nil {
			awaySince = time.Time{}
			c.away.Note(nil, c.cfg.Logger, slog.LevelWarn, "", "client: recorded events are stored again", "log", c.name)
			backoff.Reset()
			continue
		}

		now := c.cfg.Clock()
		if awaySince.IsZero() {
			awaySince = now
		}
		c.away.Note(err, c.cfg.Logger, slog.LevelWarn, "client: recorded events wait for the server", "", "log", c.name)
		if c.cfg.Spool != nil && now.Sub(awaySince) >= c.cfg.SpoolAfter {
			spooled, err := c.spool(batch[done:])
			c.queue.remove(spooled)
			c.notSpooling.Note(err, c.cfg.Logger, slog.LevelError, "client: the spool takes no events",
				"client: the spool takes events again", "log", c.name)
			if err == nil {
				continue
			}
		}

		if backoff.Wait(c.ctx) != nil {
			return
		}
	}
}

// deliver sends events and returns how many are done with, from the first on:
// stored, or refused for good.
func (c *Client) deliver(batch []queued) (done int, err error) {
	try := func(part []queued) error {
		var body []byte
		for _, e := range part {
			body = appendLine(body, e.json)
		}
		_, err := c.post(c.ctx, body, len(part))
		if err != nil {
			return err
		}

		done += len(part)
		c.count(func(s *Stats) { s.Stored += uint64(len(part)) })
		return nil
	}

	err = halve.Each(batch, try, blamesEvent, func(e queued, err error) error {
		done++
		c.refuse(e.id, err)
		return nil
	})
	return done, err
}

// blamesEvent reports whether an error is about an event that was sent, so that
// the server would not take it later either.
func blamesEvent(err error) bool {
	var field *attestlog.FieldError
	return errors.As(err, &field) ||
		errors.Is(err, attestlog.ErrConflict) ||
		errors.Is(err, attestlog.ErrTooLarge) ||
		errors.Is(err, errBadRequest)
}

// refuse reports an event that the server never takes.
func (c *Client) refuse(id string, err error) {
	err = fmt.Errorf("record %s: %w", id, err)
	c.cfg.Logger.Error("client: an event is refused", "log", c.name, "id", id, "err", err)

	c.mu.Lock()
	defer c.mu.Unlock()

	c.counts.Failed++
	if len(c.refused) < maxRefused {
		c.refused = append(c.refused, err)
	}
}

// takeRefused returns why events were refused since it was last called.
func (c *Client) takeRefused() error {
	c.mu.Lock()
	defer c.mu.Unlock()

	err := errors.Join(c.refused...)
	c.refused = nil
	return err
}
