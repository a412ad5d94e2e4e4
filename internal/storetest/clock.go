package storetest

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
)

var clockTests = []namedTest{
	{"LoggedTimeNeverGoesBack", loggedTimeNeverGoesBack},
	{"JumpsAreCounted", jumpsAreCounted},
	{"AReopenedLogWaitsForTheClock", aReopenedLogWaitsForTheClock},
}

// A clock stands still unless it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(by)
}

func loggedTimeNeverGoesBack(t *testing.T, o Opener) {
	c := &clock{at: testlog.Began}
	l := openLog(t, o, attestlog.Config{Clock: c.now})
	n, last := 0, time.Time{}
	rapid.Check(t, func(rt *rapid.T) {
		by := rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(rt, "by")
		c.move(time.Duration(by))
		call := testlog.Events(n, n+rapid.IntRange(1, 3).Draw(rt, "events"))
		n += len(call)
		receipts, err := l.Append(t.Context(), call...)
		if err != nil {
			rt.Fatal(err)
		}

		for _, r := range receipts {
			if r.LoggedTime.Before(last) {
				rt.Errorf("logged time %v after %v", r.LoggedTime, last)
			}
			if now := c.now().Truncate(time.Microsecond); !r.LoggedTime.Equal(now) && !r.LoggedTime.Equal(last) {
				rt.Errorf("logged time %v is neither the clock's %v nor the last %v", r.LoggedTime, now, last)
			}
			last = r.LoggedTime
		}
	})
	testlog.Verify(t, l)
}

func jumpsAreCounted(t *testing.T, o Opener) {
	c := &clock{at: testlog.Began}
	l := openLog(t, o, attestlog.Config{Clock: c.now})
	var want uint64
	for n, step := range []struct {
		by   time.Duration
		jump bool
	}{
		{0, false}, {time.Second, false}, {time.Hour, true}, {0, false},
		{-2 * time.Hour, true}, {time.Second, false}, {-4 * time.Second, false}, {3 * time.Hour, true},
	} {
		c.move(step.by)
		testlog.Append(t, l, testlog.Event(n))
		if step.jump {
			want++
		}
		if st, err := l.Stats(t.Context()); err != nil || st.ClockJumps != want {
			t.Errorf("after moving the clock by %v: ClockJumps = %d, %v; want %d", step.by, st.ClockJumps, err, want)
		}
	}
}

func aReopenedLogWaitsForTheClock(t *testing.T, o Opener) {
	c := &clock{at: testlog.Began}
	l := openLog(t, o, attestlog.Config{Clock: c.now})
	first := testlog.Append(t, l, testlog.Event(0))[0]
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	c.move(-time.Hour)
	l = openLog(t, o, attestlog.Config{Clock: c.now})
	if r := testlog.Append(t, l, testlog.Event(1)); !r[0].LoggedTime.Equal(first.LoggedTime) {
		t.Errorf("logged time %v with a clock that went back, want the last entry's %v", r[0].LoggedTime, first.LoggedTime)
	}
	if st, err := l.Stats(t.Context()); err != nil || st.ClockJumps != 1 {
		t.Errorf("ClockJumps = %d, %v; want 1", st.ClockJumps, err)
	}
}
