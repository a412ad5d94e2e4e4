// Package testwait waits, in tests, for what another goroutine, process or
// machine does.
//
// A test never asserts how long something took, since that depends on what else
// the machine is doing. It waits for an event, or for a state, and fails when
// that has not come within Patience: a bound so generous that it means "never".
package testwait

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// PatienceEnv names the environment variable that sets Patience, as a duration
// such as 10m.
const PatienceEnv = "ATTESTLOG_TEST_PATIENCE"

const defaultPatience = 2 * time.Minute

// Patience is how long a test waits for what must come. It is the value of
// PatienceEnv, and defaults to two minutes.
func Patience() time.Duration { return patience() }

var patience = sync.OnceValue(func() time.Duration {
	text := os.Getenv(PatienceEnv)
	if text == "" {
		return defaultPatience
	}

	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		panic(fmt.Sprintf("%s is %q, want a duration such as 10m", PatienceEnv, text))
	}
	return d
})

// Deadline is when patience that begins now will have ended, for a connection.
func Deadline() time.Time { return time.Now().Add(Patience()) }

// Context returns the test's context, which also ends after Patience.
func Context(t testing.TB) context.Context {
	t.Helper()
	err := fmt.Errorf("not within %v", Patience())
	ctx, cancel := context.WithTimeoutCause(t.Context(), Patience(), err)
	t.Cleanup(cancel)
	return ctx
}

// Until calls holds again and again until it returns true, and ends the test
// when it does not do so. what is the state that is awaited.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	const longest = 20 * time.Millisecond
	pause := time.Millisecond
	for deadline := Deadline(); !holds(); pause = min(2*pause, longest) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", Patience(), what)
		}
		time.Sleep(pause)
	}
}

// Receive returns what comes out of a channel, which is the zero value if the
// channel is closed, and ends the test when nothing comes. what is the event
// that is awaited.
func Receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	timer := time.NewTimer(Patience())
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		t.Fatalf("not within %v: %s", Patience(), what)
		panic("unreachable")
	}
}

// Blocked fails the test if something comes out of a channel at once. It waits
// a moment for that. On a busy machine the moment may be too short to see what
// should not have come; a test that holds there does not fail.
func Blocked[T any](t testing.TB, what string, ch <-chan T) {
	t.Helper()
	const moment = 20 * time.Millisecond
	select {
	case v := <-ch:
		t.Errorf("%s: came at once: %v", what, v)
	case <-time.After(moment):
	}
}
