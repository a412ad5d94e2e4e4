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

// Attribute holds the context attributes that have no field.
const Attribute = "cloudevent"

// Read is a convert.Reader of events in the JSON format, one after the other or
// in batches. An event becomes one of the log's as follows, and its exact bytes
// are the original.
//
//	action    type
//	time      time
//	service   source
//	targets   subject, as type/id where it has a slash
//	actor     authid and authtype (the auth context extension), or from the data
//	trace     traceparent
//
// Data that is an event of this log's own schema is taken as that, its attributes
// as they are. Data that is an entry, as Append writes it, becomes the event that
// it was, id and time included; attributes.imported holds what the log had added
// and the log's name. Of any other JSON object, members find their fields by
// convert.Named. What else there is in the context stands in
// attributes.cloudevent, what else is in the data in the attributes, or under
// "data" if it is no object. An event that came with an original keeps it.
//
// Ids are those of convert.IDs, without the source: an event carries its own
// identity, and an equal one is the same one, delivered again.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewIDs(Format, "")
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		return convert.One(read(raw, ids))
	})
}

func read(raw []byte, ids *convert.IDs) (attestlog.Event, error) {
	o, err := convert.DecodeObject(raw)
	if err != nil {
		return attestlog.Event{}, err
	}
	for _, name := range [...]string{"specversion", "id", "source", "type"} { // CloudEvents 1.0.2, "REQUIRED Attributes"
		if o.Text(name) == "" {
			return attestlog.Event{}, fmt.Errorf("not a CloudEvent: no %s", name)
		}
	}
	if v := o.Text("specversion"); !strings.HasPrefix(v, "1.") {
		return attestlog.Event{}, fmt.Errorf("a CloudEvent of specversion %q, not 1.0", v)
	}
	switch data := dataOf(raw); {
	case data == nil:
	case o.Object("data")["leaf_hash"] != nil:
		if e, ok := entry(data, o); ok {
			if e.ID == "" {
				e.ID = ids.Next(raw)
			}
			complete(&e, raw)
			return e, nil
		}
	default:
		if e, err := attestlog.ParseEvent(data); err == nil {
			native(&e, o)
			e.ID = ids.Next(raw)
			complete(&e, raw)
			return e, nil
		}
	}
	e := attestlog.Event{ID: ids.Next(raw), Original: raw}
	data := payload(o)
	context(&e, o)
	if len(o) > 0 {
		if _, taken := data[Attribute]; taken {
			data = map[string]any{"data": map[string]any(data)}
		}
		data[Attribute] = map[string]any(o)
	}
	convert.Named(&e, data)
	convert.Finish(&e)
	return e, nil
}

// dataOf returns the event's data as it came, or nil if there is none or more
// than one.
func dataOf(raw []byte) (data []byte) {
	for m := range loosejson.Members(raw) {
		if m.Name == "data" {
			if data != nil {
				return nil
			}
			data = m.Raw
		}
	}
	return data
}

// complete is for an event of this log's own schema: what it has stays as it is.
func complete(e *attestlog.Event, raw []byte) {
	if len(e.Original) == 0 {
		e.Original = raw
	}
	if e.Time.IsZero() {
		fit.Undated(e)
	}
	fit.Event(e)
}

// native adds the context to an event of this log's own schema.
func native(e *attestlog.Event, o convert.Object) {
	delete(o, "data")
	context(e, o)
	if e.ID != "" {
		o.Put("dataid", e.ID)
	}
	if len(o) > 0 {
		if e.Attributes == nil {
			e.Attributes = map[string]any{}
		}
		convert.Object(e.Attributes).Put(Attribute, map[string]any(o))
	}
}

// payload takes the data out of an event, as an object whose members are looked
// at.
func payload(o convert.Object) convert.Object {
	defer delete(o, "data")
	switch v := o["data"].(type) {
	case map[string]any:
		return v
	case nil:
		return convert.Object{}
	default:
		return convert.Object{"data": v}
	}
}

// authTypes are those of the auth context extension.
var authTypes = map[string]string{
	"app_user": "user", "user": "user", "service_account": "service", "api_key": "service", "system": "system", "unauthenticated": "anonymous",
}

// context gives an event what it lacks and its context has.
func context(e *attestlog.Event, o convert.Object) {
	if e.Action == "" {
		e.Action = o.Take("type")
	}
	if e.Service == "" {
		e.Service = o.Take("source")
	}
	if at, ok := convert.ParseTime(o.Text("time"), time.RFC3339); ok && e.Time.IsZero() {
		e.Time = at
		o.Take("time")
	}
	if e.Actor.ID == "" {
		e.Actor.ID = o.Take("authid")
		if t := authTypes[o.Text("authtype")]; t != "" {
			e.Actor.Type = t
		}
		if e.Actor.ID == "" && e.Actor.Type == "anonymous" {
			e.Actor.ID = "anonymous"
		}
	}
	if subject := o.Text("subject"); subject != "" && len(e.Targets) == 0 {
		t := attestlog.Target{ID: o.Take("subject")}
		if kind, id, ok := strings.Cut(t.ID, "/"); ok && kind != "" && id != "" {
			t.Type, t.ID = kind, id
		}
		e.Targets = []attestlog.Target{t}
	}
	// 00-TRACE-SPAN-FLAGS (W3C Trace Context)
	if parts := strings.Split(o.Text("traceparent"), "-"); len(parts) == 4 && len(parts[1]) == 32 && len(parts[2]) == 16 && e.Trace.TraceID == "" {
		e.Trace = attestlog.Trace{TraceID: parts[1], SpanID: parts[2]}
	}
}
