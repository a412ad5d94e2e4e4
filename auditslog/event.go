package auditslog

import (
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
)

// A tree is the attributes of a marked record as nested objects.
type tree struct {
	mark   string         // Config.Group
	root   map[string]any // all except those in marking groups
	marked map[string]any // those in marking groups together, nil if there is none
	open   map[string]any // the object that attributes are added to
	nested bool           // open is that of a group
}

// openGroup has the attributes that follow added to a group.
func (t *tree) openGroup(name string) {
	if !t.nested && name == t.mark {
		t.open = t.markedGroup()
	} else {
		inner := map[string]any{}
		put(t.open, name, inner)
		t.open = inner
	}
	t.nested = true
}

func (t *tree) add(a slog.Attr) {
	v := a.Value.Resolve()
	if !t.nested && a.Key == t.mark && v.Kind() == slog.KindGroup {
		addAll(t.markedGroup(), v.Group())
		return
	}
	add(t.open, a)
}

func (t *tree) markedGroup() map[string]any {
	if t.marked == nil {
		t.marked = map[string]any{}
	}
	return t.marked
}

func addAll(to map[string]any, attrs []slog.Attr) {
	for _, a := range attrs {
		add(to, a)
	}
}

// add adds an attribute as slog.Handler demands: an empty one is ignored, and the
// members of a group without a name are added in its place.
func add(to map[string]any, a slog.Attr) {
	a.Value = a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
	case a.Value.Kind() == slog.KindGroup && a.Key == "":
		addAll(to, a.Value.Group())
	case a.Value.Kind() == slog.KindGroup:
		members := a.Value.Group()
		if len(members) > 0 {
			inner := map[string]any{}
			addAll(inner, members)
			put(to, a.Key, inner)
		}
	default:
		put(to, a.Key, valueOf(a.Value))
	}
}

// put sets a member, under the name or, if that is taken, the name with a number.
func put(to map[string]any, name string, v any) {
	free := name
	for n := 2; ; n++ {
		_, taken := to[free]
		if !taken {
			break
		}
		free = name + "#" + strconv.Itoa(n)
	}
	to[free] = v
}

func valueOf(v slog.Value) any {
	switch v.Kind() {
	case slog.KindDuration:
		return v.Duration().String()
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		// These become what the fields are read from. An error stays known as one, so
		// that it can make the outcome a failure.
		switch x := v.Any().(type) {
		case attestlog.Outcome:
			return string(x)
		case attestlog.Actor:
			return map[string]any{
				"id":           x.ID,
				"type":         x.Type,
				"name":         x.Name,
				"session":      x.Session,
				"on_behalf_of": x.OnBehalfOf,
			}
		case map[string]any:
			return clone(x, 0) // it is the caller's, and fill takes members out
		case attestlog.Target, []attestlog.Target:
			return x
		case error:
			return errorText(callText(x.Error))
		case fmt.Stringer:
			return callText(x.String)
		}
	}
	return v.Any()
}

// clone copies an object and the objects in it as deep as fields are taken out;
// deeper ones are only read.
func clone(m map[string]any, depth int) map[string]any {
	const deepest = 4
	out := maps.Clone(m)
	for name, v := range out {
		inner, ok := v.(map[string]any)
		if ok && depth < deepest {
			out[name] = clone(inner, depth+1)
		}
	}
	return out
}

// callText calls a method that may panic, as on a nil receiver.
func callText(method func() string) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("!PANIC: %v", p)
		}
	}()
	return method()
}

// An errorText is the text of an error among attributes.
type errorText string

// replaceErrors replaces each errorText by a string, in objects that this package
// made.
func replaceErrors(attrs map[string]any) { replaceErrorsWithin(attrs, 0) }

func replaceErrorsWithin(attrs map[string]any, depth int) {
	if depth > attestlog.MaxDepth {
		return
	}

	for name, v := range attrs {
		switch v := v.(type) {
		case errorText:
			attrs[name] = string(v)
		case map[string]any:
			replaceErrorsWithin(v, depth+1)
		}
	}
}

