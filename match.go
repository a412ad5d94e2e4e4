package attestlog

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A queryField is one searchable field. values calls yield with each value
// that the entry has of it.
type queryField struct {
	name     string
	pointer  string // of the declared field, where it can be sealed
	prefixes string // field of its dotted prefixes' terms
	text     bool   // its words are searched by free text
	values   func(e *Event, yield func(string))
}

func one(of func(*Event) string) func(*Event, func(string)) {
	return func(e *Event, yield func(string)) {
		if v := of(e); v != "" {
			yield(v)
		}
	}
}

func eachTarget(of func(*Target) string) func(*Event, func(string)) {
	return func(e *Event, yield func(string)) {
		for i := range e.Targets {
			if v := of(&e.Targets[i]); v != "" {
				yield(v)
			}
		}
	}
}

// queryFields is the query language's list of fields; attributes.* come on top.
var queryFields = []queryField{
	{name: "action", prefixes: "action.*", values: one(func(e *Event) string { return e.Action })},
	{name: "actor", pointer: "/actor/id", values: one(func(e *Event) string { return e.Actor.ID })},
	{name: "actor.name", pointer: "/actor/name", text: true, values: one(func(e *Event) string { return e.Actor.Name })},
	{name: "actor.on_behalf_of", pointer: "/actor/on_behalf_of", values: one(func(e *Event) string { return e.Actor.OnBehalfOf })},
	{name: "actor.session", pointer: "/actor/session", values: one(func(e *Event) string { return e.Actor.Session })},
	{name: "actor.type", values: one(func(e *Event) string { return e.Actor.Type })},
	{name: "change", values: func(e *Event, yield func(string)) {
		for i := range e.Changes {
			if p := e.Changes[i].Path; p != "" {
				yield(p)
			}
		}
	}},
	{name: "host", pointer: "/source/host", values: one(func(e *Event) string { return e.Source.Host })},
	{name: "id", values: one(func(e *Event) string { return e.ID })},
	{name: "ip", pointer: "/source/ip", values: one(func(e *Event) string { return e.Source.IP })},
	{name: "message", pointer: "/message", text: true, values: one(func(e *Event) string { return e.Message })},
	{name: "module", prefixes: "module.*", values: one(func(e *Event) string { return e.Module })},
	{name: "operation", values: one(func(e *Event) string { return e.Operation })},
	{name: "outcome", values: one(func(e *Event) string { return string(e.Outcome) })},
	{name: "reason", pointer: "/reason", text: true, values: one(func(e *Event) string { return e.Reason })},
	{name: "request.id", values: one(func(e *Event) string { return e.Request.ID })},
	{name: "request.method", values: one(func(e *Event) string { return e.Request.Method })},
	{name: "request.path", pointer: "/request/path", values: one(func(e *Event) string { return e.Request.Path })},
	{name: "request.route", values: one(func(e *Event) string { return e.Request.Route })},
	{name: "request.status", values: one(func(e *Event) string {
		if e.Request.Status == 0 {
			return ""
		}
		return strconv.Itoa(e.Request.Status)
	})},
	{name: "service", prefixes: "service.*", values: one(func(e *Event) string { return e.Service })},
	{name: "span", values: one(func(e *Event) string { return e.Trace.SpanID })},
	{name: "target", values: eachTarget(func(t *Target) string {
		if t.Type == "" || t.ID == "" {
			return ""
		}
		return t.Type + "/" + t.ID
	})},
	{name: "target.id", values: eachTarget(func(t *Target) string { return t.ID })},
	{name: "target.name", text: true, values: eachTarget(func(t *Target) string { return t.Name })},
	{name: "target.type", values: eachTarget(func(t *Target) string { return t.Type })},
	{name: "tenant", values: one(func(e *Event) string { return e.Tenant })},
	{name: "trace", values: one(func(e *Event) string { return e.Trace.TraceID })},
	{name: "user_agent", pointer: "/source/user_agent", values: one(func(e *Event) string { return e.Source.UserAgent })},
}

