package testwait

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A recorder is a test that notes how it fails.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) { r.failure = fmt.Sprintf(format, args...) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(r)
}

// failureOf returns how a test fails that calls wait.
func failureOf(t *testing.T, wait func(testing.TB)) string {
	r := &recorder{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(r) {
				panic(p)
			}
		}()
		wait(r)
	}()
	return r.failure
}

func TestUntilWaitsForTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		holds := func() bool { return time.Since(began) >= Patience()/2 }
		if got := failureOf(t, func(t testing.TB) { Until(t, "the state", holds) }); got != "" {
			t.Errorf("Until failed: %s", got)
		}
		never := func() bool { return false }
		if got := failureOf(t, func(t testing.TB) { Until(t, "the state", never) }); !strings.Contains(got, "the state") {
			t.Errorf("Until of a state that never comes fails with %q, want its name", got)
		}
	})
}

func TestReceiveWaitsForTheEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := make(chan int, 1)
		time.AfterFunc(Patience()/2, func() { ch <- 7 })
		if got := Receive(t, "a number", ch); got != 7 {
			t.Errorf("Receive = %d, want 7", got)
		}
		if got := failureOf(t, func(t testing.TB) { Receive(t, "a number", ch) }); !strings.Contains(got, "a number") {
			t.Errorf("Receive of nothing fails with %q, want the event's name", got)
		}
	})
}

func TestBlockedFailsForWhatComesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := make(chan int, 1)
		if got := failureOf(t, func(t testing.TB) { Blocked(t, "a number", ch) }); got != "" {
			t.Errorf("Blocked failed: %s", got)
		}
		ch <- 7
		if got := failureOf(t, func(t testing.TB) { Blocked(t, "a number", ch) }); !strings.Contains(got, "a number") {
			t.Errorf("Blocked fails with %q, want the event's name", got)
		}
	})
}

func TestContextEndsWithPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := Context(t)
		<-ctx.Done()
		if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) || !strings.Contains(cause.Error(), Patience().String()) {
			t.Errorf("the context ended with %v, want that patience ended", cause)
		}
	})
}
