package otel

import (
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/internal/loosejson"
)

type object = map[string]any

// Append appends an entry as an export request of one audit record, on one
// line, without the line's end.
//
//	{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"webmail"}}]},
//	 "scopeLogs":[{"logRecords":[{"timeUnixNano":"1772359200000000000","eventName":"mail.view",
//	 "attributes":[{"key":"attestlog.index","value":{"intValue":"7"}},…]}],"scope":{}}]}]}
func Append(dst []byte, e *attestlog.Entry) ([]byte, error) {
	record, err := recordOf(e)
	if err != nil {
		return dst, err
	}
	resource := object{}
	convert.SetText(resource, "service.name", e.Service)

	text, err := json.Marshal(object{"resourceLogs": []object{{
		"resource":  object{"attributes": keyValuesOf(resource)},
		"scopeLogs": []object{{"scope": object{}, "logRecords": []object{record}}},
	}}})
	return append(dst, text...), err
}

// epoch is the last time that cannot be a record's: zero says that the time is
// unknown.
var epoch = time.Unix(0, 0)

// recordOf returns the log record of an entry.
func recordOf(e *attestlog.Entry) (object, error) {
	attributes, err := attributesOf(e)
	if err != nil {
		return nil, err
	}
	r := object{"eventName": e.Action, "attributes": keyValuesOf(attributes)}

	if e.Time.After(epoch) {
		r["timeUnixNano"] = strconv.FormatInt(e.Time.UnixNano(), 10)
	}
	if e.LoggedTime.After(epoch) {
		r["observedTimeUnixNano"] = strconv.FormatInt(e.LoggedTime.UnixNano(), 10)
	}
	// The signal demands that nothing is observed before it happens.
	if e.LoggedTime.Before(e.Time) && e.Time.After(epoch) {
		r["observedTimeUnixNano"] = r["timeUnixNano"]
	}

	if e.Message != "" {
		r["body"] = object{"stringValue": e.Message}
	}
	if convert.IsTraceID(e.Trace.TraceID) {
		r["traceId"] = e.Trace.TraceID
	}
	if convert.IsSpanID(e.Trace.SpanID) {
		r["spanId"] = e.Trace.SpanID
	}
	return r, nil
}

// rest is what neither the audit signal nor the semantic conventions have a name
// for, or not in full: all except these.
var rest = convert.NewRest(
	"/id", "/time", "/service", "/action", "/outcome", "/message",
	"/actor/id", "/actor/name", "/actor/session", "/source/ip", "/source/user_agent",
	"/request/method", "/request/path", "/request/route", "/request/status",
	"/trace/trace_id", "/trace/span_id",
)

// attributesOf returns the attributes of an entry's record, not yet as
// KeyValues.
func attributesOf(e *attestlog.Entry) (object, error) {
	a := object{
		"audit.record.id":      e.ID,
		"audit.schema.version": "1.0.0",
		"audit.action":         actionOf(e),
		"audit.outcome":        "unknown",
		"audit.actor.id":       "unknown",
		"audit.actor.type":     "user",

		"attestlog.index":       float64(e.Index),
		"attestlog.leaf_hash":   base64.StdEncoding.EncodeToString(e.LeafHash[:]),
		"attestlog.logged_time": strconv.FormatInt(e.LoggedTime.UnixNano(), 10),
	}

	// The audit signal.
	convert.SetText(a, "audit.outcome", string(e.Outcome))
	convert.SetText(a, "audit.actor.id", e.Actor.ID)
	if e.Actor.Type == "service" || e.Actor.Type == "system" {
		a["audit.actor.type"] = e.Actor.Type
	}
	if len(e.Targets) > 0 {
		convert.SetText(a, "audit.target.id", e.Targets[0].ID)
		convert.SetText(a, "audit.target.type", e.Targets[0].Type)
	}
	switch {
	case e.Source.IP != "":
		a["audit.source.id"] = e.Source.IP
		a["audit.source.type"] = "ipv6"
		if addr, err := netip.ParseAddr(e.Source.IP); err == nil && addr.Is4() {
			a["audit.source.type"] = "ipv4"
		}
	case e.Source.Host != "":
		a["audit.source.id"] = e.Source.Host
		a["audit.source.type"] = "hostname"
	}

	// The semantic conventions.
	convert.SetText(a, "user.name", e.Actor.Name)
	convert.SetText(a, "session.id", e.Actor.Session)
	convert.SetText(a, "user_agent.original", e.Source.UserAgent)
	convert.SetText(a, "http.request.method", e.Request.Method)
	convert.SetText(a, "url.path", e.Request.Path)
	convert.SetText(a, "http.route", e.Request.Route)
	if e.Request.Status > 0 {
		a["http.response.status_code"] = float64(e.Request.Status)
	}

	// What does not have the form that its place demands.
	if !e.Time.After(epoch) {
		a["attestlog.time"] = strconv.FormatInt(e.Time.UnixNano(), 10)
	}
	if !convert.IsTraceID(e.Trace.TraceID) {
		convert.SetText(a, "attestlog.trace_id", e.Trace.TraceID)
	}
	if !convert.IsSpanID(e.Trace.SpanID) {
		convert.SetText(a, "attestlog.span_id", e.Trace.SpanID)
	}

	// An attribute can hold any value that has JSON, but an AnyValue cannot.
	for name, v := range rest.Of(e) {
		if text, ok := v.(string); ok {
			a["attestlog."+name] = text
			continue
		}
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		a["attestlog."+name], err = loosejson.Decode(raw)
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

// actionOf returns the operation, or else the last part of the action, in upper
// case.
func actionOf(e *attestlog.Entry) string {
	if e.Operation != "" {
		return strings.ToUpper(e.Operation)
	}
	action := strings.TrimRight(e.Action, ".")
	last := action[strings.LastIndexByte(action, '.')+1:]
	if last == "" {
		last = e.Action
	}
	return strings.ToUpper(last)
}
