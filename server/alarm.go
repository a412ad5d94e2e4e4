package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestlog/attestlog"
)

// Alarms tell an operator something that cannot wait.
const (
	AlarmTampered   = "tampered"    // a verification or a read found that the log was changed
	AlarmDisk       = "disk"        // the disk is nearly full
	AlarmFollower   = "follower"    // a follower makes no progress
	AlarmCheckpoint = "checkpoint"  // no checkpoint covers entries that are a minute old
	AlarmWitness    = "witness"     // too few witnesses cosign
	AlarmFork       = "fork"        // a witness says that the log was forked or rolled back
	AlarmClock      = "clock"       // the clock jumped
	AlarmStore      = "unavailable" // the log takes no events
)

// An Alarm is raised when something goes wrong, once, and again every hour as
// long as it lasts.
type Alarm struct {
	Time  time.Time `json:"time"`
	Log   string    `json:"log"`
	Alarm string    `json:"alarm"` // one of the constants
	Text  string    `json:"text"`
	Over  bool      `json:"over"` // the alarm has ended, and Text is empty
}

const (
	alarmAgain = time.Hour // raised again after this
	recordWait = time.Minute
)

// An alarmSetter raises and ends the alarms of a log: *alarms.
type alarmSetter interface {
	// set raises an alarm with err's text, unless it was raised within the hour.
	// If err is nil, it ends the alarm.
	set(alarm string, err error)
}

// A poster takes alarms on their way to somewhere else: *webhook. post does not
// wait.
type poster interface{ post(Alarm) }

// alarms are those of one log. They are logged, counted, recorded in the log and
// posted to the webhook. They are safe for concurrent use.
type alarms struct {
	log      string             // the log's name
	recorder attestlog.Recorder // the log
	webhook  poster
	total    *prometheus.CounterVec // by log and alarm
	life     *lifecycle
	clock    func() time.Time
	logger   *slog.Logger

	mu     sync.Mutex
	raised map[string]time.Time // when each alarm that has not ended was last raised
}

// set implements alarmSetter.
func (a *alarms) set(alarm string, err error) {
	if err == nil {
		a.end(alarm)
	} else {
		a.raise(alarm, err.Error())
	}
}

func (a *alarms) raise(alarm, text string) {
	now := a.clock()
	if !a.isDue(alarm, now) {
		return
	}

	a.total.WithLabelValues(a.log, alarm).Inc()
	a.logger.Error("server: alarm", "log", a.log, "alarm", alarm, "text", text)
	a.tell(Alarm{Time: now.UTC(), Log: a.log, Alarm: alarm, Text: text})
}

// isDue reports whether an alarm is to be raised now, and remembers that it is.
func (a *alarms) isDue(alarm string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()

	last, raised := a.raised[alarm]
	if raised && now.Sub(last) < alarmAgain {
		return false
	}

	if a.raised == nil {
		a.raised = map[string]time.Time{}
	}
	a.raised[alarm] = now
	return true
}

func (a *alarms) end(alarm string) {
	a.mu.Lock()
	_, raised := a.raised[alarm]
	delete(a.raised, alarm)
	a.mu.Unlock()
	if !raised {
		return
	}

	a.logger.Info("server: an alarm is over", "log", a.log, "alarm", alarm)
	a.tell(Alarm{Time: a.clock().UTC(), Log: a.log, Alarm: alarm, Over: true})
}

// tell posts an alarm to the webhook and has it recorded in the log, without
// waiting for either. The webhook gets alarms in their order. In the log they
// can change places: a goroutine records each, so that one which has to wait for
// the log does not keep the next from the webhook.
func (a *alarms) tell(alarm Alarm) {
	a.life.start(func(ctx context.Context) { a.record(ctx, alarm) })
	a.webhook.post(alarm)
}

// record records an alarm in the log. If the alarm is about this very log, that
// may fail; the server's log and the webhook have it all the same.
func (a *alarms) record(ctx context.Context, alarm Alarm) {
	ctx, cancel := context.WithTimeout(ctx, recordWait)
	defer cancel()

	outcome := attestlog.Failure
	if alarm.Over {
		outcome = attestlog.Success
	}
	err := a.recorder.Record(ctx, attestlog.Event{
		Time:    alarm.Time,
		Service: "attestlog",
		Module:  "server",
		Action:  "server.alarm",
		Outcome: outcome,
		Reason:  alarm.Text,
		Actor:   attestlog.Actor{ID: "attestlog", Type: "system"},
		Targets: []attestlog.Target{{Type: "alarm", ID: alarm.Alarm}},
	})
	if err != nil {
		a.logger.Warn("server: an alarm is not recorded in the log", "log", a.log, "alarm", alarm.Alarm, "err", err)
	}
}
