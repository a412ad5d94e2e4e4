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
//	id             audit.record.id, log.record.uid, or one of convert.IDs
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
// The original is the record with its resource and scope, as a document of its
// own, so a signature in audit.integrity.value can be checked still.
package otel

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// Format starts the ids of records that have none.
const Format = "otlp"

// Read is a convert.Reader of export requests, one after the other.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewIDs(Format, "")
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] { return each(request(raw, ids)) })
}

// An export request, with its records as they came.
type export struct {
	ResourceLogs []struct {
		part
		Resource  json.RawMessage `json:"resource"`
		ScopeLogs []struct {
			part
			Scope      json.RawMessage   `json:"scope"`
			LogRecords []json.RawMessage `json:"logRecords"`
		} `json:"scopeLogs"`
	} `json:"resourceLogs"`
}

// A part is what stands around records: the resource or the scope, and the schema
// of their attributes.
type part struct {
	SchemaURL json.RawMessage `json:"schemaUrl"`
	text      json.RawMessage
}

func request(raw []byte, ids *convert.IDs) ([]attestlog.Event, error) {
	if !bytes.Contains(raw, []byte(`"resourceLogs"`)) {
		return nil, errors.New("not an export request of logs: no resourceLogs")
	}
	var x export
	if err := json.Unmarshal(raw, &x); err != nil {
		return nil, fmt.Errorf("not an export request of logs: %v", err)
	}
	var all []attestlog.Event
	var refused error
	for _, rl := range x.ResourceLogs {
		rl.text = rl.Resource
		for _, sl := range rl.ScopeLogs {
			sl.text = sl.Scope
			for i, record := range sl.LogRecords {
				e, err := event(rl.part, sl.part, record, ids)
				if err != nil {
					refused = errors.Join(refused, fmt.Errorf("log record %d: %w", i, err))
					continue
				}
				all = append(all, e)
			}
		}
	}
	return all, refused
}

// document is a request of one record.
func document(resource, scope part, record json.RawMessage) []byte {
	var b bytes.Buffer
	write := func(before string, text json.RawMessage, after string) {
		if len(text) > 0 {
			b.WriteString(before)
			json.Compact(&b, text) // which json.Unmarshal has read
			b.WriteString(after)
		}
	}
	b.WriteString(`{"resourceLogs":[{`)
	write(`"resource":`, resource.text, `,`)
	b.WriteString(`"scopeLogs":[{`)
	write(`"scope":`, scope.text, `,`)
	write(`"logRecords":[`, record, `]`)
	write(`,"schemaUrl":`, scope.schema(), ``)
	b.WriteString(`}]`)
	write(`,"schemaUrl":`, resource.schema(), ``)
	b.WriteString(`}]}`)
	return b.Bytes()
}

// schema is what the schema's URL is, or nil.
func (p part) schema() json.RawMessage {
	if url := string(p.SchemaURL); url == `""` || url == "null" {
		return nil
	}
	return p.SchemaURL
}

