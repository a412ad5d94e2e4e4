// Package cloudevents reads CloudEvents as events, and writes entries as
// CloudEvents.
//
// The format is that of cloudevents.io, version 1.0.2: the JSON event format,
// and the binary mode of the HTTP protocol binding, which Structured turns into
// JSON.
//
//	{"specversion":"1.0","id":"1","source":"/webmail","type":"mail.viewed",
//	 "subject":"mail/7","time":"2026-03-01T10:00:00Z","authtype":"user","authid":"alice",
//	 "datacontenttype":"application/json","data":{"ip":"192.0.2.7","outcome":"success"}}
//
// Read takes events one after the other, and batches.
//
// # Reading
//
// A CloudEvent becomes an event as follows.
//
//	time     time
//	service  source
//	action   type
//	actor    authid and authtype (the auth context extension), or from the data
//	targets  subject, as type/id if it has a slash
//	trace    traceparent
//
// Members of data that is a JSON object fill the other fields by convert.Named;
// the other members are attributes. Other data is the attribute data.
// Everything else in the context is in attributes.cloudevent. The CloudEvent's
// exact bytes are the original.
//
// Data that is an event of this log's own schema is taken as that event, and
// its attributes stay as they are. Data that is an entry, as Append writes it,
// becomes the event that it was, id and time included; attributes.imported
// holds what the log had added, and the log's name. Such an event keeps the
// original that it had.
//
// # Ids
//
// Ids are those of convert.IDs, without the source: a CloudEvent carries its
// own identity, and an equal one is the same one, delivered again.
//
// # Writing
//
// Append writes an entry as one CloudEvent whose data is the entry.
package cloudevents

import (
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// Format starts the records' ids.
const Format = "cloudevents"

// Attribute is the name of the attribute that holds the context attributes that
// have no field.
const Attribute = "cloudevent"

// Read is a convert.Reader of events in the JSON format, one after the other or
// in batches.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewIDs(Format, "")
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		return convert.One(event(raw, ids))
	})
}

// event maps one record. The event keeps raw, unless it had an original of its
// own.
func event(raw []byte, ids *convert.IDs) (attestlog.Event, error) {
	o, err := convert.DecodeObject(raw)
	if err != nil {
		return attestlog.Event{}, err
	}
	if err := check(o); err != nil {
		return attestlog.Event{}, err
	}

	// What has this log's own schema stays as it is; nothing is looked for in
	// it.
	if e, ok := own(dataOf(raw), o); ok {
		if e.ID == "" {
			e.ID = ids.Next(raw)
		}
		if len(e.Original) == 0 {
			e.Original = raw
		}
		if e.Time.IsZero() {
			fit.Undated(&e)
		}
		fit.Event(&e)
		return e, nil
	}

	e := attestlog.Event{ID: ids.Next(raw), Original: raw}
	data := members(o["data"])
	delete(o, "data")
	context(&e, o)
	if len(o) > 0 {
		if _, taken := data[Attribute]; taken {
			data = convert.Object{"data": map[string]any(data)}
		}
		data[Attribute] = map[string]any(o)
	}

	convert.Named(&e, data)
	convert.Finish(&e)
	return e, nil
}

// check says why o is not a CloudEvent (CloudEvents 1.0.2, "REQUIRED
// Attributes").
func check(o convert.Object) error {
	for _, name := range [...]string{"specversion", "id", "source", "type"} {
		if o.Text(name) == "" {
			return fmt.Errorf("not a CloudEvent: no %s", name)
		}
	}
	if v := o.Text("specversion"); !strings.HasPrefix(v, "1.") {
		return fmt.Errorf("a CloudEvent of specversion %q, not 1.0", v)
	}
	return nil
}

// dataOf returns the data of an event as it came, or nil if there is none or
// more than one.
func dataOf(raw []byte) (data []byte) {
	for m := range loosejson.Members(raw) {
		if m.Name != "data" {
			continue
		}
		if data != nil {
			return nil
		}
		data = m.Raw
	}
	return data
}

// own reads data of this log's own schema, an entry or an event, and adds the
// context o to it. Data of another schema is not ok, and leaves o as it is.
func own(data []byte, o convert.Object) (e attestlog.Event, ok bool) {
	if data == nil {
		return e, false
	}
	if o.Object("data")["leaf_hash"] != nil {
		return entry(data, o)
	}
	e, err := attestlog.ParseEvent(data)
	if err != nil {
		return e, false
	}

	delete(o, "data")
	context(&e, o)
	if e.ID != "" {
		o.Put("dataid", e.ID)
		e.ID = ""
	}
	addContext(&e, o)
	return e, true
}

// addContext adds the rest of the context to the attributes.
func addContext(e *attestlog.Event, o convert.Object) {
	if len(o) == 0 {
		return
	}
	if e.Attributes == nil {
		e.Attributes = map[string]any{}
	}
	convert.Object(e.Attributes).Put(Attribute, map[string]any(o))
}

// members returns those of data that is an object, or other data as the only
// member.
func members(data any) convert.Object {
	switch data := data.(type) {
	case map[string]any:
		return data
	case nil:
		return convert.Object{}
	}
	return convert.Object{"data": data}
}

// context fills the fields that an event lacks from its context attributes.
func context(e *attestlog.Event, o convert.Object) {
	if e.Time.IsZero() {
		e.Time = when(o)
	}
	if e.Service == "" {
		e.Service = o.Take("source")
	}
	if e.Action == "" {
		e.Action = o.Take("type")
	}
	if e.Actor.ID == "" {
		e.Actor = actor(o)
	}
	if len(e.Targets) == 0 {
		e.Targets = targets(o)
	}
	if t, ok := trace(o); ok && e.Trace.TraceID == "" {
		e.Trace = t
	}
}

func when(o convert.Object) time.Time {
	t, ok := convert.ParseTime(o.Text("time"), time.RFC3339)
	if ok {
		o.Take("time")
	}
	return t
}

// authTypes map those of the auth context extension to an actor's types.
var authTypes = map[string]string{
	"app_user":        "user",
	"user":            "user",
	"service_account": "service",
	"api_key":         "service",
	"system":          "system",
	"unauthenticated": "anonymous",
}

func actor(o convert.Object) attestlog.Actor {
	a := attestlog.Actor{ID: o.Take("authid"), Type: authTypes[o.Text("authtype")]}
	if a.ID == "" && a.Type == "anonymous" {
		a.ID = "anonymous"
	}
	return a
}

func targets(o convert.Object) []attestlog.Target {
	subject := o.Take("subject")
	if subject == "" {
		return nil
	}
	kind, id, ok := strings.Cut(subject, "/")
	if !ok || kind == "" || id == "" {
		return []attestlog.Target{{ID: subject}}
	}
	return []attestlog.Target{{Type: kind, ID: id}}
}

// trace reads traceparent, 00-TRACE-SPAN-FLAGS (W3C Trace Context, Section
// 3.2). It stays in the attributes, for its flags.
func trace(o convert.Object) (t attestlog.Trace, ok bool) {
	parts := strings.Split(o.Text("traceparent"), "-")
	if len(parts) != 4 || len(parts[1]) != 32 || len(parts[2]) != 16 {
		return t, false
	}
	return attestlog.Trace{TraceID: parts[1], SpanID: parts[2]}, true
}
