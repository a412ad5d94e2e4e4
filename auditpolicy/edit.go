package auditpolicy

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/attestlog/attestlog"
)

// texts returns the declared strings that a rule may name.
func texts(e *attestlog.Event) map[string]*string {
	return map[string]*string{
		"id": &e.ID, "tenant": &e.Tenant, "service": &e.Service, "module": &e.Module, "action": &e.Action, "operation": &e.Operation,
		"outcome": (*string)(&e.Outcome), "reason": &e.Reason, "message": &e.Message,
		"actor/id": &e.Actor.ID, "actor/type": &e.Actor.Type, "actor/name": &e.Actor.Name, "actor/session": &e.Actor.Session, "actor/on_behalf_of": &e.Actor.OnBehalfOf,
		"source/ip": &e.Source.IP, "source/user_agent": &e.Source.UserAgent, "source/host": &e.Source.Host,
		"request/id": &e.Request.ID, "request/method": &e.Request.Method, "request/path": &e.Request.Path, "request/route": &e.Request.Route,
		"trace/trace_id": &e.Trace.TraceID, "trace/span_id": &e.Trace.SpanID,
	}
}

// known reports whether an event may have a field.
func known(path []string) bool {
	switch path[0] {
	case "attributes", "changes":
		return len(path) > 1
	}
	return texts(&attestlog.Event{})[strings.Join(path, "/")] != nil
}

// An editor changes an event that is its own, but for the maps and slices in
// it, which it copies before.
type editor struct {
	r       *Recorder
	e       *attestlog.Event
	keep    [][]string // fields that are no secrets
	attrs   bool       // the attributes were copied
	changes bool       // the changes were
}

func (ed *editor) apply(r *rule) {
	if r.Do == Keep {
		ed.keep = append(ed.keep, r.path)
		return
	}
	hide := func(v any) any {
		ed.r.redacted.Add(1)
		if r.Do == Hash {
			return ed.r.hash(textOf(v))
		}
		return attestlog.Redacted
	}
	switch r.path[0] {
	case "attributes":
		if ed.e.Attributes != nil && hasPath(ed.e.Attributes, r.path[1:]) {
			ed.ownAttributes()
			edit(ed.e.Attributes, r.path[1:], hide)
		}
	case "changes":
		for i := range ed.e.Changes {
			if within(ed.e.Changes[i].Path, r.path[1:]) {
				ed.ownChanges()
				c := &ed.e.Changes[i]
				c.Old, c.New = orNil(c.Old, hide), orNil(c.New, hide)
			}
		}
	default:
		field := texts(ed.e)[strings.Join(r.path, "/")]
		switch {
		case *field == "":
		case field == &ed.e.Source.IP && r.Do == Redact:
			ed.r.redacted.Add(1)
			*field = ""
		case field == &ed.e.Source.IP: // a hash is no address
			ed.e.Source.Host, *field = hide(*field).(string), ""
		default:
			*field = hide(*field).(string)
		}
	}
}

func (ed *editor) has(path []string) bool {
	switch path[0] {
	case "attributes":
		return hasPath(ed.e.Attributes, path[1:])
	case "changes":
		return slices.ContainsFunc(ed.e.Changes, func(c attestlog.Change) bool { return within(c.Path, path[1:]) })
	}
	return *texts(ed.e)[strings.Join(path, "/")] != ""
}

func (ed *editor) ownAttributes() {
	if !ed.attrs {
		ed.e.Attributes, ed.attrs = maps.Clone(ed.e.Attributes), true
	}
}

func (ed *editor) ownChanges() {
	if !ed.changes {
		ed.e.Changes, ed.changes = slices.Clone(ed.e.Changes), true
	}
}

func orNil(v any, hide func(any) any) any {
	if v == nil {
		return nil
	}
	return hide(v)
}

// within reports whether a change's path is another, or below it.
func within(path string, of []string) bool {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(parts) < len(of) {
		return false
	}
	for i := range of {
		if unescaper.Replace(parts[i]) != of[i] {
			return false
		}
	}
	return true
}

// textOf is what a value is hashed as: a text itself, and else its JSON.
func textOf(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	var s string
	if json.Unmarshal(text, &s) == nil {
		return s
	}
	return string(text)
}

// object returns a value as an object of this package's own, if it is one; raw
// JSON and types of the caller's are read by their JSON.
func object(v any) (map[string]any, bool) {
	switch v := v.(type) {
	case nil, string, bool, int, int64, float64, json.Number, []any:
		return nil, false
	case map[string]any:
		return maps.Clone(v), v != nil
	}
	switch reflect.Indirect(reflect.ValueOf(v)).Kind() {
	case reflect.Map, reflect.Struct, reflect.Slice: // a json.RawMessage is a slice
	default:
		return nil, false
	}
	text, err := json.Marshal(v)
	if err != nil || len(text) == 0 || text[0] != '{' {
		return nil, false
	}
	read, err := decode(text)
	out, ok := read.(map[string]any)
	return out, ok && err == nil
}

// decode reads JSON without a loss of digits.
func decode(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

func hasPath(o map[string]any, path []string) bool {
	v, ok := o[path[0]]
	if !ok || len(path) == 1 {
		return ok
	}
	inner, ok := object(v)
	return ok && hasPath(inner, path[1:])
}

// edit replaces the value at a path of a map that is the editor's own.
func edit(o map[string]any, path []string, hide func(any) any) {
	v, ok := o[path[0]]
	switch {
	case !ok:
	case len(path) == 1:
		o[path[0]] = hide(v)
	default:
		if inner, ok := object(v); ok {
			edit(inner, path[1:], hide)
			o[path[0]] = inner
		}
	}
}
