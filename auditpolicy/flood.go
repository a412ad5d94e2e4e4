package auditpolicy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
)

// A Flood sums up events that come too often. It counts events of one tenant,
// actor, action, outcome and first target together. Of those within a Window, the
// first Most are recorded as they are. The others become one event at the end of
// the window: the last of them, with the attribute
//
//	"coalesced": {"events": 4711, "from": "<time of the first>", "to": "<time of the last>"}
//
// The events in between are counted in memory only: a crash loses the count.
type Flood struct {
	// Action is a name, such as "login", a prefix that ends in ".*", or "*".
	// Defaults to every action.
	Action string
	// Window is how long a window lasts, from its first event on. Required.
	Window time.Duration
	// Most is how many events of a window are recorded as they are. Required.
	Most int
}

func (f Flood) check() error {
	if f.Window <= 0 || f.Most <= 0 {
		return errors.New("want a Window and Most above 0")
	}
	return checkAction(f.Action)
}

// maxWindows bounds the windows that are open at a time. Beyond it events are
// recorded as they are.
const maxWindows = 10_000

// A windowKey is what the events of a window have in common.
type windowKey struct {
	flood                          int // its position in Config.Floods
	tenant, actor, action, outcome string
	target                         attestlog.Target
}

// A window counts events. Its fields are guarded by floods.mu until it is taken
// out of floods.open.
type window struct {
	seen  int // events, with those that were recorded as they are
	timer *time.Timer

	// Of those that were not recorded:
	count int
	first time.Time
	last  attestlog.Event
}

// floods has the windows of a Filter.
type floods struct {
	filter    *Filter
	recording sync.WaitGroup // summaries whose windows have ended

	mu         sync.Mutex
	open       map[windowKey]*window
	unrecorded []*window // whose summaries could not be recorded
	closed     bool
}

// coalesce counts an event of a flood, and reports whether it is one that only a
// summary stands for.
func (f *floods) coalesce(e *attestlog.Event) bool {
	for i, flood := range f.filter.cfg.Floods {
		if covers(flood.Action, e.Action) {
			return f.count(i, flood, e)
		}
	}
	return false
}

// count counts an event of the flood at a position, and reports what coalesce does.
func (f *floods) count(i int, flood Flood, e *attestlog.Event) bool {
	key := windowKey{flood: i, tenant: e.Tenant, actor: e.Actor.ID, action: e.Action, outcome: string(e.Outcome)}
	if len(e.Targets) > 0 {
		key.target = e.Targets[0]
	}

	f.mu.Lock()
	defer f.mu.Unlock()

	// Without a window there will be no summary, so the event is recorded as it is.
	if f.closed {
		return false
	}
	w := f.windowOf(key, flood.Window)
	if w == nil {
		return false
	}

	w.seen++
	if w.seen <= flood.Most {
		return false
	}

	// The summary is recorded later, and has the time of its last event.
	when := e.Time
	if when.IsZero() {
		when = f.filter.cfg.Clock()
	}
	w.count++
	if w.count == 1 {
		w.first = when
	}
	w.last = copyOf(e)
	w.last.Time = when
	f.filter.coalesced.Add(1)
	return true
}

// windowOf returns the open window of a key, or opens one that lasts for a time.
// It returns nil if too many are open. f.mu is held.
func (f *floods) windowOf(key windowKey, lasts time.Duration) *window {
	w := f.open[key]
	if w != nil {
		return w
	}
	if len(f.open) >= maxWindows {
		return nil
	}

	if f.open == nil {
		f.open = map[windowKey]*window{}
	}
	w = &window{}
	w.timer = time.AfterFunc(lasts, func() { f.endWindow(key, w) })
	f.open[key] = w
	return w
}

// copyOf returns a copy of an event, as the log would take it, that shares nothing
// with the caller's.
func copyOf(e *attestlog.Event) attestlog.Event {
	fitted := *e
	fit.Event(&fitted)
	text, err := fitted.MarshalJSON()
	if err == nil {
		parsed, err := attestlog.ParseEvent(text)
		if err == nil {
			return parsed
		}
	}

	// What cannot be copied is left out.
	fitted.Attributes = nil
	fitted.Changes = nil
	fitted.Original = nil
	fitted.Targets = slices.Clone(fitted.Targets)
	return fitted
}

// endWindow takes a window out and records its summary.
func (f *floods) endWindow(key windowKey, w *window) {
	f.mu.Lock()
	if f.closed || f.open[key] != w {
		f.mu.Unlock()
		return // close records it
	}
	delete(f.open, key)
	f.recording.Add(1)
	f.mu.Unlock()
	defer f.recording.Done()

	err := f.record(context.Background(), w)
	if err != nil {
		f.filter.cfg.Logger.Error("auditpolicy: the summary of a flood could not be recorded, and is left to Close",
			"events", w.count, "action", key.action, "actor", key.actor, "err", err)
		f.leaveToClose(w)
	}
}

// record records the summary of a window that was taken out.
func (f *floods) record(ctx context.Context, w *window) error {
	if w.count == 0 {
		return nil
	}

	e := w.last
	if w.count > 1 { // a single event needs no count
		e.Attributes = maps.Clone(e.Attributes)
		if e.Attributes == nil {
			e.Attributes = map[string]any{}
		}
		e.Attributes["coalesced"] = map[string]any{
			"events": w.count,
			"from":   w.first.UTC().Format(time.RFC3339Nano),
			"to":     e.Time.UTC().Format(time.RFC3339Nano),
		}
	}
	return fit.Record(ctx, f.filter.next, e)
}

func (f *floods) close(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	windows := slices.AppendSeq(f.unrecorded, maps.Values(f.open))
	f.open = nil
	f.unrecorded = nil
	f.mu.Unlock()

	var errs []error
	for _, w := range windows {
		w.timer.Stop()
		err := f.record(ctx, w)
		if err != nil {
			errs = append(errs, fmt.Errorf("a summary of %d events %s of %s: %w", w.count, w.last.Action, w.last.Actor.ID, err))
			f.leaveToClose(w)
		}
	}

	f.recording.Wait()
	return errors.Join(errs...)
}

// leaveToClose has the next Close record a summary.
func (f *floods) leaveToClose(w *window) {
	f.mu.Lock()
	defer f.mu.Unlock()

	f.unrecorded = append(f.unrecorded, w)
}
