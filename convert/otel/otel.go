// Package otel reads and writes log records of OpenTelemetry in OTLP/JSON
// (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding"), those of the
// draft audit signal (OTEP 0267, data model of 2026) among them.
//
//	{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"webmail"}}]},
//	 "scopeLogs":[{"logRecords":[{"timeUnixNano":"1767261600000000000","eventName":"user.login.success",
//	 "attributes":[{"key":"audit.actor.id","value":{"stringValue":"alice"}},…]}]}]}]}
//
// A record becomes an event as follows. Attributes that other conventions name
// find their fields by convert.Named; what is left stays in the attributes under
// its own name, what else the record has as severity, flags, resource and scope,
// these two with their schemaUrl.
//
//	id             audit.record.id, or one of convert.IDs with the source
//	time           timeUnixNano, or else observedTimeUnixNano
//	service        the resource's service.name
//	action         eventName, event.name, or audit.action
//	operation      audit.action in lower case
//	outcome        audit.outcome
//	actor          audit.actor.id and type, or else enduser.id, user.id, …
//	source         audit.source.id, or else client.address, …
//	targets        audit.target.id and type
//	message        the body, if it is text
//	trace          traceId, spanId
//
// The original is the record in a request of its own, with all that stands around
// it but other lists and their records, so a signature in audit.integrity.value
// can be checked still.
//
// Lists under the names of older drafts, or in snake_case, are not read, and
// refused: ProtoJSON has them in lowerCamelCase. So is an object that has no list
// but members that could be one.
package otel

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// event maps one record, but for its id if it is no audit record.
func event(e *attestlog.Event, rec convert.Object, d document) error {
	o, err := keyValues(rec["attributes"])
	if err != nil {
		return fmt.Errorf("attributes: %w", err)
	}
	body, err := value(rec["body"])
	if err != nil {
		return fmt.Errorf("body: %w", err)
	}
	e.ID, e.Service = o.Take("audit.record.id"), d.resource.service
	if e.Time = nanos(rec, "timeUnixNano"); e.Time.IsZero() {
		e.Time = nanos(rec, "observedTimeUnixNano")
	}
	e.Trace = attestlog.Trace{TraceID: rec.Take("traceId"), SpanID: rec.Take("spanId")}
	audit(e, o)
	e.Action = rec.Take("eventName")
	if e.Action == "" {
		e.Action = convert.Take(o, "event.name")
	}
	if e.Action == "" {
		e.Action = o.Text("audit.action")
	}
	if e.Action == "" {
		e.Action = "log" // a message without a name
	}
	_, isText := rec.At("body", "stringValue") // bytes are not
	if text, ok := body.(string); ok && isText {
		e.Message = text
	} else if body != nil {
		o.Put("body", body)
	}
	delete(rec, "attributes")
	delete(rec, "body")
	for name, p := range d.parts() {
		if len(p.members) > 0 {
			o.Put(name, maps.Clone(map[string]any(p.members))) // from which Named may take
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rec)) { // severity, flags and what is new
		if v := rec[name]; v != "" {
			o.Put(name, v)
		}
	}
	convert.Named(e, o)
	return nil
}

func (d *document) parts() iter.Seq2[string, *part] {
	return func(yield func(string, *part) bool) { _ = yield("resource", d.resource) && yield("scope", d.scope) }
}

// audit takes what the audit signal names.
func audit(e *attestlog.Event, o convert.Object) {
	e.Operation = strings.ToLower(o.Text("audit.action"))
	if e.Outcome = convert.OutcomeOf(o.Text("audit.outcome")); string(e.Outcome) == o.Text("audit.outcome") {
		o.Take("audit.outcome")
	}
	e.Actor = attestlog.Actor{ID: convert.Take(o, "audit.actor.id", "enduser.id")}
	switch t := o.Text("audit.actor.type"); t {
	case "user", "service", "system":
		e.Actor.Type = o.Take("audit.actor.type")
	}
	from := o.Take("audit.source.id")
	if _, err := netip.ParseAddr(from); err == nil {
		e.Source.IP = from
	} else {
		e.Source.Host = from
	}
	if t := (attestlog.Target{ID: o.Take("audit.target.id"), Type: o.Take("audit.target.type")}); t != (attestlog.Target{}) {
		e.Targets = []attestlog.Target{t}
	}
}

// nanos takes a time. JSON has 64-bit numbers as text, and some write them as
// numbers.
func nanos(o convert.Object, name string) time.Time {
	n, err := strconv.ParseUint(o.Text(name), 10, 63)
	if err != nil || n == 0 {
		return time.Time{}
	}
	delete(o, name)
	return time.Unix(0, int64(n)).UTC()
}

// keyValues reads a list of KeyValue. A key that comes again has all its values.
func keyValues(v any) (convert.Object, error) {
	out := convert.Object{}
	list, ok := v.([]any)
	if v != nil && !ok {
		return nil, errors.New("not a list")
	}
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			return nil, errors.New("not a list of objects")
		}
		key, _ := m["key"].(string)
		v, err := value(m["value"])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", key, err)
		}
		out.Add(key, v)
	}
	return out, nil
}

// value reads an AnyValue, which has one member at most. Bytes stay base64, as
// they came, and so do values of a kind that is new and those nested too deep.
func value(v any) (any, error) {
	var m map[string]any
	switch v := v.(type) {
	case nil, loosejson.JSONText:
		return v, nil
	case map[string]any:
		m = v
	}
	if m == nil || len(m) > 1 {
		return nil, errors.New("not an AnyValue")
	}
	for kind, of := range m {
		switch of.(type) {
		case nil, loosejson.JSONText:
			return of, nil
		case loosejson.Repeated:
			return nil, fmt.Errorf("not an AnyValue: more than one %s", kind)
		}
		switch kind {
		case "stringValue", "boolValue", "doubleValue":
			return of, nil
		case "bytesValue":
			text, ok := of.(string)
			if _, err := base64.StdEncoding.DecodeString(text); err != nil || !ok {
				return nil, errors.New("bytesValue is not base64")
			}
			return text, nil
		case "intValue":
			return integer(of)
		case "arrayValue", "kvlistValue":
			return values(kind, of)
		}
		return v, nil
	}
	return nil, nil
}

func integer(v any) (any, error) {
	text, ok := v.(string)
	if !ok {
		return v, nil
	}
	if _, err := strconv.ParseInt(text, 10, 64); err != nil {
		return nil, errors.New("intValue is not a number")
	}
	return json.Number(text), nil
}

// values reads an ArrayValue or a KeyValueList.
func values(kind string, v any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is not an object", kind)
	}
	if deep, ok := m["values"].(loosejson.JSONText); ok {
		return deep, nil
	}
	list, ok := m["values"].([]any)
	if m["values"] != nil && !ok {
		return nil, fmt.Errorf("%s has no list", kind)
	}
	if len(list) > 0 {
		if _, deep := list[0].(loosejson.JSONText); deep { // and so are all others
			return list, nil
		}
	}
	if kind == "kvlistValue" {
		out, err := keyValues(m["values"])
		return map[string]any(out), err
	}
	out := make([]any, len(list))
	for i := range list {
		var err error
		if out[i], err = value(list[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}
