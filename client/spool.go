package client

import (
	"context"
	"errors"
	"time"

	"github.com/attestlog/attestlog"
)

// spools reports whether events wait in the spool. One that cannot be read holds
// nothing up.
func (c *Client) spools() bool {
	if c.cfg.Spool == nil {
		return false
	}
	b, err := c.cfg.Spool.Backlog(c.ctx)
	return err == nil && b.Events > 0
}

// spool puts events into the spool and returns how many.
func (c *Client) spool(batch []queued) (int, error) {
	all := make([]attestlog.Prepared, 0, min(len(batch), attestlog.MaxMove))
	for _, e := range batch[:min(len(batch), attestlog.MaxMove)] {
		all = append(all, attestlog.Prepared{Event: e.text, At: e.at})
	}
	n, err := c.cfg.Spool.Put(context.WithoutCancel(c.ctx), all)
	c.count(func(s *Stats) { s.Spooled += uint64(n) })
	return n, err
}

// unspoolEvery is how often the spool is looked at.
const unspoolEvery = 200 * time.Millisecond

// unspool sends what is in the spool, oldest first.
func (c *Client) unspool() {
	wait := unspoolEvery
	for pause(c.ctx, wait) == nil {
		n, err := c.cfg.Spool.Move(c.ctx, c.move)
		switch {
		case err != nil && !errors.Is(err, attestlog.ErrUnavailable) && c.ctx.Err() == nil:
			c.cfg.Logger.Error("client: the spool could not be sent", "log", c.name, "err", err)
			wait = min(2*wait, lastWait)
		case err != nil:
			wait = min(2*wait, lastWait)
		case n > 0:
			wait = time.Millisecond
		default:
			wait = unspoolEvery
		}
		if c.queue.ended() && (err != nil || n == 0) {
			return
		}
	}
}

func (q *queue) ended() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && len(q.all) == 0
}

// move sends events of the spool. An event that the server never takes is set
// aside with its reason.
func (c *Client) move(events []attestlog.Prepared) ([]error, error) {
	out := make([]error, len(events))
	batch := make([]queued, len(events))
	for i, p := range events {
		e, err := attestlog.ParseEvent(p.Event)
		if err == nil && e.Time.IsZero() {
			e.Time = p.At // put there by another program
			p.Event, err = e.MarshalJSON()
		}
		if err != nil {
			out[i] = err
			continue
		}
		batch[i] = queued{prepared{e.ID, p.Event}, p.At}
	}
	if err := c.settle(batch, out); err != nil {
		return out, err
	}
	for i, err := range out {
		if err == nil {
			c.count(func(s *Stats) { s.Stored++ })
		} else {
			c.refuse(batch[i], err)
		}
	}
	return out, nil
}

// settle sends those of a batch that have no error yet, and sets the errors of
// those that are refused.
func (c *Client) settle(batch []queued, errs []error) error {
	var body []byte
	n := 0
	for i, e := range batch {
		if errs[i] == nil {
			body = append(append(body, e.text...), '\n')
			n++
		}
	}
	if n == 0 {
		return nil
	}
	_, err := c.post(c.ctx, body, n)
	switch {
	case err == nil:
		return nil
	case !refusal(err):
		return err
	case len(batch) == 1:
		errs[0] = err
		return nil
	}
	half := len(batch) / 2
	if err := c.settle(batch[:half], errs[:half]); err != nil {
		return err
	}
	return c.settle(batch[half:], errs[half:])
}
