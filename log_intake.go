package attestlog

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/attestlog/attestlog/internal/lasting"
	"github.com/attestlog/attestlog/internal/pattern"
	"github.com/attestlog/attestlog/internal/retry"
)

// A Policy says what becomes of a recorded event that the store cannot take.
type Policy uint8

const (
	// Block keeps the event in the queue until the store takes it. Record waits
	// while the queue is full.
	Block Policy = iota + 1
	// ToSpool keeps the event in Config.Spool, and those that follow it, until
	// the store takes them. While the spool is full, it is Block.
	ToSpool
	// Fail has Record return ErrUnavailable while other events are known to wait
	// for the store, and ErrQueueFull while the queue is full, at once. An event
	// that was accepted stays in the queue as with Block.
	Fail
)

// An ActionPolicy gives the actions that a pattern names a policy.
type ActionPolicy struct {
	Action string // a name, or a prefix that ends in ".*"; "*" is every action
	Policy Policy
}

func (c *Config) checkPolicies() error {
	for _, p := range c.Policies {
		switch {
		case p.Action == "" || pattern.Check(p.Action) != nil:
			return fmt.Errorf(`policy of %q: want an action, a prefix such as "mail.*", or "*"`, p.Action)
		case p.Policy < Block || p.Policy > Fail:
			return fmt.Errorf("policy of %q: want Block, ToSpool or Fail", p.Action)
		case p.Policy == ToSpool && c.Spool == nil:
			return fmt.Errorf("policy of %q: there is no spool", p.Action)
		}
	}
	return nil
}

// policyOf returns the first policy that covers an action.
func (c *Config) policyOf(action string) Policy {
	for i := range c.Policies {
		if pattern.Match(c.Policies[i].Action, action) {
			return c.Policies[i].Policy
		}
	}
	if c.Spool != nil {
		return ToSpool
	}
	return Block
}

// checkSpool returns an error if the spool cannot be read.
func (l *Log) checkSpool(ctx context.Context) error {
	if l.cfg.Spool == nil {
		return nil
	}
	_, err := l.cfg.Spool.Backlog(ctx)
	if err != nil {
		return fmt.Errorf("spool %s: %w", l.cfg.Spool.Name(), err)
	}
	return nil
}

// Bounds of what the sequencer stores in one transaction.
const (
	batchEvents = 5_000
	batchBytes  = 8 << 20
)

const (
	// spoolRetry is how often a spool without room is tried again.
	spoolRetry = 100 * time.Millisecond
	// spoolAfter is how long recorded events wait in memory for a store that does
	// not answer before they go to the spool.
	spoolAfter = 5 * time.Second
)

// The waits between tries of what a store or an outbox does not take.
const (
	retryFirst   = 20 * time.Millisecond
	retryLongest = 5 * time.Second
)

// An intake is the stage between the queue and the sequencer. It hands over
// batches, keeps the recorded events of those that failed for another try, and
// diverts recorded events to the spool while the store cannot take them.
//
// The order of recorded events is kept: while any wait in the spool, those that
// follow go there too. What the spool has no room for waits here, stuck, and goes
// first when the spool is empty.
type intake struct {
	queue       *queue
	spool       Spool         // nil without
	spoolWorker *outboxWorker // which empties the spool; nil without
	life        *lifecycle
	failures    *failures
	counters    *counters
	logger      *slog.Logger

	// The rest is owned by the sequencer, and during a commit the fields about
	// stuck events by the goroutine of divertDuring.

	left    []job // what a failed transaction left, to be tried again; begins the next batch
	ended   bool  // the queue is closed and empty
	backoff retry.Backoff
	failing lasting.State // recorded events could not be stored

	stuck    []job     // recorded events, accepted and without room in the spool
	refused  time.Time // when the spool refused some last
	whyStuck error     // what the spool said then, nil if it took all

	// What callers of Record ask for.
	leftEvents  atomic.Int64
	stuckEvents atomic.Int64
	spoolErr    atomic.Pointer[error] // whyStuck
}

