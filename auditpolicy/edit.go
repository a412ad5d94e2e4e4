package auditpolicy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/diff"
	"github.com/attestlog/attestlog/fit"
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

// An editor changes an event that is its own, but for the maps and slices in it,
// which it copies first.
type editor struct {
	r       *Recorder
	e       *attestlog.Event
	keep    [][]string // fields that are no secrets
	attrs   bool       // the attributes were copied
	changes bool       // the changes were
	nodes   int        // values that were copied
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
		return diff.Redacted
	}
	// What a rule made of a field is no secret any more.
	defer func() { ed.keep = append(ed.keep, r.path) }()
	switch r.path[0] {
	case "attributes":
		ed.attributes()
		edit(ed.e.Attributes, r.path[1:], hide)
	case "changes":
		ed.ownChanges()
		for i := range ed.e.Changes {
			ed.change(&ed.e.Changes[i], r.path[1:], hide)
		}
	default:
		field := texts(ed.e)[strings.Join(r.path, "/")]
		switch {
		case *field == "":
		case field == &ed.e.Source.IP:
			ed.r.redacted.Add(1)
			*field = ""
		default:
			*field = hide(*field).(string)
		}
	}
}

// change hides a change at a path or below it, and what lies at the path within
// the values of a change above it.
func (ed *editor) change(c *attestlog.Change, path []string, hide func(any) any) {
	parts := pathOf(c.Path)
	switch {
	case len(parts) >= len(path) && slices.Equal(parts[:len(path)], path):
		c.Old, c.New = orNil(c.Old, hide), orNil(c.New, hide)
	case len(parts) < len(path) && slices.Equal(parts, path[:len(parts)]):
		for _, v := range []*any{&c.Old, &c.New} {
			inner := ed.plain(*v)
			if hasPath(inner, path[len(parts):]) {
				edit(inner, path[len(parts):], hide)
				*v = inner
			}
		}
	}
}

func (ed *editor) has(path []string) bool {
	switch path[0] {
	case "attributes":
		ed.attributes()
		return hasPath(ed.e.Attributes, path[1:])
	case "changes":
		return slices.ContainsFunc(ed.e.Changes, func(c attestlog.Change) bool {
			parts := pathOf(c.Path)
			return len(parts) >= len(path)-1 && slices.Equal(parts[:len(path)-1], path[1:])
		})
	}
	return *texts(ed.e)[strings.Join(path, "/")] != ""
}

// attributes makes the attributes the editor's own: plain values in maps and
// slices that nobody else has.
func (ed *editor) attributes() {
	if ed.attrs || ed.e.Attributes == nil {
		return
	}
	own := make(map[string]any, len(ed.e.Attributes))
	for name, v := range ed.e.Attributes {
		own[name] = ed.plain(v)
	}
	ed.e.Attributes, ed.attrs = own, true
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

// pathOf returns the parts of a JSON Pointer, with or without its first slash.
func pathOf(pointer string) []string {
	if pointer == "" || pointer == "/" {
		return nil
	}
	parts := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i := range parts {
		parts[i] = unescaper.Replace(parts[i])
	}
	return parts
}

// maxNodes bounds the values of an event that are looked at: more than a leaf
// could hold. It also ends values that lead in circles.
const maxNodes = 100_000

// plain returns a copy of a value in maps, slices and scalars, as its JSON has
// it. What is beyond maxNodes, or nested deeper than a leaf may be, is redacted,
// because it cannot be looked at.
func (ed *editor) plain(v any) any { return ed.plainAt(v, 0) }

func (ed *editor) plainAt(v any, depth int) any {
	if ed.nodes++; ed.nodes > maxNodes || depth > attestlog.MaxDepth {
		return diff.Redacted
	}
	switch v := v.(type) {
	case nil, string, bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64, json.Number:
		return v
	case map[string]any:
		if v == nil {
			return nil
		}
		out := make(map[string]any, min(len(v), maxNodes))
		for name, member := range v {
			out[name] = ed.plainAt(member, depth+1)
		}
		return out
	case []any:
		out := make([]any, 0, min(len(v), maxNodes))
		for _, item := range v {
			out = append(out, ed.plainAt(item, depth+1))
		}
		return out
	}
	if text, err := marshal(v); err == nil {
		if read, err := decode(text); err == nil {
			return read
		}
	}
	// What has no JSON becomes what Bound makes of it for the log.
	e := attestlog.Event{Action: "a", Actor: attestlog.Actor{ID: "a"}, Attributes: map[string]any{"v": v}}
	fit.Event(&e)
	if bounded, ok := e.Attributes["v"].(string); ok {
		return bounded
	}
	return diff.Redacted
}

// marshal is json.Marshal of values whose methods may not bear every state.
func marshal(v any) (text []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return json.Marshal(v)
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

// decode reads JSON without a loss of digits.
func decode(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// at returns the member or the element of a plain value, and how to replace it.
func at(v any, name string) (member any, set func(any), ok bool) {
	switch v := v.(type) {
	case map[string]any:
		member, ok = v[name]
		return member, func(to any) { v[name] = to }, ok
	case []any:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(v) {
			return v[i], func(to any) { v[i] = to }, true
		}
	}
	return nil, nil, false
}

func hasPath(v any, path []string) bool {
	for _, name := range path {
		var ok bool
		if v, _, ok = at(v, name); !ok {
			return false
		}
	}
	return true
}

// edit replaces what is at a path of a plain value that is the editor's own.
func edit(v any, path []string, hide func(any) any) {
	for i, name := range path {
		member, set, ok := at(v, name)
		if !ok {
			return
		}
		if i == len(path)-1 {
			set(hide(member))
		}
		v = member
	}
}
