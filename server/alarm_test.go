package server

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestlog/attestlog"
)

// An eventList is a Recorder that keeps its events.
type eventList struct {
	mu     sync.Mutex
	events []attestlog.Event
}

func (l *eventList) Record(_ context.Context, e attestlog.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	return nil
}

// An alarmList is a poster that keeps its alarms.
type alarmList struct{ alarms []Alarm }

func (l *alarmList) post(a Alarm) { l.alarms = append(l.alarms, a) }

func TestAnAlarmIsToldOnceAnHourAndWhenItEnds(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	began := now
	log, hook := &eventList{}, &alarmList{}
	a := &alarms{
		log:      "default",
		recorder: log,
		webhook:  hook,
		total:    newMetrics(prometheus.NewRegistry()).alarms,
		life:     newLifecycle(),
		clock:    func() time.Time { return now },
		logger:   slog.New(slog.DiscardHandler),
	}

	full := errors.New("the disk is full")
	a.set(AlarmDisk, nil) // it was not raised, so it does not end
	a.set(AlarmDisk, full)
	a.set(AlarmDisk, full)
	now = began.Add(time.Hour - 1)
	a.set(AlarmDisk, full)
	now = began.Add(time.Hour)
	a.set(AlarmDisk, full)
	a.set(AlarmDisk, nil)
	a.set(AlarmDisk, nil)
	a.set(AlarmDisk, full) // it ended, so this is another one

	want := []Alarm{
		{Time: began, Log: "default", Alarm: AlarmDisk, Text: "the disk is full"},
		{Time: now, Log: "default", Alarm: AlarmDisk, Text: "the disk is full"},
		{Time: now, Log: "default", Alarm: AlarmDisk, Over: true},
		{Time: now, Log: "default", Alarm: AlarmDisk, Text: "the disk is full"},
	}
	if diff := cmp.Diff(want, hook.alarms); diff != "" {
		t.Errorf("the webhook gets (-want +got):\n%s", diff)
	}

	a.life.goroutines.Wait()
	if got := len(log.events); got != len(want) {
		t.Errorf("%d alarms are recorded, want %d", got, len(want))
	}
}
