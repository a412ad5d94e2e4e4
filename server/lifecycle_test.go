package server

import (
	"context"
	"sync"
	"testing"
)

// Requests that are cut off outlive a server's Close, and go on starting
// verifications, tails and alarms.
func TestCloseWhileGoroutinesAreStarted(t *testing.T) {
	for range 3000 {
		l := newLifecycle()
		l.start(func(ctx context.Context) { <-ctx.Done() })

		var requests, started sync.WaitGroup
		for range 4 {
			requests.Go(func() {
				for range 20 {
					started.Add(1)
					l.start(func(ctx context.Context) {
						defer started.Done()
						<-ctx.Done()
					})
				}
			})
		}
		l.close()
		requests.Wait()
		started.Wait() // after Close, the context has ended
	}
}
