// Package auditdraft holds the event of a request or a call while its handler
// runs, so that the handler can add to it.
package auditdraft

import (
	"context"
	"slices"
	"sync"

	"github.com/attestlog/attestlog"
)

// A Draft is an event that is yet to be recorded. The zero Draft has the zero
// Event. The methods are safe for concurrent use, since handlers may start
// goroutines; on a nil Draft, and after End, they change nothing and return false.
type Draft struct {
	mu     sync.Mutex
	event  attestlog.Event // by mu, as are the rest
	vetoed bool
	ended  bool
}

// Of returns the draft in a context under a key, or nil.
func Of(ctx context.Context, key any) *Draft {
	d, _ := ctx.Value(key).(*Draft)
	return d
}

// Edit calls fn with the event, and reports whether it did. fn must not keep the
// event, nor anything in it.
func (d *Draft) Edit(fn func(*attestlog.Event)) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()

	if d.ended {
		return false
	}
	fn(&d.event)
	return true
}

// AddTargets adds targets to the event, and reports whether it did.
func (d *Draft) AddTargets(targets ...attestlog.Target) bool {
	return d.Edit(func(e *attestlog.Event) {
		e.Targets = append(slices.Clip(e.Targets), targets...)
	})
}

// AddChanges adds changes to the event, and reports whether it did.
func (d *Draft) AddChanges(changes ...attestlog.Change) bool {
	return d.Edit(func(e *attestlog.Event) {
		e.Changes = append(slices.Clip(e.Changes), changes...)
	})
}

// Veto says that the event is not to be recorded, and reports whether it did.
func (d *Draft) Veto() bool {
	return d.Edit(func(*attestlog.Event) { d.vetoed = true })
}

// End returns the event, and ends all changes to it. ok is false if the event
// was vetoed.
func (d *Draft) End() (e attestlog.Event, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()

	d.ended = true
	return d.event, !d.vetoed
}
