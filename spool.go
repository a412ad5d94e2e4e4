package attestlog

import (
	"context"
	"errors"
	"fmt"
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

// spoolRetry is how often a spool without room is tried again.
const spoolRetry = 100 * time.Millisecond

// divert returns what of a batch is to be committed. Recorded events follow
// others into the spool while any wait there, and go there when the store
// failed.
func (s *spooler) divert(batch []job, failed bool) []job {
	l := s.log
	if l.cfg.Spool == nil || !failed && len(s.stuck) == 0 && l.spooled.Load() == 0 {
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
	for i := 0; i < len(kept); i++ {
		if c := kept[i].call; c != nil && len(c.drafts) == 0 { // a Flush, which would promise too much
			c.err = s.err
			close(c.done)
			kept = append(kept[:i], kept[i+1:]...)
			i--
		}
	}
	return kept
}

// empty puts as many events into the spool as it takes.
func (s *spooler) empty() {
	l := s.log
	for len(s.stuck) > 0 {
		n, err := l.putSpool(s.stuck[:min(len(s.stuck), MaxMove)])
		if n > 0 {
			l.spooled.Add(int64(n))
			l.counters.spooled.Add(uint64(n))
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

// putSpool writes recorded events as Prepare would have.
func (l *Log) putSpool(jobs []job) (int, error) {
	events := make([]Prepared, len(jobs))
	for i := range jobs {
		var err error
		if events[i], err = jobs[i].draft.prepared(); err != nil {
			return 0, err
		}
	}
	return l.cfg.Spool.Put(context.Background(), events)
}

// prepared returns the draft's event as Prepare does.
func (d *draft) prepared() (Prepared, error) {
	appendTime(d.leaf()[:d.loggedAt], time.Unix(0, 0), 6) // a time, so that it can be read
	leaf, err := decodeLeaf(d.leaf())
	if err != nil {
		return Prepared{}, err
	}
	e, _, err := leaf.sealedEvent(d.disclosures)
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
