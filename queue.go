package attestlog

import (
	"context"
	"fmt"
	"slices"
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

// A call is one Append (or Flush, without drafts) on its way through the
// queue. receipts and err are written before done is closed.
type call struct {
	drafts   []draft
	bytes    int
	receipts []Receipt
	err      error
	moved    bool // it comes from an outbox, where its events stay if it fails
	// conflicts are why events of the call are not taken, by their position.
	conflicts map[int]error
	done      chan struct{}
}

// failure wraps err with the call's ids.
func (c *call) failure(err error) error {
	if len(c.drafts) == 0 {
		return err
	}
	ids := make([]string, len(c.drafts))
	for i := range c.drafts {
		ids[i] = c.drafts[i].id()
	}
	return &AppendError{ids, err}
}

// id returns the draft's id: the caller's, or the UUIDv7 that is its key.
func (d *draft) id() string {
	if d.given != "" {
		return d.given
	}
	var room [36]byte
	return string(appendUUID(room[:0], uuid.UUID(d.key)))
}

// A job is a call, or where that is nil one recorded event.
type job struct {
	call  *call
	draft draft
}

func (j *job) events() int {
	if j.call == nil {
		return 1
	}
	return len(j.call.drafts)
}

func (j *job) bytes() int {
	if j.call == nil {
		return j.draft.size()
	}
	return j.call.bytes
}

// A queue holds jobs in the order of their arrival. What it hands out counts
// against its bounds until it is released.
type queue struct {
	maxEvents, maxBytes int

	mu     sync.Mutex
	jobs   []job
	arena  arena // of recorded events
	events int   // queued and in flight
	bytes  int
	closed bool

	ready chan struct{} // holds a token when there may be work
	room  broadcast
}

func newQueue(maxEvents, maxBytes int) *queue {
	return &queue{maxEvents: maxEvents, maxBytes: maxBytes, ready: make(chan struct{}, 1)}
}

// reserve returns with mu held and room made for a job, or with an error. It
// waits for room if it may.
func (q *queue) reserve(ctx context.Context, events, bytes int, wait bool) error {
	for {
		q.mu.Lock()
		switch {
		case q.closed:
			q.mu.Unlock()
			return ErrClosed
		case q.events == 0 || q.events+events <= q.maxEvents && q.bytes+bytes <= q.maxBytes:
			q.events += events
			q.bytes += bytes
			return nil
		}
		room := q.room.wait()
		q.mu.Unlock()
		if !wait {
			return ErrQueueFull
		}
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrQueueFull, ctx.Err())
		}
	}
}

func (q *queue) put(ctx context.Context, c *call) error {
	if err := q.reserve(ctx, len(c.drafts), c.bytes, true); err != nil {
		return err
	}
	q.jobs = append(q.jobs, job{call: c})
	q.mu.Unlock()
	q.wake()
	return nil
}

// putFirst puts a call ahead of everything that is queued, room or no room, and
// also after the queue was closed.
func (q *queue) putFirst(c *call) {
	c.moved = true
	q.mu.Lock()
	q.events += len(c.drafts)
	q.bytes += c.bytes
	q.jobs = slices.Insert(q.jobs, 0, job{call: c})
	q.mu.Unlock()
	q.wake()
}

// takeRecords moves up to max recorded events of a policy from the queue.
func (q *queue) takeRecords(policy Policy, max int) (taken []job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := q.jobs[:0]
	for _, j := range q.jobs {
		if j.call == nil && j.draft.policy == policy && len(taken) < max {
			taken = append(taken, j)
		} else {
			kept = append(kept, j)
		}
	}
	clear(q.jobs[len(kept):])
	q.jobs = kept
	return taken
}

// record queues a draft, which it copies.
func (q *queue) record(ctx context.Context, d draft) error {
	if err := q.reserve(ctx, 1, d.size(), d.policy != Fail); err != nil {
		return err
	}
	q.arena.keep(&d, arenaSize)
	q.jobs = append(q.jobs, job{draft: d})
	q.mu.Unlock()
	q.wake()
	return nil
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take moves jobs from the queue to batch, until it holds max events or bytes.
// It reports whether the queue is closed and empty.
func (q *queue) take(batch []job, maxEvents, maxBytes int) ([]job, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, events, bytes := 0, 0, 0
	for n < len(q.jobs) && events < maxEvents && bytes < maxBytes {
		events += q.jobs[n].events()
		bytes += q.jobs[n].bytes()
		n++
	}
	batch = append(batch, q.jobs[:n]...)
	rest := copy(q.jobs, q.jobs[n:])
	clear(q.jobs[rest:])
	q.jobs = q.jobs[:rest]
	if rest > 0 {
		q.wake()
	}
	return batch, q.closed && rest == 0
}

// release gives back the room of jobs that have ended.
func (q *queue) release(events, bytes int) {
	q.mu.Lock()
	q.events -= events
	q.bytes -= bytes
	q.mu.Unlock()
	q.room.fire()
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.room.fire()
	q.wake()
}

func (q *queue) depth() (events, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.events, q.bytes
}

func (q *queue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.events >= q.maxEvents || q.bytes >= q.maxBytes
}
