// Package retry spaces out the tries of something that fails for a while.
//
// The root package and package client import nothing but the standard library,
// golang.org/x/mod and google/uuid, so a library for this is not for them; one
// mechanism for the whole repository is better than two.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Backoff is the time to wait before the next try: First after the first
// failure, and twice as long after each further one, up to Longest. It is not
// safe for concurrent use.
type Backoff struct {
	First   time.Duration
	Longest time.Duration
	// Jitter makes the second half of each wait random, so that many clients of
	// one server do not come back all at once.
	Jitter bool

	last time.Duration
}

// Next returns the time to wait before the next try.
func (b *Backoff) Next() time.Duration {
	if b.last == 0 {
		b.last = b.First
	} else {
		b.last = min(2*b.last, b.Longest)
	}

	if b.Jitter && b.last > 1 {
		return b.last/2 + rand.N(b.last/2)
	}
	return b.last
}

// Reset begins with First again, after something has succeeded.
func (b *Backoff) Reset() { b.last = 0 }

// Failing reports whether there was a failure since the last success.
func (b *Backoff) Failing() bool { return b.last != 0 }

// Wait waits for the time of Next, or returns ctx's error if that ends first.
func (b *Backoff) Wait(ctx context.Context) error { return Sleep(ctx, b.Next()) }

// Sleep waits for d, or returns ctx's error if that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()

	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