// fill makes an event of attributes. It takes the fields out of attrs, and makes
// the rest the event's attributes.
func fill(e *attestlog.Event, attrs map[string]any, message string) {
	f := object(attrs)
	f.text("id", &e.ID)
	f.text("tenant", &e.Tenant)
	f.text("service", &e.Service)
	f.text("module", &e.Module)
	f.text("action", &e.Action)
	f.text("operation", &e.Operation)
	f.text("reason", &e.Reason)
	f.text("message", &e.Message)
	f.outcome(e) // after the reason, which an error gives only if there is none

	f.group("actor", &e.Actor.ID, func(o object) {
		o.text("id", &e.Actor.ID)
		o.text("type", &e.Actor.Type)
		o.text("name", &e.Actor.Name)
		o.text("session", &e.Actor.Session)
		o.text("on_behalf_of", &e.Actor.OnBehalfOf)
	})
	f.group("source", &e.Source.IP, func(o object) {
		o.text("ip", &e.Source.IP)
		o.text("user_agent", &e.Source.UserAgent)
		o.text("host", &e.Source.Host)
	})
	f.group("request", nil, func(o object) {
		o.text("id", &e.Request.ID)
		o.text("method", &e.Request.Method)
		o.text("path", &e.Request.Path)
		o.text("route", &e.Request.Route)
		var status int64
		o.int("status", &status)
		e.Request.Status = int(status)
		o.int("duration_us", &e.Request.DurationUS)
	})
	f.group("trace", nil, func(o object) {
		o.text("trace_id", &e.Trace.TraceID)
		o.text("span_id", &e.Trace.SpanID)
	})
	f.targets(e)

	switch {
	case e.Action == "":
		e.Action = message
	case e.Message == "":
		e.Message = message
	case message != "" && message != e.Message:
		put(attrs, "msg", message) // the attributes had both
	}
	if len(attrs) > 0 {
		e.Attributes = attrs
	}
}

// An object has attributes. Its methods move those that they understand out of it
// and into fields.
type object map[string]any

func (o object) text(name string, to *string) {
	s, ok := o[name].(string)
	if ok {
		*to = s
		delete(o, name)
	}
}

func (o object) int(name string, to *int64) {
	switch n := o[name].(type) {
	case int64:
		*to = n
		delete(o, name)
	case uint64:
		if n <= math.MaxInt64 {
			*to = int64(n)
			delete(o, name)
		}
	}
}

// group moves the members of an object with move. A text instead of the object is
// moved to whole, unless that is nil.
func (o object) group(name string, whole *string, move func(object)) {
	switch v := o[name].(type) {
	case string:
		if whole != nil {
			*whole = v
			delete(o, name)
		}
	case map[string]any:
		move(v)
		if len(v) == 0 {
			delete(o, name)
		}
	}
}

// outcome moves the outcome, or else an error.
func (o object) outcome(e *attestlog.Event) {
	s, _ := o["outcome"].(string)
	switch outcome := attestlog.Outcome(s); outcome {
	case attestlog.Success, attestlog.Failure, attestlog.Unknown:
		e.Outcome = outcome
		delete(o, "outcome")
		return
	}

	for _, name := range []string{"err", "error"} {
		text, ok := o[name].(errorText)
		if !ok {
			continue
		}
		e.Outcome = attestlog.Failure
		if e.Reason == "" {
			e.Reason = string(text)
			delete(o, name)
		}
		return
	}
}

// targets moves the targets, unless one of them is not understood.
func (o object) targets(e *attestlog.Event) {
	t, ok := targetOf(o["target"])
	if ok {
		e.Targets = append(e.Targets, t)
		delete(o, "target")
	}

	var all []any
	switch list := o["targets"].(type) {
	case []string:
		for _, s := range list {
			all = append(all, s)
		}
	case []any:
		all = list
	case []attestlog.Target:
		for _, t := range list {
			all = append(all, t)
		}
	}

	var targets []attestlog.Target
	for _, v := range all {
		t, ok := targetOf(v)
		if !ok {
			return
		}
		targets = append(targets, t)
	}
	if len(targets) > 0 {
		e.Targets = append(e.Targets, targets...)
		delete(o, "targets")
	}
}

// targetOf reads a target from a text "type/id", or from an object that has
// nothing else.
func targetOf(v any) (t attestlog.Target, ok bool) {
	switch v := v.(type) {
	case attestlog.Target:
		return v, true
	case string:
		if typ, id, found := strings.Cut(v, "/"); found {
			return attestlog.Target{Type: typ, ID: id}, true
		}
		return attestlog.Target{ID: v}, v != ""
	case map[string]any:
		o := object(maps.Clone(v)) // v stays if there is something else in it
		o.text("id", &t.ID)
		o.text("type", &t.Type)
		o.text("name", &t.Name)
		return t, len(o) == 0
	}
	return t, false
}

// merge adds the members of b to a, in the order of their names.
func merge(a, b map[string]any) map[string]any {
	for _, name := range slices.Sorted(maps.Keys(b)) {
		put(a, name, b[name])
	}
	if len(a) == 0 {
		return nil
	}
	return a
}
