package attestlog

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/attestlog/attestlog/internal/wake"
)

// A call is one Append on its way through the queue, or a Flush, which has no
// drafts. The sequencer writes the answer before it closes done.
type call struct {
	drafts     []draft
	bytes      int
	fromOutbox bool // where its events stay if it fails
	done       chan struct{}

	// The answer.
	receipts  []Receipt
	err       error
	conflicts map[int]error // why events of the call are not taken, by their position
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

// A job is a call, or where that is nil one recorded event.
type job struct {
	call   *call
	draft  draft
	policy Policy // of the recorded event
}

func (j *job) isFlush() bool { return j.call != nil && len(j.call.drafts) == 0 }

// goesToSpool reports whether the job is a recorded event for the spool.
func (j *job) goesToSpool() bool { return j.call == nil && j.policy == ToSpool }

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
// against its bounds until it is released. It is safe for concurrent use.
type queue struct {
	maxEvents, maxBytes int

	mu     sync.Mutex
	jobs   []job
	arena  arena // of recorded events
	events int   // queued and in flight
	bytes  int
	closed bool

	ready    wake.Bell   // rung when there may be work
	released wake.Signal // fires when there may be room
}

func newQueue(maxEvents, maxBytes int) *queue {
	return &queue{maxEvents: maxEvents, maxBytes: maxBytes, ready: wake.NewBell()}
}

// put queues a call. It waits while there is no room.
func (q *queue) put(ctx context.Context, c *call) error {
	err := q.reserve(ctx, len(c.drafts), c.bytes, true)
	if err != nil {
		return err
	}

	q.jobs = append(q.jobs, job{call: c})
	q.mu.Unlock()
	q.ready.Ring()
	return nil
}

// putRecord queues a recorded event, whose draft it copies. With the policy Fail
// it does not wait for room.
func (q *queue) putRecord(ctx context.Context, d draft, policy Policy) error {
	err := q.reserve(ctx, 1, d.size(), policy != Fail)
	if err != nil {
		return err
	}

	q.arena.copy(&d, arenaBytes)
	q.jobs = append(q.jobs, job{draft: d, policy: policy})
	q.mu.Unlock()
	q.ready.Ring()
	return nil
}

// putFirst puts a call ahead of everything that is queued, room or no room, and
// also after the queue was closed.
func (q *queue) putFirst(c *call) {
	c.fromOutbox = true

	q.mu.Lock()
	q.events += len(c.drafts)
	q.bytes += c.bytes
	q.jobs = slices.Insert(q.jobs, 0, job{call: c})
	q.mu.Unlock()
	q.ready.Ring()
}

// reserve returns with mu held and room made for a job, or with an error. It
// waits for room if it may.
func (q *queue) reserve(ctx context.Context, events, bytes int, wait bool) error {
	for {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return ErrClosed
		}

		// One job always has room, however large it is.
		fits := q.events+events <= q.maxEvents && q.bytes+bytes <= q.maxBytes
		if fits || q.events == 0 {
			q.events += events
			q.bytes += bytes
			return nil
		}
		released := q.released.Next()
		q.mu.Unlock()

		if !wait {
			return ErrQueueFull
		}
		select {
		case <-released:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrQueueFull, ctx.Err())
		}
	}
}

// take moves jobs from the queue to batch until it has moved so many events or
// bytes. It reports whether the queue is closed and empty.
func (q *queue) take(batch []job, maxEvents, maxBytes int) (_ []job, ended bool) {
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
		q.ready.Ring()
	}
	return batch, q.closed && rest == 0
}

// takeForSpool moves up to max recorded events that go to the spool from the
// queue.
func (q *queue) takeForSpool(max int) []job {
	q.mu.Lock()
	defer q.mu.Unlock()

	var taken []job
	kept := q.jobs[:0]
	for _, j := range q.jobs {
		if len(taken) < max && j.goesToSpool() {
			taken = append(taken, j)
		} else {
			kept = append(kept, j)
		}
	}
	clear(q.jobs[len(kept):])
	q.jobs = kept
	return taken
}

// release gives back the room of jobs that have ended, and clears them.
func (q *queue) release(jobs []job) {
	events, bytes := 0, 0
	for i := range jobs {
		events += jobs[i].events()
		bytes += jobs[i].bytes()
	}
	clear(jobs)

	q.mu.Lock()
	q.events -= events
	q.bytes -= bytes
	q.mu.Unlock()
	q.released.Fire()
}

// close lets the queue take no more. What it has is still handed out.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()

	q.released.Fire()
	q.ready.Ring()
}

// depth returns what is accepted and has not ended.
func (q *queue) depth() (events, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.events, q.bytes
}

func (q *queue) full() bool {
	events, bytes := q.depth()
	return events >= q.maxEvents || bytes >= q.maxBytes
}
