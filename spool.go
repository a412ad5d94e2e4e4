package attestlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrSpoolFull is returned by a Spool without room, and by Record, beside
// ErrQueueFull, when the queue is full because of that.
var ErrSpoolFull = errors.New("spool is full")

// A Spool is an Outbox on this machine, where recorded events are kept while
// the store cannot take them. Package spool has one.
type Spool interface {
	Outbox
	// Put durably adds events behind those that wait, and returns how many it
	// took, from the first on. If those are not all, the error is not nil; it
	// matches ErrSpoolFull for want of room.
	Put(ctx context.Context, events []Prepared) (int, error)
}

// A Policy says what becomes of a recorded event that the store cannot take.
type Policy uint8

const (
	// Block keeps the event in the queue until the store takes it. Record
	// waits while the queue is full.
	Block Policy = iota + 1
	// ToSpool keeps the event in Config.Spool, and those that follow behind
	// it, until the store takes them. While the spool is full, it is Block.
	ToSpool
	// Fail has Record return ErrUnavailable while other events are known to
	// wait for the store, and ErrQueueFull while the queue is full, at once.
	// An event that was accepted stays in the queue as with Block.
	Fail
)

// An ActionPolicy gives the actions that a pattern names a policy.
type ActionPolicy struct {
	Action string // a name, or a prefix that ends in ".*"; "*" is every action
	Policy Policy
}

func (p *ActionPolicy) covers(action string) bool {
	prefix, wild := strings.CutSuffix(p.Action, "*")
	return wild && strings.HasPrefix(action, prefix) || p.Action == action
}

