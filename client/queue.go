package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/wake"
)

// Bounds of what the queue hands out at a time.
const (
	batchEvents = 1000
	batchBytes  = 4 << 20 // of JSON, except for a single event
)

// A queue holds recorded events in their order until they are sent. An event
// stays in the queue while it is being sent.
type queue struct {
	maxEvents int
	maxBytes  int // of JSON, except for a single event

	changed wake.Signal // fires after each change

	mu     sync.Mutex
	events []queued
	bytes  int  // of the events' JSON
	closed bool // Close has begun
}

type queued struct {
	prepared
	recorded time.Time
}

// add adds an event at the end. It waits while the queue is full.
func (q *queue) add(ctx context.Context, e queued) error {
	for {
		changed := q.changed.Next()
		added, err := q.tryAdd(e)
		if added || err != nil {
			return err
		}

		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("client: %w: %w", attestlog.ErrQueueFull, ctx.Err())
		}
	}
}

// tryAdd is add without waiting: it reports whether there was room.
func (q *queue) tryAdd(e queued) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()

	if q.closed {
		return false, attestlog.ErrClosed
	}
	fits := len(q.events) < q.maxEvents && q.bytes+len(e.json) <= q.maxBytes
	if len(q.events) > 0 && !fits {
		return false, nil
	}

	q.events = append(q.events, e)
	q.bytes += len(e.json)
	q.changed.Fire()
	return true, nil
}

// next returns the first events, which stay in the queue until they are removed.
// It waits for some, and reports whether there are any: there are none once the
// queue is closed and empty, or ctx ended.
func (q *queue) next(ctx context.Context) ([]queued, bool) {
	for {
		changed := q.changed.Next()
		batch, closed := q.first()
		if len(batch) > 0 || closed {
			return batch, len(batch) > 0
		}

		select {
		case <-changed:
		case <-ctx.Done():
			return nil, false
		}
	}
}

// first returns the first events, and whether the queue is closed.
func (q *queue) first() (batch []queued, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()

	n, size := 0, 0
	for n < len(q.events) && n < batchEvents {
		size += len(q.events[n].json)
		if n > 0 && size > batchBytes {
			break
		}
		n++
	}
	return q.events[:n:n], q.closed
}

// remove removes the first n events. Only one goroutine may call next and
// remove.
func (q *queue) remove(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()

	for _, e := range q.events[:n] {
		q.bytes -= len(e.json)
	}
	clear(q.events[:n])
	q.events = q.events[n:]
	if len(q.events) == 0 {
		q.events = nil // what a burst took is given back
	}
	q.changed.Fire()
}

// removeAll removes and returns all events.
func (q *queue) removeAll() []queued {
	q.mu.Lock()
	defer q.mu.Unlock()

	all := q.events
	q.events = nil
	q.bytes = 0
	q.changed.Fire()
	return all
}

// close makes add fail. What is in the queue can still be sent.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()

	q.closed = true
	q.changed.Fire()
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()

	return len(q.events)
}

// ended reports whether the queue is closed and empty.
func (q *queue) ended() bool {
	q.mu.Lock()
	defer q.mu.Unlock()

	return q.closed && len(q.events) == 0
}
