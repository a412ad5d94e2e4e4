package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
)

// Batches of recorded events.
const (
	batchEvents = 1000
	batchBytes  = 4 << 20
	// keptErrors bounds the errors that Flush returns.
	keptErrors = 100
)

// A queue holds recorded events until they are sent, in their order.
type queue struct {
	events, bytes int // bounds

	mu     sync.Mutex
	all    []queued
	size   int           // bytes of all
	closed bool          // Close has begun
	change chan struct{} // closed at every change
}

type queued struct {
	prepared
	at time.Time // when it was recorded
}

func (q *queue) init(events, bytes int) {
	q.events, q.bytes, q.change = events, bytes, make(chan struct{})
}

// changed tells all who wait. q.mu is held.
func (q *queue) changed() {
	close(q.change)
	q.change = make(chan struct{})
}

// put adds an event, once there is room.
func (q *queue) put(ctx context.Context, e queued) error {
	for {
		q.mu.Lock()
		change := q.change
		switch {
		case q.closed:
			q.mu.Unlock()
			return attestlog.ErrClosed
		case len(q.all) == 0 || len(q.all) < q.events && q.size+len(e.text) <= q.bytes:
			q.all, q.size = append(q.all, e), q.size+len(e.text)
			q.changed()
			q.mu.Unlock()
			return nil
		}
		q.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("client: %w: %w", attestlog.ErrQueueFull, ctx.Err())
		}
	}
}

// take returns the first events, which stay in the queue until drop, and whether
// there will be more. It waits for some.
func (q *queue) take(ctx context.Context) ([]queued, bool) {
	for {
		q.mu.Lock()
		n, size := 0, 0
		for n < len(q.all) && n < batchEvents && (n == 0 || size+len(q.all[n].text) <= batchBytes) {
			size += len(q.all[n].text)
			n++
		}
		batch, change, closed := q.all[:n:n], q.change, q.closed
		q.mu.Unlock()
		if n > 0 || closed {
			return batch, n > 0
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, false
		}
	}
}

// drop removes the first n events.
func (q *queue) drop(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.all[:n] {
		q.size -= len(e.text)
	}
	clear(q.all[:n])
	if q.all = q.all[n:]; len(q.all) == 0 {
		q.all = nil
	}
	q.changed()
}

// Record queues an event and returns. While the queue is full it waits until
// there is room, or until ctx ends (ErrQueueFull). The event is sent behind those
// before it, and again until the server has it. With a spool it goes there if the
// server stays away. What the server refuses for good is logged, counted and
// returned by Flush.
func (c *Client) Record(ctx context.Context, e attestlog.Event) error {
	p, err := c.prepare(e)
	if err != nil {
		return err
	}
	if err := c.queue.put(ctx, queued{p, c.cfg.Clock()}); err != nil {
		return err
	}
	c.count(func(s *Stats) { s.Queued++ })
	return nil
}

// send sends what is queued until the queue is closed and empty, or Close gives
// up.
func (c *Client) send() {
	var awaySince time.Time
	wait := firstWait
	for {
		batch, more := c.queue.take(c.ctx)
		if !more {
			return
		}
		done, err := 0, error(nil)
		if c.spools() { // behind what waits there
			done, err = c.spool(batch)
		} else {
			done, err = c.deliver(c.ctx, batch)
		}
		c.queue.drop(done)
		if err == nil {
			awaySince, wait = time.Time{}, firstWait
			continue
		}
		now := c.cfg.Clock()
		if awaySince.IsZero() {
			awaySince = now
			c.cfg.Logger.Warn("client: recorded events wait for the server", "log", c.name, "err", err)
		}
		if c.cfg.Spool != nil && now.Sub(awaySince) >= c.cfg.SpoolAfter {
			if done, err = c.spool(batch[done:]); done > 0 {
				c.queue.drop(done)
			}
			if err == nil {
				continue
			}
			c.cfg.Logger.Error("client: the spool takes no events", "log", c.name, "err", err)
		}
		if pause(c.ctx, wait) != nil {
			return
		}
		wait = min(2*wait, lastWait)
	}
}

