// Package otel reads log records of OpenTelemetry as events, and writes entries
// as such records, in OTLP/JSON.
//
// The format is that of opentelemetry.io/docs/specs/otlp, "JSON Protobuf
// Encoding"; records of the draft audit signal (OTEP 0267, data model of 2026)
// are among those read, and are what is written. An export request is one
// object:
//
//	{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"webmail"}}]},
//	 "scopeLogs":[{"logRecords":[{"timeUnixNano":"1767261600000000000","eventName":"user.login.success",
//	 "attributes":[{"key":"audit.actor.id","value":{"stringValue":"alice"}},
//	  {"key":"audit.action","value":{"stringValue":"LOGIN"}},
//	  {"key":"audit.outcome","value":{"stringValue":"success"}}]}]}]}]}
//
// Read takes requests one after the other.
//
// # Reading
//
// A record becomes an event as follows.
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
//	trace          traceId, spanId
//	message        the body, if it is text
//
// Attributes with the names of other conventions find their fields by
// convert.Named. Everything else stays in the attributes: an attribute under
// its own name, any other body as body, and what else the record has under its
// own name, such as severityText and flags. The resource and the scope, each
// with its schemaUrl, are the attributes resource and scope.
//
// The original is the record in a request of its own, with everything around it
// except other lists and their records, so that a signature in
// audit.integrity.value can still be checked.
//
// A list under the name of an older draft, or in snake_case, is not read, and
// the request is refused at that place: ProtoJSON has lists in lowerCamelCase.
// So is an object that has no list, but members that could be one.
//
// # Writing
//
// Append writes an entry as an export request of one audit record. What the
// audit signal and the semantic conventions have no name for is an attribute
// whose name starts with "attestlog.". It is a view: the leaf is not in it, and
// it proves nothing.
//
// The signal wants an actor of type user, service or system, an action and an
// outcome. An actor without an id is unknown, and one of another type is a user.
// Without an operation, the action is the last part of the entry's action.
// Without an outcome, it is unknown. Attributes hold the times that OTLP has no
// number for, up to the start of 1970, and ids that are not of W3C Trace
// Context.
package otel

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
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
	ids := convert.NewIDs(Format, source)
	return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		return func(yield func(attestlog.Event, error) bool) {
			q := request{ids: ids, yield: yield}
			q.object(raw, 0, "", document{})
		}
	})
}

// mapRecord maps one record. It takes the members of o. The event has no
// original, no bounds, and no id if the record is not of the audit signal.
func mapRecord(o convert.Object, d document) (attestlog.Event, error) {
	attributes, err := keyValues(o["attributes"])
	if err != nil {
		return attestlog.Event{}, fmt.Errorf("attributes: %w", err)
	}
	body, err := value(o["body"])
	if err != nil {
		return attestlog.Event{}, fmt.Errorf("body: %w", err)
	}

	e := attestlog.Event{
		ID:        attributes.Take("audit.record.id"),
		Time:      when(o),
		Service:   d.resource.service,
		Operation: strings.ToLower(attributes.Text("audit.action")),
		Outcome:   outcome(attributes),
		Actor:     actor(attributes),
		Source:    convert.SourceOf(attributes.Take("audit.source.id")),
		Targets:   targets(attributes),
		Trace:     attestlog.Trace{TraceID: o.Take("traceId"), SpanID: o.Take("spanId")},
	}
	e.Action = action(o, attributes)

	_, isText := o.At("body", "stringValue") // bytes are a string too, in base64
	text, isString := body.(string)
	switch {
	case isText && isString:
		e.Message = text
	case body != nil:
		attributes.Put("body", body)
	}
	delete(o, "attributes")
	delete(o, "body")

	// Named may take from the resource and the scope, which the other records
	// share.
	for _, p := range [...]*part{d.resource, d.scope} {
		if len(p.members) > 0 {
			attributes.Put(p.name, maps.Clone(map[string]any(p.members)))
		}
	}

	// The rest of the record: its severity, flags and whatever is new.
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if v := o[name]; v != "" {
			attributes.Put(name, v)
		}
	}

	convert.Named(&e, attributes)
	return e, nil
}

func when(o convert.Object) time.Time {
	for _, name := range [...]string{"timeUnixNano", "observedTimeUnixNano"} {
		// JSON has 64-bit numbers as text; some write them as numbers.
		n, err := strconv.ParseUint(o.Text(name), 10, 63)
		if err == nil && n != 0 {
			delete(o, name)
			return time.Unix(0, int64(n)).UTC()
		}
	}
	return time.Time{}
}

func action(o, attributes convert.Object) string {
	if name := o.Take("eventName"); name != "" {
		return name
	}
	if name := convert.Take(attributes, "event.name"); name != "" {
		return name
	}
	if name := attributes.Text("audit.action"); name != "" {
		return name
	}
	return "log" // a message without a name
}

func outcome(attributes convert.Object) attestlog.Outcome {
	const name = "audit.outcome"
	out := convert.OutcomeOf(attributes.Text(name))
	if string(out) == attributes.Text(name) {
		attributes.Take(name)
	}
	return out
}

func actor(attributes convert.Object) attestlog.Actor {
	a := attestlog.Actor{ID: convert.Take(attributes, "audit.actor.id", "enduser.id")}
	switch attributes.Text("audit.actor.type") {
	case "user", "service", "system":
		a.Type = attributes.Take("audit.actor.type")
	}
	return a
}

func targets(attributes convert.Object) []attestlog.Target {
	t := attestlog.Target{ID: attributes.Take("audit.target.id"), Type: attributes.Take("audit.target.type")}
	if t == (attestlog.Target{}) {
		return nil
	}
	return []attestlog.Target{t}
}
