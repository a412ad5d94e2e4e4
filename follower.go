package attestlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A Follower reads the log from a position of its own on, behind the commit,
// and never holds up an append. A Log calls one method at a time.
type Follower interface {
	// Name tells followers apart in statistics and messages.
	Name() string
	// Position returns how many entries the follower durably has. While
	// another process holds the follower, it returns ErrFollowerHeld.
	Position(ctx context.Context) (uint64, error)
	// Take is given the entries from Position on, in order. After an error
	// the log waits, asks for the Position and tries again from there. The
	// records are valid only during the call.
	Take(ctx context.Context, records []RawEntry) error
	// Checkpoint is given a signed note once the follower has all the entries
	// that the note covers.
	Checkpoint(ctx context.Context, c Checkpoint) error
	// Close makes everything taken durable and releases the follower.
	Close() error
}

// ErrFollowerHeld is returned by a Follower whose position another process
// holds.
var ErrFollowerHeld = errors.New("follower is held by another process")

// A runner drives one follower.
type runner struct {
	log      *Log
	follower Follower
	position atomic.Uint64
	failures atomic.Uint64
	held     atomic.Bool
	noted    uint64 // size of the last checkpoint given; owned by run
	ended    chan struct{}
	endOnce  sync.Once
}

func newRunner(l *Log, f Follower) *runner {
	return &runner{log: l, follower: f, ended: make(chan struct{})}
}

// finish tells run to end once it has caught up.
func (r *runner) finish() { r.endOnce.Do(func() { close(r.ended) }) }

func (r *runner) ending() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

func (r *runner) run() {
	ctx := r.log.stop
	wait := retryFirst
	for {
		changed := r.log.committed.wait()
		last := r.ending()
		moved, err := r.step(ctx)
		pause := followerPoll
		switch {
		case errors.Is(err, ErrFollowerHeld):
			r.held.Store(true)
			if last {
				return
			}
			changed = nil
		case err != nil:
			r.failures.Add(1)
			r.log.cfg.Logger.Warn("attestlog: a follower is behind and tries again", "follower", r.follower.Name(), "err", err)
			if last {
				return
			}
			changed, pause = nil, wait
			wait = min(2*wait, retryLongest)
		case moved:
			r.held.Store(false)
			wait = retryFirst
			continue
		default:
			r.held.Store(false)
			wait = retryFirst
			if last {
				return
			}
		}
		select {
		case <-changed:
		case <-time.After(pause):
		case <-r.ended:
		case <-ctx.Done():
			return
		}
	}
}

// step gives the follower a chunk of entries, or the newest checkpoint, and
// reports whether there was one to give.
func (r *runner) step(ctx context.Context) (bool, error) {
	newest, _ := r.log.pub.current()
	position, err := r.follower.Position(ctx)
	if err != nil {
		return false, err
	}
	r.position.Store(position)
	tree, err := r.log.store.Tree(ctx)
	if err != nil {
		return false, err
	}
	if position > tree.Size {
		return false, fmt.Errorf("it has %d entries, the log %d: it belongs to another log, or to a history that this log no longer has", position, tree.Size)
	}
	if position == tree.Size {
		if newest.Note == nil || newest.Size > position || newest.Size <= r.noted {
			return false, nil
		}
		if err := r.follower.Checkpoint(ctx, newest); err != nil {
			return false, err
		}
		r.noted = newest.Size
		return true, nil
	}
	end := min(tree.Size, position+scanChunk)
	records := make([]RawEntry, 0, end-position)
	err = r.log.store.Scan(ctx, position, end, func(rec *RawEntry) error {
		records = append(records, rec.Clone())
		return nil
	})
	if err != nil {
		return false, err
	}
	if err := r.follower.Take(ctx, records); err != nil {
		return false, err
	}
	r.position.Store(end)
	return true, nil
}