func checkPolicies(c *Config) error {
	for _, p := range c.Policies {
		switch {
		case p.Action == "" || strings.Contains(strings.TrimSuffix(p.Action, "*"), "*") ||
			strings.HasSuffix(p.Action, "*") && p.Action != "*" && !strings.HasSuffix(p.Action, ".*"):
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
func (l *Log) policyOf(action string) Policy {
	for i := range l.cfg.Policies {
		if l.cfg.Policies[i].covers(action) {
			return l.cfg.Policies[i].Policy
		}
	}
	if l.cfg.Spool != nil {
		return ToSpool
	}
	return Block
}

// A spooler moves recorded events to the spool. It is owned by the sequencer.
type spooler struct {
	log   *Log
	stuck []job     // accepted, and without room in the spool
	tried time.Time // when the spool refused last
	err   error     // why
}

const (
	// spoolRetry is how often a spool without room is tried again.
	spoolRetry = 100 * time.Millisecond
	// spoolAfter is how long recorded events wait in memory for a store that
	// does not answer before they go to the spool.
	spoolAfter = 5 * time.Second
)

// spooled reports whether events wait in the spool. One that cannot be read
// holds nothing up.
func (l *Log) spooled() bool {
	if l.cfg.Spool == nil {
		return false
	}
	waiting, err := l.cfg.Spool.Backlog(context.Background())
	return err == nil && waiting.Events > 0
}

func (l *Log) spoolable(batch []job) bool {
	return l.cfg.Spool != nil && slices.ContainsFunc(batch, func(j job) bool { return j.call == nil && j.draft.policy == ToSpool })
}

// waits reports whether recorded events are known to wait for the store.
func (l *Log) waits() bool { return l.held.Load() > 0 || l.stuck.Load() > 0 || l.spooled() }

// divert returns what of a batch is to be committed. Recorded events follow
// others into the spool while any wait there, and go there when the store
// failed. Those that found no room there are committed once it is empty.
func (s *spooler) divert(batch []job, failed bool) []job {
	l := s.log
	defer func() { l.stuck.Store(int64(len(s.stuck))) }()
	switch {
	case l.cfg.Spool == nil:
		return batch
	case !failed && !l.spooled():
		if len(s.stuck) > 0 {
			batch = append(s.stuck, batch...)
			s.stuck, s.err = nil, nil
			l.spoolErr.Store(nil)
		}
		return batch
	}
	kept := batch[:0]
	for i := range batch {
		if batch[i].call == nil && batch[i].draft.policy == ToSpool {
			s.stuck = append(s.stuck, batch[i])
		} else {
			kept = append(kept, batch[i])
		}
	}
	clear(batch[len(kept):])
	s.empty()
	if len(s.stuck) == 0 {
		return kept
	}
	return slices.DeleteFunc(kept, func(j job) bool {
		if j.call == nil || len(j.call.drafts) > 0 {
			return false
		}
		j.call.err = s.err // a Flush, which would promise too much
		close(j.call.done)
		return true
	})
}

// beside runs a commit. While events wait in the spool, the batch has none that
// go there, and those that are queued meanwhile go there at once: the commit may
// take as long as the store is waited for.
func (s *spooler) beside(batch []job, commit func() ([]job, error)) ([]job, error) {
	if s.log.spoolable(batch) || !s.log.spooled() {
		return commit()
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for poll := time.NewTicker(spoolRetry); ; {
			if len(s.stuck) < batchEvents {
				s.stuck = append(s.stuck, s.log.queue.takeRecords(ToSpool, batchEvents)...)
				s.empty()
				s.log.stuck.Store(int64(len(s.stuck)))
			}
			select {
			case <-poll.C:
			case <-done:
				poll.Stop()
				return
			}
		}
	}()
	left, err := commit()
	close(done)
	<-ended
	return left, err
}

// empty puts as many events into the spool as it takes.
func (s *spooler) empty() {
	l := s.log
	for len(s.stuck) > 0 {
		n, err := s.put(s.stuck[:min(len(s.stuck), MaxMove)])
		if n > 0 {
			l.releaseJobs(s.stuck[:n])
			s.stuck = append(s.stuck[:0], s.stuck[n:]...)
			l.spoolMover.wake()
		}
		if err != nil {
			s.fail(err)
			return
		}
	}
	s.err = nil
	l.spoolErr.Store(nil)
}

func (s *spooler) fail(err error) {
	l := s.log
	err = fmt.Errorf("spool %s: %w", l.cfg.Spool.Name(), err)
	if s.err == nil {
		l.cfg.Logger.Error("attestlog: recorded events could be stored neither in the log nor in the spool, and wait in the queue", "err", err, "events", len(s.stuck))
	}
	l.counters.spoolFull.Add(1)
	s.err, s.tried = err, time.Now()
	l.spoolErr.Store(&err)
}

// retry returns a channel that tells when to try the spool again, or nil.
func (s *spooler) retry() <-chan time.Time {
	if len(s.stuck) == 0 {
		return nil
	}
	return time.After(spoolRetry - min(spoolRetry, time.Since(s.tried)))
}

// put writes recorded events as Prepare would have, and returns how many of them
// are done with. One that cannot be written so is given up, like any other that
// cannot be stored.
func (s *spooler) put(jobs []job) (int, error) {
	events := make([]Prepared, 0, len(jobs))
	for i := range jobs {
		p, err := jobs[i].draft.prepared()
		if err != nil && len(events) == 0 {
			s.log.fail(&jobs[i], err)
			return 1, nil
		}
		if err != nil {
			break
		}
		events = append(events, p)
	}
	n, err := s.log.cfg.Spool.Put(context.Background(), events)
	s.log.counters.spooled.Add(uint64(n))
	return n, err
}

// prepared returns the draft's event as Prepare does.
func (d *draft) prepared() (Prepared, error) {
	own := *d
	own.node = bytes.Clone(d.node) // whose own bytes a store may have kept
	own.finish(appendTime(nil, time.Unix(0, 0), 6))
	leaf, err := decodeLeaf(own.leaf())
	if err != nil {
		return Prepared{}, err
	}
	e, _, err := leaf.sealedEvent(d.disclosures(nil))
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
