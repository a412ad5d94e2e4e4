// Package ecs reads documents of the Elastic Common Schema as events, and
// writes entries as such documents.
//
// The schema is that of elastic.co/guide/en/ecs, version 9.0.0. Fields are
// nested objects, or names with dots:
//
//	{"@timestamp":"2026-03-01T10:00:00.123Z","ecs":{"version":"9.0.0"},
//	 "event":{"action":"user-login","category":["authentication"],"type":["start"],
//	 "outcome":"failure"},"user":{"id":"alice"},"source":{"ip":"192.0.2.7"},
//	 "service":{"name":"sshd"}}
//
// Read takes documents as they are shipped or as Elasticsearch returns them:
// the _source of a hit is the document, and the hits of a search's answer are
// read one by one.
//
// # Reading
//
// A document becomes an event as follows.
//
//	operation         from event.type and event.category
//	targets           user.target.id and name, file.path, and by convert.Named
//	request.path      url.path, or url.original
//	request.duration  event.duration, which is in nanoseconds
//	all others        by convert.Named
//
// A list of one value is that value, if it finds a field: what Elasticsearch
// returns as fields are all lists. Everything else stays in the attributes
// under its own name, except event.original, and what a hit has around its
// document is in attributes._hit. The exact bytes of the document or the hit
// are the original.
//
// # Ids
//
// Ids are those of convert.IDs: without the source if there is an event.id or
// an _id, because an equal record is then the same one, delivered again.
//
// # Writing
//
// Append writes an entry as one document whose field names have dots. What the
// schema has no field for has a name that starts with "attestlog.". It is a
// view: the leaf is not in it, and it proves nothing.
package ecs

import (
	"bytes"
	"errors"
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

// Version is the schema's.
const Version = "9.0.0"

// Read is a convert.Reader of documents, hits and answers.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewMixedIDs(Format, source)
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		if lists := answer(raw); len(lists) > 0 {
			return convert.Items(lists, "hits.hits", func(item []byte) (attestlog.Event, error) {
				return event(item, ids)
			})
		}
		return convert.One(event(raw, ids))
	})
}

// answer returns the lists of hits of a search's answer, of which it should
// have one, or none if raw is not an answer.
func answer(raw []byte) (lists [][]byte) {
	for outer := range loosejson.Members(raw) {
		if isDocumentName(outer.Name) || outer.Name == "_source" {
			return nil
		}
		if outer.Name != "hits" {
			continue
		}
		for inner := range loosejson.Members(outer.Raw) {
			if inner.Name == "hits" && bytes.HasPrefix(inner.Raw, []byte("[")) {
				lists = append(lists, inner.Raw)
			}
		}
	}
	return lists
}

var errNotRecord = errors.New("not a document of ECS: no @timestamp, ecs.version or event")

// event maps one document or hit. The event keeps raw.
func event(raw []byte, ids *convert.MixedIDs) (attestlog.Event, error) {
	o, err := convert.DecodeObject(raw)
	if err != nil {
		return attestlog.Event{}, err
	}

	// A hit has its document in _source, and the rest of it around that.
	hasID := has(o, "_id")
	if document := o.Object("_source"); document != nil {
		delete(o, "_source")
		if len(o) > 0 {
			document.Put("_hit", map[string]any(o))
		}
		o = document
	}
	if !isDocument(o) {
		return attestlog.Event{}, errNotRecord
	}

	e := attestlog.Event{
		ID:        ids.Next(raw, hasID || has(o, "event.id")),
		Operation: operation(o),
		Original:  raw,
	}
	o.Drop("event.original") // the record's bytes have it
	unwrap(o)
	e.Targets = targets(o)
	e.Request = attestlog.Request{
		Path:       convert.Take(o, "url.path", "url.original"),
		DurationUS: duration(o),
	}

	convert.Named(&e, o)
	convert.Finish(&e)
	return e, nil
}

// isDocument reports whether o has one of the fields that every document has.
func isDocument(o convert.Object) bool {
	if o.Object("ecs").Text("version") != "" || o.Object("event") != nil {
		return true
	}
	for name := range o {
		// "event" alone may be any program's.
		if isDocumentName(name) && name != "event" {
			return true
		}
	}
	return false
}

// isDocumentName reports whether a name is one of those of which every document
// has one.
func isDocumentName(name string) bool {
	return name == "@timestamp" || name == "ecs.version" || name == "event" || strings.HasPrefix(name, "event.")
}

// has reports whether there is a value at a dotted name.
func has(o convert.Object, dotted string) bool {
	_, ok := o.Lookup(dotted)
	return ok
}

// operations map event.type to operations.
var operations = map[string]string{
	"creation": "create",
	"change":   "update",
	"deletion": "delete",
	"access":   "read",
	"allowed":  "approve",
	"denied":   "deny",
}

func operation(o convert.Object) string {
	category := words(o, "event.category")
	isSignIn := slices.Contains(category, "authentication") || slices.Contains(category, "session")
	for _, kind := range words(o, "event.type") {
		switch {
		case kind == "start" && isSignIn:
			return "login"
		case kind == "end" && isSignIn:
			return "logout"
		case operations[kind] != "":
			return operations[kind]
		}
	}
	return ""
}

// words returns the strings in a list at a dotted name, or the string there.
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

// unwrap replaces lists of one value by the value, where a field is looked for.
// It leaves event.type alone, which is a list by the schema.
func unwrap(o convert.Object) {
	for _, name := range [...]string{
		"event.duration", "file.path", "url.original", "user.target.id", "user.target.name",
	} {
		o.Unwrap(name)
	}
	for name := range convert.Names() {
		if name != "event.type" {
			o.Unwrap(name)
		}
	}
}

// targets returns those that convert.Named does not find.
func targets(o convert.Object) []attestlog.Target {
	var targets []attestlog.Target
	for _, t := range [...]attestlog.Target{
		{Type: "user", ID: convert.Take(o, "user.target.id"), Name: convert.Take(o, "user.target.name")},
		{Type: "file", ID: convert.Take(o, "file.path")},
	} {
		if t.ID != "" || t.Name != "" {
			targets = append(targets, t)
		}
	}
	return targets
}

// duration returns event.duration in microseconds, or 0. It stays in the
// attributes too.
func duration(o convert.Object) int64 {
	v, _ := o.Lookup("event.duration")
	text := convert.Object{"v": v}.Text("v")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0
	}
	return n / 1000
}
