package attestlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Close stops accepting events, stores what is queued, signs a last
// checkpoint, lets the followers catch up, and closes them, the outboxes and the
// store. With a spool, recorded events that the store does not take are left
// there, and so is what waited in it, as in any outbox. When ctx ends first, Close
// gives up the rest and returns the ids of the records that are nowhere. Later
// calls wait for the first and return its error.
func (l *Log) Close(ctx context.Context) error {
	l.closing.Do(func() { l.endErr = l.end(ctx) })
	<-l.closed
	return l.endErr
}

func (l *Log) end(ctx context.Context) error {
	defer close(l.closed)
	close(l.ending)
	l.stopMoving()
	l.queue.close()
	done := context.AfterFunc(ctx, l.giveUp)
	defer done()
	<-l.drained
	l.stopSpooling()
	var errs []error
	if l.readOnly == nil {
		errs = append(errs, l.takeFailed(), l.publishLast(ctx))
		for _, r := range l.tails {
			r.finish()
		}
		l.committed.fire()
	}
	l.pub.finish()
	l.wg.Wait()
	l.giveUp()
	for _, f := range l.cfg.Followers {
		if err := f.Close(); err != nil {
			errs = append(errs, fmt.Errorf("follower %s: %w", f.Name(), err))
		}
	}
	errs = append(errs, l.closeOutboxes(), l.store.Close())
	return errors.Join(errs...)
}

// A broadcast wakes everybody who waits.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns a channel that the next fire closes.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) fire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
