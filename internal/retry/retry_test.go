package retry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoffDoublesUpToTheLongest(t *testing.T) {
	b := Backoff{First: 20 * time.Millisecond, Longest: 100 * time.Millisecond}
	for i, want := range []time.Duration{20, 40, 80, 100, 100} {
		want *= time.Millisecond
		if got := b.Next(); got != want {
			t.Errorf("wait %d = %v, want %v", i, got, want)
		}
	}

	if !b.Failing() {
		t.Error("Failing() = false after failures")
	}
	b.Reset()
	if b.Failing() {
		t.Error("Failing() = true after Reset")
	}
	if got, want := b.Next(), 20*time.Millisecond; got != want {
		t.Errorf("wait after Reset = %v, want %v", got, want)
	}
}

func TestJitterKeepsHalfOfTheWait(t *testing.T) {
	for range 1_000 {
		b := Backoff{First: 10, Longest: 10, Jitter: true}
		if got := b.Next(); got < 5 || got >= 10 {
			t.Fatalf("Next() = %d, want 5 to 9", got)
		}
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{First: time.Minute, Longest: time.Hour}
		if err := b.Wait(t.Context()); err != nil {
			t.Errorf("Wait = %v, want nil after a minute", err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Wait(ctx); err != context.DeadlineExceeded {
			t.Errorf("Wait = %v, want %v", err, context.DeadlineExceeded)
		}
	})
}