// fieldAliases are the JSON names of fields that the language calls shorter.
var fieldAliases = map[string]string{
	"actor.id": "actor", "source.ip": "ip", "source.host": "host", "source.user_agent": "user_agent",
	"trace.trace_id": "trace", "trace.span_id": "span", "trace_id": "trace", "span_id": "span",
	"changes.path": "change", "status": "request.status", "method": "request.method",
	"path": "request.path", "route": "request.route", "session": "actor.session",
}

// FieldNames returns the names that the query language knows, sorted, without
// the attributes.
func FieldNames() []string {
	names := []string{"after", "before", "index", "order", "time"}
	for i := range queryFields {
		names = append(names, queryFields[i].name)
	}
	slices.Sort(names)
	return names
}

func lookupField(name string) (queryField, error) {
	if full, ok := fieldAliases[name]; ok {
		name = full
	}
	for i := range queryFields {
		if queryFields[i].name == name {
			return queryFields[i], nil
		}
	}
	if path, ok := strings.CutPrefix(name, "attributes."); ok && path != "" {
		top, _, _ := strings.Cut(path, ".")
		return queryField{name: name, pointer: attributePointer(top), values: func(e *Event, yield func(string)) {
			attributeValues(e.Attributes, "attributes", name, yield)
		}}, nil
	}
	return queryField{}, fmt.Errorf("unknown field %q", name)
}

// attributeValues yields the scalars whose dotted path is want. Names may hold
// dots themselves, so every path that reads the same is one.
func attributeValues(v any, path, want string, yield func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for name, kid := range v {
			p := path + "." + name
			if p == want || strings.HasPrefix(want, p+".") {
				attributeValues(kid, p, want, yield)
			}
		}
	case []any:
		for _, kid := range v {
			attributeValues(kid, path, want, yield)
		}
	case string:
		if path == want {
			yield(v)
		}
	default:
		if path == want {
			yield(string(appendScalar(nil, v)))
		}
	}
}

// Match reports whether e is one of the entries that q selects. It looks at
// the entry alone, never at an index.
func (q Query) Match(e *Entry) bool {
	return q.err == nil && (q.node == nil || q.node.match(e))
}

func (n *node) match(e *Entry) bool {
	switch n.kind {
	case kindAnd:
		return !slices.ContainsFunc(n.kids, func(k *node) bool { return !k.match(e) })
	case kindOr:
		return slices.ContainsFunc(n.kids, func(k *node) bool { return k.match(e) })
	case kindNot:
		return !n.kids[0].match(e)
	case kindIndex:
		return n.from <= e.Index && e.Index < n.to
	case kindTime:
		return (n.after.IsZero() || !e.Time.Before(n.after)) && (n.before.IsZero() || e.Time.Before(n.before))
	case kindNet:
		addr, err := netip.ParseAddr(e.Source.IP)
		return err == nil && n.net.Contains(addr.WithZone(""))
	case kindText:
		return matchText(e, " "+n.value+" ")
	}
	f, err := lookupField(n.field)
	if err != nil {
		return false
	}
	found := false
	f.values(&e.Event, func(v string) {
		found = found || n.kind == kindField && v == n.value || n.kind == kindPrefix && strings.HasPrefix(v, n.value)
	})
	return found
}

// matchText looks for a phrase, padded with spaces, in each text of e.
func matchText(e *Entry, phrase string) bool {
	found := false
	look := func(text string) {
		found = found || strings.Contains(" "+strings.Join(splitWords(text), " ")+" ", phrase)
	}
	for i := range queryFields {
		if queryFields[i].text {
			queryFields[i].values(&e.Event, look)
		}
	}
	attributeTexts(e.Attributes, look)
	return found
}

func attributeTexts(v any, look func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for _, kid := range v {
			attributeTexts(kid, look)
		}
	case []any:
		for _, kid := range v {
			attributeTexts(kid, look)
		}
	case string:
		look(v)
	}
}