// next waits for jobs and returns a batch that is to be committed. It reports
// false when there is nothing more to come: the queue is closed and empty, or
// Close has given up, in which case the rest was failed.
func (in *intake) next() (batch []job, ok bool) {
	for {
		if in.life.gaveUp.reached() {
			in.abandon()
			return nil, false
		}
		if len(in.left) == 0 {
			if in.ended && len(in.stuck) == 0 {
				return nil, false
			}
			select {
			case <-in.queue.ready:
			case <-in.spoolTimer():
			case <-in.life.gaveUp.Done():
				continue
			}
		}

		// What is in the spool is older than this batch, so the batch's recorded
		// events go there after it.
		batch, in.ended = in.queue.take(in.left, batchEvents, batchBytes)
		in.left = nil
		if in.spooled() {
			batch = in.divert(batch)
		} else {
			batch = in.withStuck(batch)
		}
		if len(batch) > 0 {
			return batch, true
		}
	}
}

// spooled reports whether events wait in the spool. One that cannot be read
// holds nothing up.
func (in *intake) spooled() bool {
	if in.spool == nil {
		return false
	}
	backlog, err := in.spool.Backlog(context.Background())
	return err == nil && backlog.Events > 0
}

// holdsRecords reports whether recorded events are known to wait for the store.
func (in *intake) holdsRecords() bool {
	return in.leftEvents.Load() > 0 || in.stuckEvents.Load() > 0 || in.spooled()
}

// withStuck puts what is stuck before a batch, once the spool is empty.
func (in *intake) withStuck(batch []job) []job {
	if len(in.stuck) == 0 {
		return batch
	}
	batch = append(in.stuck, batch...)
	in.stuck = nil
	in.stuckEvents.Store(0)
	in.noteSpool(nil)
	return batch
}

// divert moves the recorded events of a batch to the spool, as far as it takes
// them, and returns the rest of the batch.
func (in *intake) divert(batch []job) []job {
	if in.spool == nil {
		return batch
	}

	rest := batch[:0]
	for i := range batch {
		if batch[i].goesToSpool() {
			in.stuck = append(in.stuck, batch[i])
		} else {
			rest = append(rest, batch[i])
		}
	}
	clear(batch[len(rest):])

	in.fillSpool()
	if len(in.stuck) > 0 {
		rest = in.answerFlushes(rest)
	}
	return rest
}

// answerFlushes answers the calls of Flush in a batch while events are stuck,
// because anything else would promise too much.
func (in *intake) answerFlushes(batch []job) []job {
	rest := batch[:0]
	for i := range batch {
		if batch[i].isFlush() {
			batch[i].call.err = in.whyStuck
			close(batch[i].call.done)
		} else {
			rest = append(rest, batch[i])
		}
	}
	clear(batch[len(rest):])
	return rest
}

// commitContext bounds a commit that holds up recorded events for the spool.
func (in *intake) commitContext(batch []job) (context.Context, context.CancelFunc) {
	if in.spool != nil && anyGoesToSpool(batch) {
		return context.WithTimeout(in.life.gaveUp, spoolAfter)
	}
	return in.life.gaveUp, func() {}
}

func anyGoesToSpool(batch []job) bool {
	for i := range batch {
		if batch[i].goesToSpool() {
			return true
		}
	}
	return false
}

// divertDuring lets the spool take what is queued while batch is committed, if
// events wait there already: a commit may take as long as the store is waited
// for. stop ends that, and is to be called when the commit has ended.
func (in *intake) divertDuring(batch []job) (stop func()) {
	if anyGoesToSpool(batch) || !in.spooled() {
		return func() {}
	}

	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(spoolRetry)
		defer ticker.Stop()
		for {
			// What is stuck is held in memory, and stays within the size of a batch.
			if len(in.stuck) < batchEvents {
				in.stuck = append(in.stuck, in.queue.takeForSpool(batchEvents)...)
				in.fillSpool()
			}
			select {
			case <-ticker.C:
			case <-stopping:
				return
			}
		}
	}()

	return func() {
		close(stopping)
		<-stopped
	}
}

// stored is called after the commit of a batch. The next one is gathered in its
// memory.
func (in *intake) stored(batch []job) {
	in.left = batch[:0]
	in.leftEvents.Store(0)
	in.backoff.Reset()
	in.failing.Note(nil, in.logger, slog.LevelError, "", "attestlog: recorded events are stored again")
}

