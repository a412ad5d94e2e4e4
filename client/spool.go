package client

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/halve"
	"github.com/attestlog/attestlog/internal/lasting"
	"github.com/attestlog/attestlog/internal/retry"
)

// spoolInterval is how often the spool is looked at.
const spoolInterval = 200 * time.Millisecond

// hasSpooled reports whether events wait in the spool. A spool that cannot be
// read holds nothing up.
func (c *Client) hasSpooled() bool {
	if c.cfg.Spool == nil {
		return false
	}
	b, err := c.cfg.Spool.Backlog(c.ctx)
	return err == nil && b.Events > 0
}

// spool puts the first events of a batch into the spool, at most MaxMove, and
// returns how many. Fewer than that come with an error.
func (c *Client) spool(batch []queued) (int, error) {
	batch = batch[:min(len(batch), attestlog.MaxMove)]
	events := make([]attestlog.Prepared, len(batch))
	for i, e := range batch {
		events[i] = attestlog.Prepared{Event: e.json, At: e.recorded}
	}

	// Close spools the rest of the queue when it gives up, and has ended c.ctx by
	// then.
	n, err := c.cfg.Spool.Put(context.WithoutCancel(c.ctx), events)
	c.count(func(s *Stats) { s.Spooled += uint64(n) })
	return n, err
}

// sendSpool sends what is in the spool, oldest first, until Close gives up, or
// until the queue has ended and the spool is empty or cannot be sent.
func (c *Client) sendSpool() {
	backoff := newBackoff()
	var failing lasting.State
	for {
		// Asked first: the last events of the queue may go to the spool meanwhile.
		ended := c.queue.ended()
		n, err := c.cfg.Spool.Move(c.ctx, c.sendSpooled)
		isAway := errors.Is(err, attestlog.ErrUnavailable) // which those who record events are told
		if !isAway && c.ctx.Err() == nil {
			failing.Note(err, c.cfg.Logger, slog.LevelError, "client: the spool could not be sent", "client: the spool is sent again", "log", c.name)
		}
		if err == nil && n > 0 {
			backoff.Reset()
			continue
		}

		wait := spoolInterval
		if err == nil {
			backoff.Reset()
		} else {
			wait = backoff.Next()
		}

		if ended || retry.Sleep(c.ctx, wait) != nil {
			return
		}
	}
}

// sendSpooled sends events of the spool. It returns, for each event, why the
// server never takes it: the spool sets such an event aside.
func (c *Client) sendSpooled(events []attestlog.Prepared) ([]error, error) {
	// An item is an event that can be sent, with its position in events.
	type item struct {
		prepared
		pos int
	}

	refusals := make([]error, len(events))
	ids := make([]string, len(events))
	var items []item
	for i, p := range events {
		event, err := preparedOf(p)
		if err != nil {
			refusals[i] = err
			continue
		}
		ids[i] = event.id
		items = append(items, item{event, i})
	}

	try := func(part []item) error {
		var body []byte
		for _, it := range part {
			body = appendLine(body, it.json)
		}
		_, err := c.post(c.ctx, body, len(part))
		return err
	}
	err := halve.Each(items, try, blamesEvent, func(it item, err error) error {
		refusals[it.pos] = err
		return nil
	})
	if err != nil {
		return nil, err
	}

	// Only now, since after an error all of them are sent again.
	for i, err := range refusals {
		if err != nil {
			c.refuse(ids[i], err)
		} else {
			c.count(func(s *Stats) { s.Stored++ })
		}
	}
	return refusals, nil
}

// preparedOf reads an event of the spool. One that another program put there may
// have no time.
func preparedOf(p attestlog.Prepared) (prepared, error) {
	e, err := attestlog.ParseEvent(p.Event)
	if err != nil {
		return prepared{}, err
	}
	if !e.Time.IsZero() {
		return prepared{e.ID, p.Event}, nil
	}

	e.Time = p.At
	json, err := e.MarshalJSON()
	return prepared{e.ID, json}, err
}
