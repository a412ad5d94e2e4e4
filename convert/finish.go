package convert

import (
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// Complete puts what is left of a foreign record into the attributes of its
// event, which is Undated if it has no time, and finishes the event.
func Complete(e *attestlog.Event, rest Object) {
	e.Attributes = fit.Foreign(rest)
	if e.Time.IsZero() {
		fit.Undated(e)
	}
	Finish(e)
}

// Finish bounds the event of a foreign record. Of one that keeps an original, it
// first sweeps the attributes: a value that has found a field which is sealed
// must not stand beside it in clear, where erasing the field leaves it. So
// strings that are the source's address or user agent go, wherever they are, and
// those that are the actor's name under members whose names say that they are a
// user or a name. The original has them all.
func Finish(e *attestlog.Event) {
	if len(e.Original) > 0 {
		s := sweeper{anywhere: map[string]bool{}, name: e.Actor.Name}
		for _, text := range [...]string{e.Source.IP, e.Source.UserAgent} {
			if text != "" {
				s.anywhere[text] = true
			}
		}
		if len(s.anywhere) > 0 || s.name != "" {
			if kept, changed := s.members(e.Attributes); changed {
				e.Attributes = kept
			}
		}
	}
	fit.Event(e)
}

type sweeper struct {
	anywhere map[string]bool
	name     string
}

// value returns what is kept of a value, or that nothing is. named is whether
// it stands under a member that may hold the actor's name. What was given stays
// as it is, for it may be part of other events.
func (s *sweeper) value(v any, named bool) (kept any, none, changed bool) {
	switch v := v.(type) {
	case string:
		gone := s.anywhere[v] || named && v != "" && v == s.name
		return v, gone, gone
	case []any:
		out, changed := s.list(v, named)
		return out, changed && len(out) == 0, changed
	case loosejson.Repeated:
		out, changed := s.list(v, named)
		return loosejson.Repeated(out), changed && len(out) == 0, changed
	case map[string]any:
		out, changed := s.members(v)
		return out, changed && len(out) == 0, changed
	}
	return v, false, false
}

func (s *sweeper) list(v []any, named bool) (out []any, changed bool) {
	for i, item := range v {
		kept, none, itemChanged := s.value(item, named)
		if itemChanged && !changed {
			changed = true
			out = append(make([]any, 0, len(v)), v[:i]...)
		}
		if changed && !none {
			out = append(out, kept)
		}
	}
	if !changed {
		return v, false
	}
	return out, true
}

func (s *sweeper) members(m map[string]any) (out map[string]any, changed bool) {
	swept := map[string]any{} // what changes, nil for what goes
	for name, v := range m {
		lower := strings.ToLower(name)
		kept, none, memberChanged := s.value(v, strings.Contains(lower, "user") || strings.Contains(lower, "name"))
		if none {
			swept[name] = nil
		} else if memberChanged {
			swept[name] = kept
		}
	}
	if len(swept) == 0 {
		return m, false
	}
	out = make(map[string]any, len(m))
	for name, v := range m {
		if kept, found := swept[name]; !found {
			out[name] = v
		} else if kept != nil {
			out[name] = kept
		}
	}
	return out, true
}