// deliver sends events and returns how many are settled, from the first on:
// stored, or refused for good.
func (c *Client) deliver(ctx context.Context, batch []queued) (int, error) {
	var body []byte
	for _, e := range batch {
		body = append(append(body, e.text...), '\n')
	}
	_, err := c.post(ctx, body, len(batch))
	switch {
	case err == nil:
		c.count(func(s *Stats) { s.Stored += uint64(len(batch)) })
		return len(batch), nil
	case !refusal(err):
		return 0, err
	case len(batch) == 1:
		c.refuse(batch[0], err)
		return 1, nil
	}
	// One of them is to blame: each half is tried.
	half := len(batch) / 2
	done, err := c.deliver(ctx, batch[:half])
	if err != nil {
		return done, err
	}
	more, err := c.deliver(ctx, batch[half:])
	return done + more, err
}

// refusal reports whether an event is to blame, and not the server.
func refusal(err error) bool {
	var field *attestlog.FieldError
	return errors.As(err, &field) || errors.Is(err, attestlog.ErrConflict) || errors.Is(err, attestlog.ErrTooLarge) || errors.Is(err, errBad)
}

func (c *Client) refuse(e queued, err error) {
	err = fmt.Errorf("record %s: %w", e.id, err)
	c.cfg.Logger.Error("client: an event is refused", "log", c.name, "id", e.id, "err", err)
	c.count(func(s *Stats) { s.Failed++ })
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failed) < keptErrors {
		c.failed = append(c.failed, err)
	}
}

// Flush waits until what was recorded before is in the log, or refused for good.
// It returns the errors of those that were refused since the last Flush.
func (c *Client) Flush(ctx context.Context) error {
	for {
		c.queue.mu.Lock()
		waiting, change := len(c.queue.all), c.queue.change
		c.queue.mu.Unlock()
		spooled := c.spools()
		if waiting == 0 && !spooled {
			c.mu.Lock()
			defer c.mu.Unlock()
			err := errors.Join(c.failed...)
			c.failed = nil
			return err
		}
		timer := time.NewTimer(unspoolEvery)
		select {
		case <-change:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// Close stops accepting events and sends what is queued. When ctx ends first,
// what is left goes to the spool; without one, or without room there, it is lost
// to this program, and the error is an *attestlog.AppendError with the ids. What
// is in the spool stays there for the next time. Later calls return the first's
// error.
func (c *Client) Close(ctx context.Context) error {
	c.closing.Do(func() { c.closed = c.close(ctx) })
	return c.closed
}

func (c *Client) close(ctx context.Context) error {
	c.queue.mu.Lock()
	c.queue.closed = true
	c.queue.changed()
	c.queue.mu.Unlock()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		c.sender.Wait()
	}()
	select {
	case <-sent:
	case <-ctx.Done():
		c.end()
		<-sent
	}
	c.end()
	c.queue.mu.Lock()
	left := c.queue.all
	c.queue.all, c.queue.size = nil, 0
	c.queue.changed()
	c.queue.mu.Unlock()
	var err error
	if c.cfg.Spool != nil {
		for n := 0; len(left) > 0 && err == nil; left = left[n:] {
			n, err = c.spool(left)
		}
		err = errors.Join(err, c.cfg.Spool.Close())
	}
	if len(left) > 0 {
		ids := make([]string, len(left))
		for i := range left {
			ids[i] = left[i].id
		}
		err = &attestlog.AppendError{IDs: ids, Err: errors.Join(attestlog.ErrUnavailable, err)}
	}
	c.cfg.HTTP.CloseIdleConnections()
	return err
}

// Stats are a client's figures since New.
type Stats struct {
	Queued  uint64 // recorded events that were accepted
	Stored  uint64 // recorded events that the server has
	Spooled uint64 // recorded events that went to the spool
	Failed  uint64 // recorded events that the server refused for good
	Waiting int    // in the queue now
}

// Stats returns the client's figures now.
func (c *Client) Stats() Stats {
	c.queue.mu.Lock()
	waiting := len(c.queue.all)
	c.queue.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.counts
	out.Waiting = waiting
	return out
}

func (c *Client) count(fn func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn(&c.counts)
}
