package attestlog

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Stats are a log's figures, all that a metrics exporter needs. Counters start at
// 0 with the Log.
type Stats struct {
	Size       uint64 // entries in the log
	Queued     uint64 // events accepted since New
	Appended   uint64 // entries stored since New
	Duplicates uint64 // events that were in the log already
	Failed     uint64 // events whose caller got an error, or that Flush reported
	Retries    uint64 // transactions that failed and were tried again
	ClockJumps uint64 // clock steps of more than 5 s, either way

	Spooled   uint64 // recorded events that went to the spool since New
	SpoolFull uint64 // times that the spool could not take events since New

	QueueEvents int // accepted and not durable yet
	QueueBytes  int

	CheckpointSize uint64        // entries that the newest checkpoint covers
	CheckpointAge  time.Duration // since it was published by this Log; 0 without one

	Followers []FollowerStats
	Outboxes  []OutboxStats // the spool among them
	Store     StoreStats
}

// OutboxStats are one outbox's figures.
type OutboxStats struct {
	Name string
	Backlog
	Moved    uint64 // events that left it through this Log since New
	Failures uint64 // attempts that failed since New
	Held     bool   // another process moves it
}

// FollowerStats are one follower's figures.
type FollowerStats struct {
	Name     string
	Position uint64 // entries that it has
	Lag      uint64 // entries that it has yet to take
	Failures uint64 // attempts that failed since New
	Held     bool   // by another process
}

// counters are those of Stats.
type counters struct {
	queued     atomic.Uint64
	appended   atomic.Uint64
	duplicates atomic.Uint64
	failed     atomic.Uint64
	retries    atomic.Uint64
	clockJumps atomic.Uint64
	spooled    atomic.Uint64
	spoolFull  atomic.Uint64
}

// Stats returns the log's figures now. While the store is away, those that are
// not the store's come with the error.
func (l *Log) Stats(ctx context.Context) (Stats, error) {
	c := l.counters
	s := Stats{
		Queued:     c.queued.Load(),
		Appended:   c.appended.Load(),
		Duplicates: c.duplicates.Load(),
		Failed:     c.failed.Load(),
		Retries:    c.retries.Load(),
		ClockJumps: c.clockJumps.Load(),
		Spooled:    c.spooled.Load(),
		SpoolFull:  c.spoolFull.Load(),
	}
	s.QueueEvents, s.QueueBytes = l.queue.depth()

	newest, published := l.publisher.newest()
	s.CheckpointSize = newest.Size
	if !published.IsZero() {
		s.CheckpointAge = l.cfg.Clock().Sub(published)
	}

	// From here on the store, the followers and the outboxes are asked, each of
	// which may be away.
	tree, err := l.reader.Tree(ctx)
	errs := []error{err}
	s.Size = tree.Size
	for _, w := range l.followers {
		s.Followers = append(s.Followers, w.stats(tree.Size))
	}
	for _, w := range l.outboxes {
		outbox, err := w.stats(ctx)
		s.Outboxes = append(s.Outboxes, outbox)
		errs = append(errs, err)
	}

	s.Store, err = l.store.Stats(ctx)
	errs = append(errs, err)
	return s, errors.Join(errs...)
}

func (w *followerWorker) stats(size uint64) FollowerStats {
	position := w.position.Load()
	return FollowerStats{
		Name:     w.follower.Name(),
		Position: position,
		Lag:      size - min(size, position),
		Failures: w.failures.Load(),
		Held:     w.held.Load(),
	}
}

func (w *outboxWorker) stats(ctx context.Context) (OutboxStats, error) {
	s := OutboxStats{
		Name:     w.box.Name(),
		Moved:    w.moved.Load(),
		Failures: w.failures.Load(),
		Held:     w.held.Load(),
	}

	var err error
	s.Backlog, err = w.box.Backlog(ctx)
	if err != nil {
		return s, fmt.Errorf("outbox %s: %w", s.Name, err)
	}
	return s, nil
}
