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

// A Flood sums up events that come too often: of those of one tenant, actor,
// action, outcome and first target, the first Most within a Window are recorded
// as they are, and for the others one event at the end of the window, the last of
// them with the attribute
//
//	"coalesced": {"events": 4711, "from": "<time of the first>", "to": "<of the last>"}
//
// The events in between are counted in memory only: a crash loses the count.
type Flood struct {
	// Action is a name, or a prefix that ends in ".*". Defaults to every one.
	Action string
	// Window is how long a window lasts. Required.
	Window time.Duration
	// Most is how many events of a window are recorded as they are. Required.
	Most int
}

func (f Flood) check() error {
	if f.Window <= 0 || f.Most <= 0 {
		return errors.New("want a Window and Most above 0")
	}
	return checkPattern(f.Action)
}

// maxFloods bounds the windows that are open at a time. Beyond it events are
// recorded as they are.
const maxFloods = 10_000

type floodKey struct {
	flood                          int
	tenant, actor, action, outcome string
	target                         attestlog.Target
}

// A window is open from its first event on.
type window struct {
	seen    int
	count   int             // that were not recorded
	first   time.Time       // of those
	last    attestlog.Event // of those
	summary *time.Timer
}

type floods struct {
	r      *Recorder
	mu     sync.Mutex
	open   map[floodKey]*window
	left   []*window // whose summaries could not be recorded
	closed bool
	ending sync.WaitGroup // summaries that are being recorded
}

// swallow reports whether an event is left to a summary.
func (f *floods) swallow(e *attestlog.Event) bool {
	for i, flood := range f.r.cfg.Floods {
		if covers(flood.Action, e.Action) {
			return f.count(i, flood, e)
		}
	}
	return false
}

func (f *floods) count(i int, flood Flood, e *attestlog.Event) bool {
	key := floodKey{flood: i, tenant: e.Tenant, actor: e.Actor.ID, action: e.Action, outcome: string(e.Outcome)}
	if len(e.Targets) > 0 {
		key.target = e.Targets[0]
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	w := f.open[key]
	if w == nil {
		if len(f.open) >= maxFloods {
			return false
		}
		if f.open == nil {
			f.open = map[floodKey]*window{}
		}
		w = &window{}
		w.summary = time.AfterFunc(flood.Window, func() { f.end(key, w) })
		f.open[key] = w
	}
	if w.seen++; w.seen <= flood.Most {
		return false
	}
	at := e.Time
	if at.IsZero() {
		at = f.r.cfg.Clock()
	}
	if w.count++; w.count == 1 {
		w.first = at
	}
	w.last = own(e)
	w.last.Time = at
	f.r.coalesced.Add(1)
	return true
}

// own returns a copy of an event, as the log would take it, that shares nothing
// with the caller's.
func own(e *attestlog.Event) attestlog.Event {
	bounded := *e
	fit.Event(&bounded)
	text, err := bounded.MarshalJSON()
	if err == nil {
		if out, err := attestlog.ParseEvent(text); err == nil {
			return out
		}
	}
	bounded.Attributes, bounded.Changes, bounded.Original = nil, nil, nil
	bounded.Targets = slices.Clone(bounded.Targets)
	return bounded
}

// end closes a window and records its summary.
func (f *floods) end(key floodKey, w *window) {
	f.mu.Lock()
	if f.closed || f.open[key] != w {
		f.mu.Unlock()
		return // close has it
	}
	delete(f.open, key)
	f.ending.Add(1)
	f.mu.Unlock()
	defer f.ending.Done()
	if err := f.record(context.Background(), w); err != nil {
		f.r.cfg.Logger.Error("auditpolicy: the summary of a flood could not be recorded, and is left to Close", "events", w.count, "action", key.action, "actor", key.actor, "err", err)
		f.keep(w)
	}
}

// record records a window's summary.
func (f *floods) record(ctx context.Context, w *window) error {
	if w.count == 0 {
		return nil
	}
	e := w.last
	if w.count > 1 {
		e.Attributes = maps.Clone(e.Attributes)
		if e.Attributes == nil {
			e.Attributes = map[string]any{}
		}
		e.Attributes["coalesced"] = map[string]any{
			"events": w.count, "from": w.first.UTC().Format(time.RFC3339Nano), "to": e.Time.UTC().Format(time.RFC3339Nano),
		}
	}
	return fit.Record(ctx, f.r.next, e)
}

func (f *floods) close(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	due := slices.AppendSeq(f.left, maps.Values(f.open))
	f.open, f.left = nil, nil
	f.mu.Unlock()
	var errs []error
	for _, w := range due {
		w.summary.Stop()
		if err := f.record(ctx, w); err != nil {
			errs = append(errs, fmt.Errorf("a summary of %d events %s of %s: %w", w.count, w.last.Action, w.last.Actor.ID, err))
			f.keep(w)
		}
	}
	f.ending.Wait()
	return errors.Join(errs...)
}

// keep leaves a summary that could not be recorded to the next Close.
func (f *floods) keep(w *window) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = append(f.left, w)
}
