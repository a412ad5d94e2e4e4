package ecs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/internal/loosejson"
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
// are the original; event.original goes, for the original has it. Ids are those
// of convert.IDs: without the source where there is an event.id or an _id.
//
// A list of one value is that value, where it finds a field: Elasticsearch's
// fields are all lists. The hits of a search's answer are read one by one.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewMixedIDs(Format, source)
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		if lists := answer(raw); len(lists) > 0 {
			return hits(lists, ids)
		}
		return convert.One(record(raw, ids))
	})
}

// answer returns the hits of a search's answer, which has one list of them.
func answer(raw []byte) (lists [][]byte) {
	for outer := range loosejson.Members(raw) {
		if isDocument(outer.Name) || outer.Name == "_source" {
			return nil
		}
		if outer.Name != "hits" {
			continue
		}
		for inner := range loosejson.Members(outer.Raw) {
			if inner.Name == "hits" && len(inner.Raw) > 0 && inner.Raw[0] == '[' {
				lists = append(lists, inner.Raw)
			}
		}
	}
	return lists
}

func hits(lists [][]byte, ids *convert.MixedIDs) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		i := 0
		for _, list := range lists {
			for hit, err := range loosejson.Items(list) {
				var e attestlog.Event
				if err == nil {
					e, err = record(bytes.Clone(hit), ids)
				}
				if err != nil {
					err = fmt.Errorf("hits.hits[%d]: %w", i, err)
				}
				if !yield(e, err) {
					return
				}
				i++
			}
		}
	}
}

// isDocument reports whether a name is one that every document of the schema has
// one of.
func isDocument(name string) bool {
	return name == "@timestamp" || name == "ecs.version" || name == "event" || strings.HasPrefix(name, "event.")
}

// record maps a document or a hit. The event keeps raw.
func record(raw []byte, ids *convert.MixedIDs) (attestlog.Event, error) {
	o, err := convert.DecodeObject(raw)
	if err != nil {
		return attestlog.Event{}, err
	}
	own := has(o, "_id")
	if hit := o.Object("_source"); hit != nil {
		delete(o, "_source")
		if len(o) > 0 {
			hit.Put("_hit", map[string]any(o))
		}
		o = hit
	}
	known := o.Object("ecs").Text("version") != "" || o.Object("event") != nil
	for name := range o {
		known = known || isDocument(name) && name != "event"
	}
	if !known {
		return attestlog.Event{}, errors.New("not a document of ECS: no @timestamp, ecs.version or event")
	}
	e := attestlog.Event{ID: ids.Next(raw, own || has(o, "event.id")), Original: raw}
	read(&e, o)
	return e, nil
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
	o.Drop("event.original")
	for _, name := range fields {
		o.Unwrap(name)
	}
	for name := range convert.Names() {
		if name != "event.type" { // which is a list by the schema
			o.Unwrap(name)
		}
	}
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
	convert.Finish(e)
}

// fields are those that read knows beyond convert.Named.
var fields = [...]string{"event.duration", "file.path", "url.original", "user.target.id", "user.target.name"}

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
