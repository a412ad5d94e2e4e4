package server

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
)

// A figuredLog is a watchedLog with the figures of a test.
type figuredLog struct {
	stats    attestlog.Stats
	ready    error
	readOnly error
}

func (l *figuredLog) Stats(context.Context) (attestlog.Stats, error) {
	stats := l.stats
	stats.Followers = slices.Clone(stats.Followers)
	return stats, nil
}

func (l *figuredLog) Ready(context.Context) error { return l.ready }

func (l *figuredLog) ReadOnly() error { return l.readOnly }

// raisedAlarms is an alarmSetter that keeps the texts of the alarms that are
// raised.
type raisedAlarms map[string]string

func (r raisedAlarms) set(alarm string, err error) {
	if err == nil {
		delete(r, alarm)
	} else {
		r[alarm] = err.Error()
	}
}

func TestAWatcherRaisesAlarmsAndEndsThem(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	log, raised := &figuredLog{}, raisedAlarms{}
	w := newWatcher(log, raised, nil, func() time.Time { return now })

	look := func(step string, after time.Duration, want raisedAlarms) {
		t.Helper()
		now = now.Add(after)
		w.look(t.Context())
		if diff := cmp.Diff(want, raised); diff != "" {
			t.Errorf("%s: alarms (-want +got):\n%s", step, diff)
		}
	}

	log.stats = attestlog.Stats{
		Size: 10, CheckpointSize: 10,
		Followers: []attestlog.FollowerStats{{Name: "jsonl", Position: 6, Lag: 4}},
	}
	look("a log that is well", 0, raisedAlarms{})

	log.ready = errors.New("the store is away")
	log.stats.CheckpointSize = 9
	log.stats.ClockJumps = 1
	log.stats.Followers[0].Position = 7
	look("for a moment", time.Second, raisedAlarms{
		AlarmClock: "the clock of this machine jumped by more than five seconds",
	})
	look("for less than a minute", time.Minute-1, raisedAlarms{})
	look("for more than a minute", 2, raisedAlarms{
		AlarmStore:      "the store is away",
		AlarmCheckpoint: "the newest checkpoint covers 9 of 10 entries",
		AlarmFollower:   "follower jsonl has been at entry 7 since 2026-01-01T00:00:01Z",
	})

	log.ready = nil
	log.readOnly = errors.New("it has no key") // so nobody can sign a checkpoint
	log.stats.Followers[0].Held = true
	look("a log without a writer", time.Second, raisedAlarms{})
}
