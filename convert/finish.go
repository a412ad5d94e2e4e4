package convert

import (
	"maps"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// Complete puts the rest of a foreign record into the attributes of its event,
// notes with fit.Undated if the event has no time, and finishes the event.
func Complete(e *attestlog.Event, rest Object) {
	e.Attributes = fit.Foreign(rest)
	if e.Time.IsZero() {
		fit.Undated(e)
	}
	Finish(e)
}

// Finish fits the event of a foreign record into the log's rules.
//
// If the event keeps an original, Finish first removes from the attributes what
// has found a field that is sealed: a value must not be stored in clear next to
// its sealed field, because erasing the field would leave it there. These are the
// strings that equal the source's address or user agent, wherever they are, and
// those that equal the actor's name in members whose names contain "user" or
// "name". The original has them all.
func Finish(e *attestlog.Event) {
	if len(e.Original) > 0 {
		sweep(e)
	}
	fit.Event(e)
}

// Imported is the name of the attribute that holds what another log had added to
// an event.
const Imported = "imported"

// SetImported puts what another log had added to an event into its attributes:
// added, and the erased pointers if there are any. What the log that wrote the
// event had imported itself stays within.
func SetImported(e *attestlog.Event, added map[string]any, erased []string) {
	if len(erased) > 0 {
		var pointers []any
		for _, pointer := range erased {
			pointers = append(pointers, pointer)
		}
		added["erased"] = pointers
	}
	if before, taken := e.Attributes[Imported]; taken {
		added[Imported] = before
	}

	if e.Attributes == nil {
		e.Attributes = map[string]any{}
	}
	e.Attributes[Imported] = added
}

func sweep(e *attestlog.Event) {
	s := sweeper{anywhere: map[string]bool{}, name: e.Actor.Name}
	for _, text := range [...]string{e.Source.IP, e.Source.UserAgent} {
		if text != "" {
			s.anywhere[text] = true
		}
	}
	if len(s.anywhere) == 0 && s.name == "" {
		return
	}
	e.Attributes, _ = s.members(e.Attributes)
}

// A sweeper removes strings from values. It changes copies only, for a value may
// be part of other events.
type sweeper struct {
	anywhere map[string]bool // removed wherever they are
	name     string          // removed in members that may hold a name
}

// A swept says what sweeping did to a value.
type swept int

const (
	unchanged swept = iota
	changed         // a part of it is removed
	removed         // nothing of it is left
)

// value sweeps a value. named is whether it is in a member that may hold a name.
func (s *sweeper) value(v any, named bool) (any, swept) {
	switch v := v.(type) {
	case string:
		isName := named && v != "" && v == s.name
		if s.anywhere[v] || isName {
			return nil, removed
		}
	case []any:
		return s.list(v, named)
	case loosejson.Repeated:
		out, result := s.list(v, named)
		return loosejson.Repeated(out), result
	case map[string]any:
		return s.members(v)
	}
	return v, unchanged
}

func (s *sweeper) list(v []any, named bool) ([]any, swept) {
	var out []any
	result := unchanged
	for i, item := range v {
		item, itemResult := s.value(item, named)
		if itemResult != unchanged && result == unchanged {
			// The items before the first that changes stay as they are.
			result = changed
			out = append(make([]any, 0, len(v)), v[:i]...)
		}
		if result == changed && itemResult != removed {
			out = append(out, item)
		}
	}

	switch {
	case result == unchanged:
		return v, unchanged
	case len(out) == 0:
		return nil, removed
	}
	return out, changed
}

func (s *sweeper) members(m map[string]any) (map[string]any, swept) {
	var out map[string]any // a copy, as soon as a member changes
	for name, v := range m {
		v, result := s.value(v, mayHoldName(name))
		if result == unchanged {
			continue
		}
		if out == nil {
			out = maps.Clone(m)
		}
		if result == removed {
			delete(out, name)
		} else {
			out[name] = v
		}
	}

	switch {
	case out == nil:
		return m, unchanged
	case len(out) == 0:
		return nil, removed
	}
	return out, changed
}

func mayHoldName(member string) bool {
	lower := strings.ToLower(member)
	return strings.Contains(lower, "user") || strings.Contains(lower, "name")
}
