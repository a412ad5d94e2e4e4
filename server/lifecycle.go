package server

import (
	"context"
	"errors"
	"sync"
)

// A lifecycle ends what a server does, in two steps:
//
//	serving ── stop ──▶ draining ── close ──▶ closed
//
// While the server drains it still answers requests, but everything that could go
// on for hours has ended: tails, exports, verifications, connections of syslog.
// When it is closed, the goroutines next to the requests have ended too.
type lifecycle struct {
	untilStop  context.Context // ends with the first phase
	untilClose context.Context // ends with the second
	stop       context.CancelFunc
	cancel     context.CancelFunc

	// goroutines counts those that start has begun until closed is set.
	goroutines sync.WaitGroup

	mu     sync.Mutex
	closed bool
}

// errStopping is returned by tails and exports that stop has ended.
var errStopping = errors.New("the server stops")

func newLifecycle() *lifecycle {
	l := &lifecycle{}
	l.untilClose, l.cancel = context.WithCancel(context.Background())
	l.untilStop, l.stop = context.WithCancel(l.untilClose)
	return l
}

// start runs fn in a goroutine that close waits for. fn's context ends when
// close is called.
func (l *lifecycle) start(fn func(ctx context.Context)) {
	l.mu.Lock()
	defer l.mu.Unlock()

	// A request that was cut off may still run while its server closes. A
	// WaitGroup that is waited for panics if it is used again, and what is started
	// now ends by itself, because its context has ended.
	if l.closed {
		go fn(l.untilClose)
		return
	}
	l.goroutines.Go(func() { fn(l.untilClose) })
}

// stopping reports whether the first phase is over.
func (l *lifecycle) stopping() bool { return l.untilStop.Err() != nil }

// close ends both phases, and waits for the goroutines that were started before.
func (l *lifecycle) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()

	l.cancel()
	l.goroutines.Wait()
}