// retry is called with what failCalls returned, after divertDuring has stopped.
// The recorded events go to the spool, or are kept and tried again after a pause.
func (in *intake) retry(batch []job, err error) {
	in.left = in.divert(batch)

	events := 0
	for i := range in.left {
		events += in.left[i].events()
	}
	in.leftEvents.Store(int64(events))
	if events == 0 {
		return
	}

	in.failing.Note(err, in.logger, slog.LevelError, "attestlog: recorded events could not be stored and are tried again",
		"", "events", events)
	in.backoff.Wait(in.life.gaveUp) // next sees it if Close has given up
}

// failCalls fails the calls of a batch that was not stored, whose callers decide
// what to do, and returns its recorded events. With a spool, which may take those,
// it returns the calls of Flush as well.
func (in *intake) failCalls(batch []job, err error) []job {
	var kept, failed []job
	for i := range batch {
		j := &batch[i]
		if j.call != nil && !(in.spool != nil && j.isFlush()) {
			in.failures.fail(j, err)
			failed = append(failed, *j)
			continue
		}

		// A store that failed may still be reading the bytes that the next try
		// writes the time into.
		if j.call == nil {
			new(arena).copy(&j.draft, 0)
		}
		kept = append(kept, *j)
	}
	in.queue.release(failed)
	return kept
}

// abandon fails everything that the spool does not take, when Close gives up.
func (in *intake) abandon() {
	in.queue.close()
	batch := in.left
	in.left = nil
	for ended := false; !ended; {
		batch, ended = in.queue.take(batch, batchEvents, batchBytes)
	}

	batch = in.divert(batch)
	batch = append(batch, in.stuck...) // those without room in the spool
	in.stuck = nil
	in.stuckEvents.Store(0)
	for i := range batch {
		in.failures.fail(&batch[i], ErrClosed)
	}
	in.queue.release(batch)
}

// fillSpool puts as many of the stuck events into the spool as it takes.
func (in *intake) fillSpool() {
	defer func() { in.stuckEvents.Store(int64(len(in.stuck))) }()

	for len(in.stuck) > 0 {
		n, err := in.putIntoSpool(in.stuck[:min(len(in.stuck), MaxMove)])
		if n > 0 {
			in.queue.release(in.stuck[:n])
			in.stuck = append(in.stuck[:0], in.stuck[n:]...)
			in.spoolWorker.tryNow.Ring()
		}
		if err != nil {
			in.noteSpool(fmt.Errorf("spool %s: %w", in.spool.Name(), err))
			return
		}
	}
	in.noteSpool(nil)
}

// noteSpool remembers what the spool said last: nil if it took everything.
func (in *intake) noteSpool(err error) {
	was := in.whyStuck
	in.whyStuck = err
	if err == nil {
		in.spoolErr.Store(nil)
		return
	}

	if was == nil {
		in.logger.Error("attestlog: recorded events could be stored neither in the log nor in the spool, and wait in the queue", "err", err, "events", len(in.stuck))
	}
	in.counters.spoolFull.Add(1)
	in.refused = time.Now()
	in.spoolErr.Store(&err)
}

// spoolTimer returns a channel that tells when to try a spool again that had no
// room, or nil.
func (in *intake) spoolTimer() <-chan time.Time {
	if len(in.stuck) == 0 {
		return nil
	}
	return time.After(spoolRetry - min(spoolRetry, time.Since(in.refused)))
}

// putIntoSpool writes recorded events as Prepare would have, and returns how many
// of them, from the first on, are done with. One that cannot be written so is
// given up, like any other that cannot be stored.
func (in *intake) putIntoSpool(jobs []job) (int, error) {
	events := make([]Prepared, 0, len(jobs))
	for i := range jobs {
		p, err := jobs[i].draft.prepared()
		if err != nil && len(events) == 0 {
			in.failures.fail(&jobs[i], err)
			return 1, nil
		}
		if err != nil {
			break
		}
		events = append(events, p)
	}

	n, err := in.spool.Put(context.Background(), events)
	in.counters.spooled.Add(uint64(n))
	return n, err
}

// prepared returns the draft's event as Prepare does.
func (d *draft) prepared() (Prepared, error) {
	e, err := d.event()
	if err != nil {
		return Prepared{}, err
	}

	p := Prepared{At: e.Time}
	if d.implicitTime {
		e.Time = time.Time{}
	}
	p.Event, err = e.MarshalJSON()
	return p, err
}
