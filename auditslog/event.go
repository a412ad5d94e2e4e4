package auditslog

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
)

func addAll(to map[string]any, attrs []slog.Attr) {
	for _, a := range attrs {
		add(to, a)
	}
}

// add adds an attribute as slog.Handler says: an empty one is nothing, and a
// group without a name stands for what is in it.
func add(to map[string]any, a slog.Attr) {
	a.Value = a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
	case a.Value.Kind() == slog.KindGroup && a.Key == "":
		addAll(to, a.Value.Group())
	case a.Value.Kind() == slog.KindGroup:
		if members := a.Value.Group(); len(members) > 0 {
			inner := map[string]any{}
			addAll(inner, members)
			put(to, a.Key, inner)
		}
	default:
		put(to, a.Key, value(a.Value))
	}
}

// put sets a member, under a name that is free.
func put(to map[string]any, name string, v any) {
	free := name
	for n := 2; ; n++ {
		if _, taken := to[free]; !taken {
			break
		}
		free = name + "#" + strconv.Itoa(n)
	}
	to[free] = v
}

func value(v slog.Value) any {
	switch v.Kind() {
	case slog.KindDuration:
		return v.Duration().String()
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		switch x := v.Any().(type) {
		case attestlog.Outcome:
			return string(x)
		case attestlog.Actor:
			return map[string]any{"id": x.ID, "type": x.Type, "name": x.Name, "session": x.Session, "on_behalf_of": x.OnBehalfOf}
		case map[string]any:
			return clone(x, 0)
		case attestlog.Target, []attestlog.Target:
			return x
		case error:
			return failure(said(x.Error))
		case fmt.Stringer:
			return said(x.String)
		}
	}
	return v.Any()
}

// clone copies the objects that fields are taken out of; deeper ones are only
// read.
func clone(m map[string]any, depth int) map[string]any {
	const fieldsWithin = 4
	out := maps.Clone(m)
	for name, v := range out {
		if inner, ok := v.(map[string]any); ok && depth < fieldsWithin {
			out[name] = clone(inner, depth+1)
		}
	}
	return out
}

// said returns what a method says that may not bear a nil receiver.
func said(method func() string) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("!PANIC: %v", p)
		}
	}()
	return method()
}

// A failure is the text of an error among attributes.
type failure string

// plain replaces failures by their texts, in objects of this package's making.
func plain(attrs map[string]any) { plainWithin(attrs, 0) }

func plainWithin(attrs map[string]any, depth int) {
	if depth > attestlog.MaxDepth {
		return
	}
	for name, v := range attrs {
		switch v := v.(type) {
		case failure:
			attrs[name] = string(v)
		case map[string]any:
			plainWithin(v, depth+1)
		}
	}
}

// fill makes an event of attributes, which it takes the fields out of.
func fill(e *attestlog.Event, fields map[string]any, message string) {
	f := object(fields)
	for name, field := range map[string]*string{
		"id": &e.ID, "tenant": &e.Tenant, "service": &e.Service, "module": &e.Module, "action": &e.Action,
		"operation": &e.Operation, "reason": &e.Reason, "message": &e.Message,
	} {
		f.text(name, field)
	}
	f.outcome(e)
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
		put(fields, "msg", message)
	}
	if len(fields) > 0 {
		e.Attributes = fields
	}
}

// An object's members are taken out of it as they are understood.
type object map[string]any

func (o object) text(name string, to *string) {
	if s, ok := o[name].(string); ok {
		*to = s
		delete(o, name)
	}
}

func (o object) int(name string, to *int64) {
	switch n := o[name].(type) {
	case int64:
		*to = n
	case uint64:
		if *to = int64(n); *to < 0 {
			*to = 0
			return
		}
	default:
		return
	}
	delete(o, name)
}

// group takes an object, or a text where that stands for the whole.
func (o object) group(name string, whole *string, take func(object)) {
	switch v := o[name].(type) {
	case string:
		if whole != nil {
			*whole = v
			delete(o, name)
		}
	case map[string]any:
		if take(v); len(v) == 0 {
			delete(o, name)
		}
	}
}

func (o object) outcome(e *attestlog.Event) {
	if s, ok := o["outcome"].(string); ok {
		switch out := attestlog.Outcome(s); out {
		case attestlog.Success, attestlog.Failure, attestlog.Unknown:
			e.Outcome = out
			delete(o, "outcome")
		}
	}
	for _, name := range []string{"err", "error"} {
		if f, ok := o[name].(failure); ok && e.Outcome == "" {
			e.Outcome = attestlog.Failure
			if e.Reason == "" {
				e.Reason = string(f)
				delete(o, name)
			}
		}
	}
}

func (o object) targets(e *attestlog.Event) {
	if t, ok := target(o["target"]); ok {
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
	var read []attestlog.Target
	for _, v := range all {
		t, ok := target(v)
		if !ok {
			return
		}
		read = append(read, t)
	}
	if len(read) > 0 {
		e.Targets = append(e.Targets, read...)
		delete(o, "targets")
	}
}

func target(v any) (t attestlog.Target, ok bool) {
	switch v := v.(type) {
	case attestlog.Target:
		return v, true
	case string:
		if typ, id, found := strings.Cut(v, "/"); found {
			return attestlog.Target{Type: typ, ID: id}, true
		}
		return attestlog.Target{ID: v}, v != ""
	case map[string]any:
		o := make(object, len(v))
		for name, member := range v {
			o[name] = member
		}
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