func event(resource, scope part, record json.RawMessage, ids *convert.IDs) (attestlog.Event, error) {
	rec, err := convert.DecodeObject(record)
	if err != nil {
		return attestlog.Event{}, err
	}
	attributes, err := keyValues(rec["attributes"])
	if err != nil {
		return attestlog.Event{}, fmt.Errorf("attributes: %w", err)
	}
	o := convert.Object(attributes)
	e := attestlog.Event{ID: convert.Take(o, "audit.record.id", "log.record.uid"), Original: document(resource, scope, record)}
	if e.ID == "" {
		e.ID = ids.Next(e.Original)
	}
	if e.Time = nanos(rec, "timeUnixNano"); e.Time.IsZero() {
		e.Time = nanos(rec, "observedTimeUnixNano")
	}
	e.Trace = attestlog.Trace{TraceID: rec.Take("traceId"), SpanID: rec.Take("spanId")}
	audit(&e, o)
	if name := rec.Take("eventName"); name != "" {
		e.Action = name
	}
	if e.Action == "" {
		e.Action = convert.Take(o, "event.name")
	}
	if e.Action == "" {
		e.Action = o.Text("audit.action")
	}
	body, err := value(rec["body"])
	if err != nil {
		return attestlog.Event{}, fmt.Errorf("body: %w", err)
	}
	_, isText := rec.At("body", "stringValue") // bytes are not
	if text, ok := body.(string); ok && isText {
		e.Message = text
	} else if body != nil {
		put(o, "body", body)
	}
	for _, name := range [...]string{"attributes", "body"} {
		delete(rec, name)
	}
	if err := around(&e, o, resource, scope); err != nil {
		return attestlog.Event{}, err
	}
	for name, v := range rec { // severity, flags and what is new
		if v != "" {
			put(o, name, v)
		}
	}
	if e.Action == "" {
		e.Action = "log" // a message without a name
	}
	convert.Named(&e, o)
	convert.Bound(&e)
	return e, nil
}

// put adds a member under a name that is free.
func put(o convert.Object, name string, v any) {
	for {
		if _, taken := o[name]; !taken {
			o[name] = v
			return
		}
		name += "_"
	}
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

// around takes the service's name from the resource, and keeps the rest of what
// stands around the record.
func around(e *attestlog.Event, o convert.Object, resource, scope part) error {
	for name, p := range map[string]part{"resource": resource, "scope": scope} {
		members := convert.Object{}
		if len(p.text) > 0 {
			var err error
			if members, err = convert.DecodeObject(p.text); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			attributes, err := keyValues(members["attributes"])
			if err != nil {
				return fmt.Errorf("%s: attributes: %w", name, err)
			}
			delete(members, "attributes")
			if len(attributes) > 0 {
				members["attributes"] = attributes
			}
		}
		if name == "resource" {
			e.Service = members.Take("attributes", "service.name")
		}
		if url := p.schema(); len(url) > 0 {
			v, err := convert.Decode(url)
			if err != nil {
				return fmt.Errorf("%s: schemaUrl: %w", name, err)
			}
			put(members, "schemaUrl", v)
		}
		if len(members) > 0 {
			put(o, name, map[string]any(members))
		}
	}
	return nil
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
func keyValues(v any) (map[string]any, error) {
	out := map[string]any{}
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
		before, again := out[key]
		switch all, ok := before.(convert.Repeated); {
		case !again:
			out[key] = v
		case ok:
			out[key] = append(all, v)
		default:
			out[key] = convert.Repeated{before, v}
		}
	}
	return out, nil
}

// value reads an AnyValue. Bytes stay base64, as they came.
func value(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not an AnyValue")
	}
	for kind, of := range m {
		switch kind {
		case "stringValue", "boolValue", "doubleValue":
			return of, nil
		case "bytesValue":
			text, _ := of.(string)
			if _, err := base64.StdEncoding.DecodeString(text); err != nil {
				return nil, errors.New("bytesValue is not base64")
			}
			return text, nil
		case "intValue":
			if text, ok := of.(string); ok {
				if _, err := strconv.ParseInt(text, 10, 64); err != nil {
					return nil, errors.New("intValue is not a number")
				}
				return json.Number(text), nil
			}
			return of, nil
		case "arrayValue":
			inner, _ := of.(map[string]any)
			list, _ := inner["values"].([]any)
			out := make([]any, len(list))
			for i := range list {
				var err error
				if out[i], err = value(list[i]); err != nil {
					return nil, err
				}
			}
			return out, nil
		case "kvlistValue":
			inner, _ := of.(map[string]any)
			return keyValuesOrNone(inner["values"])
		}
	}
	return nil, nil
}

func keyValuesOrNone(v any) (any, error) {
	m, err := keyValues(v)
	return m, err
}

// each yields events, and then what else was wrong.
func each(all []attestlog.Event, err error) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(attestlog.Event{}, err)
		}
	}
}
