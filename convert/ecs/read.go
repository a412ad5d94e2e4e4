package ecs

import (
	"io"
	"iter"
	"slices"
	"strconv"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// Format starts the records' ids.
const Format = "ecs"

// Read is a convert.Reader of documents, with nested objects or dotted names, as
// they are shipped or as Elasticsearch returns them: a hit's _source is the
// document. Fields are found by convert.Named; beyond it
//
//	operation          from event.type and event.category
//	request.duration   event.duration, which is in nanoseconds
//	targets            file.path where there is no other, and user.target.id
//
// What finds no field stays in the attributes, and the document's exact bytes
// are the original. Ids are those of convert.IDs: without the source where there
// is an event.id or an _id.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	own, ids := convert.NewIDs(Format, ""), convert.NewIDs(Format, source)
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		o, err := convert.DecodeObject(raw)
		if err != nil {
			return convert.One(attestlog.Event{}, err)
		}
		e := attestlog.Event{Original: raw}
		if has(o, "_id") || has(o, "event.id") || has(o.Object("_source"), "event.id") {
			e.ID = own.Next(raw)
		} else {
			e.ID = ids.Next(raw)
		}
		if hit := o.Object("_source"); hit != nil {
			delete(o, "_source")
			if len(o) > 0 {
				hit["_hit"] = map[string]any(o)
			}
			o = hit
		}
		read(&e, o)
		return convert.One(e, nil)
	})
}

// has reports whether there is a value at a dotted name.
func has(o convert.Object, dotted string) bool {
	_, ok := o.Lookup(dotted)
	return ok
}

func words(o convert.Object, dotted string) []string {
	v, _ := o.Lookup(dotted)
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func read(e *attestlog.Event, o convert.Object) {
	e.Operation = operation(words(o, "event.category"), words(o, "event.type"))
	if v, ok := o.Lookup("event.duration"); ok {
		if n, err := strconv.ParseInt(convert.Object{"v": v}.Text("v"), 10, 64); err == nil && n > 0 {
			e.Request.DurationUS = n / 1000
		}
	}
	for _, t := range [...]attestlog.Target{
		{Type: "user", ID: convert.Take(o, "user.target.id"), Name: convert.Take(o, "user.target.name")},
		{Type: "file", ID: convert.Take(o, "file.path")},
	} {
		if t.ID != "" || t.Name != "" {
			e.Targets = append(e.Targets, t)
		}
	}
	if path := convert.Take(o, "url.path", "url.original"); path != "" {
		e.Request.Path = path
	}
	convert.Named(e, o)
	convert.Bound(e)
}

// operation is the schema's event.type, which says the same.
func operation(category, kind []string) string {
	signIn := slices.Contains(category, "authentication") || slices.Contains(category, "session")
	for _, k := range kind {
		switch {
		case k == "start" && signIn:
			return "login"
		case k == "end" && signIn:
			return "logout"
		}
		if op := operations[k]; op != "" {
			return op
		}
	}
	return ""
}

var operations = map[string]string{
	"creation": "create", "change": "update", "deletion": "delete", "access": "read", "allowed": "approve", "denied": "deny",
}
