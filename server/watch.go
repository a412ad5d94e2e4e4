package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/attestlog/attestlog"
)

const (
	watchEvery = 5 * time.Second
	// alarmAfter is how long something has to go on before it is an alarm, if it is
	// normal for a moment.
	alarmAfter = time.Minute

	// This much of a disk has to be free: so many bytes, and this share of it.
	minFree      = 1 << 30
	minFreeShare = 0.02
)

// A watchedLog is a log, as a watcher needs it: *attestlog.Log.
type watchedLog interface {
	Stats(ctx context.Context) (attestlog.Stats, error)
	Ready(ctx context.Context) error
	ReadOnly() error
}

// A watcher looks at one log now and then, and raises alarms.
type watcher struct {
	log    watchedLog
	alarms alarmSetter
	disk   func() (free, total uint64, err error) // may be nil
	clock  func() time.Time

	// These are owned by the goroutine that runs, and remember its earlier looks.
	jumps     uint64
	followers map[string]progress  // by name
	since     map[string]time.Time // by alarm, since when something has not been as it should be
}

// progress is the position of a follower, and the time when it was first seen
// there.
type progress struct {
	position uint64
	since    time.Time
}

func newWatcher(
	log watchedLog, alarms alarmSetter, disk func() (free, total uint64, err error), clock func() time.Time,
) *watcher {
	return &watcher{
		log: log, alarms: alarms, disk: disk, clock: clock,
		followers: map[string]progress{},
		since:     map[string]time.Time{},
	}
}

// run looks at the log until ctx ends.
func (w *watcher) run(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()

	for {
		w.look(ctx)

		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// look compares the log with the looks before, and sets its alarms.
func (w *watcher) look(ctx context.Context) {
	now := w.clock()
	timed, cancel := context.WithTimeout(ctx, watchEvery)
	defer cancel()

	stats, err := w.log.Stats(timed)
	if ctx.Err() != nil {
		return // the server closes; that is no alarm
	}

	// A log that has figures may still take no events: one that is read-only.
	unavailable := err
	if unavailable == nil {
		unavailable = w.log.Ready(timed)
	}
	w.setLasting(AlarmStore, unavailable, now)
	if err != nil {
		return
	}

	w.alarms.set(AlarmClock, w.clockJump(&stats))
	w.alarms.set(AlarmFollower, w.stuckFollower(&stats, now))
	w.setLasting(AlarmCheckpoint, w.uncovered(&stats), now)
	w.alarms.set(AlarmDisk, diskFull(w.disk))
}

// setLasting sets an alarm, but raises it only if err has been there for a while.
func (w *watcher) setLasting(alarm string, err error, now time.Time) {
	if err == nil {
		delete(w.since, alarm)
		w.alarms.set(alarm, nil)
		return
	}

	since, lasts := w.since[alarm]
	if !lasts {
		w.since[alarm] = now
		return
	}
	if now.Sub(since) >= alarmAfter {
		w.alarms.set(alarm, err)
	}
}

func (w *watcher) clockJump(stats *attestlog.Stats) error {
	jumped := stats.ClockJumps > w.jumps
	w.jumps = stats.ClockJumps
	if jumped {
		return errors.New("the clock of this machine jumped by more than five seconds")
	}
	return nil
}

// stuckFollower returns an error about a follower that has entries to take, and
// has not moved for a while.
func (w *watcher) stuckFollower(stats *attestlog.Stats, now time.Time) error {
	var stuck error
	for _, f := range stats.Followers {
		last, seen := w.followers[f.Name]
		moves := f.Position != last.position || f.Lag == 0 || f.Held
		if !seen || moves {
			w.followers[f.Name] = progress{f.Position, now}
			continue
		}
		if now.Sub(last.since) > alarmAfter {
			stuck = fmt.Errorf("follower %s has been at entry %d since %s",
				f.Name, last.position, last.since.UTC().Format(time.RFC3339))
		}
	}
	return stuck
}

// uncovered returns an error if there are entries that no checkpoint covers,
// although one could be signed.
func (w *watcher) uncovered(stats *attestlog.Stats) error {
	if stats.CheckpointSize >= stats.Size || w.log.ReadOnly() != nil {
		return nil
	}
	return fmt.Errorf("the newest checkpoint covers %d of %d entries", stats.CheckpointSize, stats.Size)
}

func diskFull(disk func() (free, total uint64, err error)) error {
	if disk == nil {
		return nil
	}

	free, total, err := disk()
	if err != nil {
		return fmt.Errorf("the disk cannot be looked at: %w", err)
	}
	if free < minFree || float64(free) < minFreeShare*float64(total) {
		return fmt.Errorf("%d of %d MiB are free on the log's disk", free>>20, total>>20)
	}
	return nil
}
