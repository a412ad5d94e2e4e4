package attestlog

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A phase is something that happens once in the life of a log. As a context, it
// ends when the phase is reached.
type phase struct {
	context.Context
	reach context.CancelFunc
}

func newPhase() phase {
	ctx, cancel := context.WithCancel(context.Background())
	return phase{ctx, cancel}
}

func (p phase) reached() bool { return p.Err() != nil }

// A lifecycle is how a log ends, phase by phase:
//
//	open ──► closing ──► drained ──► published ──► closed
//	            │           │            │
//	            │           │            └ the publisher ends, and each follower
//	            │           │              once it has caught up
//	            │           └ the queue is empty and the sequencer has ended; the
//	            │             spool's worker ends
//	            └ Close has begun: the queue takes no more, and the outboxes'
//	              workers end
//
// gaveUp is reached at any time after closing, when the context of Close ends:
// everybody ends at once, and what is still queued fails.
type lifecycle struct {
	closing   phase
	drained   phase
	published phase
	closed    phase
	gaveUp    phase
}

func newLifecycle() *lifecycle {
	return &lifecycle{newPhase(), newPhase(), newPhase(), newPhase(), newPhase()}
}

// until returns a context that ends when a phase is reached, or when Close gives
// up.
func (l *lifecycle) until(p phase) context.Context {
	ctx, cancel := context.WithCancel(l.gaveUp)
	context.AfterFunc(p, cancel)
	return ctx
}

// Close stops accepting events, stores what is queued, signs a last checkpoint,
// lets the followers catch up, and closes them, the outboxes and the store. With
// a spool, recorded events that the store does not take are left there, and so
// is what waited in it, as in any outbox. When ctx ends first, Close gives up the
// rest and returns the ids of the recorded events that are nowhere, of the first
// 100 of them; Stats.Failed counts all. Later calls wait for the first and return
// its error.
func (l *Log) Close(ctx context.Context) error {
	l.closing.Do(func() { l.endErr = l.end(ctx) })
	<-l.life.closed.Done()
	return l.endErr
}

func (l *Log) end(ctx context.Context) error {
	defer l.life.closed.reach()
	l.life.closing.reach()
	l.queue.close()
	stop := context.AfterFunc(ctx, l.life.gaveUp.reach)
	defer stop()

	<-l.life.drained.Done()
	var errs []error
	if l.readOnly == nil {
		errs = append(errs, l.failures.take(), l.publishLast(ctx))
	}

	l.life.published.reach()
	l.head.changed.Fire()
	l.workers.Wait()
	l.life.gaveUp.reach() // for tails and waits that nobody counts

	for _, f := range l.cfg.Followers {
		err := f.Close()
		if err != nil {
			errs = append(errs, fmt.Errorf("follower %s: %w", f.Name(), err))
		}
	}
	for _, box := range l.cfg.Outboxes {
		errs = append(errs, box.Close())
	}
	if l.cfg.Spool != nil {
		errs = append(errs, l.cfg.Spool.Close())
	}
	errs = append(errs, l.store.Close())
	return errors.Join(errs...)
}

// lastGrace is how long the last checkpoint may take after Close has given up.
const lastGrace = 2 * time.Second

// publishLast signs what no checkpoint covers yet, and stores the checkpoint.
// After its deadline Close still signs, but waits for nobody.
func (l *Log) publishLast(ctx context.Context) error {
	grace, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(l.life.gaveUp, func() { time.AfterFunc(lastGrace, cancel) })
	defer stop()

	err := l.publisher.sign(grace, signLast)
	if err != nil {
		return fmt.Errorf("last checkpoint: %w", err)
	}
	return nil
}
