package postgres_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/postgres"
)

// Processes on one log whose clocks are an hour apart, go back, or jump: the
// indexes are contiguous and the logged time never goes back, whoever writes.
func TestProcessesWithDifferentClocks(t *testing.T) {
	t.Parallel()
	dsn, home := database(t), newHome(t)
	var calls atomic.Int64
	clocks := []func() time.Time{
		time.Now,
		func() time.Time { return time.Now().Add(-time.Hour) },
		func() time.Time { return time.Now().Add(-time.Duration(calls.Add(1)) * 7 * time.Second) }, // goes back
		func() time.Time { return time.Now().Add(time.Duration(calls.Add(1)%3-1) * time.Minute) },  // to and fro
	}
	var logs []*attestlog.Log
	for _, clock := range clocks {
		logs = append(logs, openWith(t, dsn, postgres.Config{Home: home}, attestlog.Config{Clock: clock}))
	}

	var g ledger
	var last time.Time
	turn := func(l *attestlog.Log, n int) time.Time {
		first := int(g.next.Add(int64(n))) - n
		got, err := l.Append(t.Context(), testlog.Events(first, first+n)...)
		if err != nil {
			t.Errorf("Append = %v", err)
			return time.Time{}
		}
		g.note(got)
		return got[0].LoggedTime
	}

	for i := range 40 { // in turn, so that each follows each
		at := turn(logs[(i*7+i/4)%len(logs)], 1+i%3)
		if at.Before(last) {
			t.Fatalf("an event was logged at %v after one of %v", at, last)
		}
		last = at
	}

	var wg sync.WaitGroup
	for _, l := range logs {
		wg.Go(func() {
			for i := range 50 {
				turn(l, 1+i%5)
			}
		})
	}
	wg.Wait()

	// The clock an hour ahead decides from here on, also after reopening.
	ahead := openWith(t, dsn, postgres.Config{Home: home}, attestlog.Config{Clock: func() time.Time { return time.Now().Add(time.Hour) }})
	last = turn(ahead, 1)
	for _, l := range append(logs, ahead) {
		if at := turn(l, 2); at.Before(last) {
			t.Errorf("an event was logged at %v after one of %v", at, last)
		}
	}
	for _, l := range append(logs, ahead) {
		testlog.Close(t, l)
	}

	behind := openAt(t, dsn, home)
	if at := turn(behind, 1); at.Before(last) {
		t.Errorf("a process that was opened later logged at %v, before %v", at, last)
	}
	if st, err := behind.Stats(t.Context()); err != nil || st.ClockJumps != 1 {
		t.Errorf("Stats = %+v, %v; want one alarm for a clock that is before the last entry", st, err)
	}
	testlog.Close(t, behind)
	g.checkVerified(t, dsn, home)
}
