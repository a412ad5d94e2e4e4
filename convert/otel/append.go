package otel

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
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

type object = map[string]any

// Append appends an entry as an export request of one audit record, on one line
// without its end. What the audit signal and the semantic conventions have no
// name for stands under "attestlog.". It is a view: the leaf is not in it, and it
// proves nothing.
//
// The signal wants an actor of type user, service or system, an action and an
// outcome: unknown, user, the action's last part and unknown stand for what is
// absent. A time that OTLP has no number for, until 1970, and ids that are not of
// W3C Trace Context are attributes.
func Append(dst []byte, e *attestlog.Entry) ([]byte, error) {
	attributes, err := attributesOf(e)
	if err != nil {
		return dst, err
	}
	record := object{"eventName": e.Action, "attributes": pairs(attributes)}
	if e.Time.After(epoch) {
		record["timeUnixNano"] = strconv.FormatInt(e.Time.UnixNano(), 10)
	}
	if e.LoggedTime.After(epoch) {
		record["observedTimeUnixNano"] = strconv.FormatInt(e.LoggedTime.UnixNano(), 10)
	}
	if e.LoggedTime.Before(e.Time) && e.Time.After(epoch) { // the signal demands the order
		record["observedTimeUnixNano"] = record["timeUnixNano"]
	}
	if e.Message != "" {
		record["body"] = object{"stringValue": e.Message}
	}
	if hex(e.Trace.TraceID, 32) {
		record["traceId"] = e.Trace.TraceID
	}
	if hex(e.Trace.SpanID, 16) {
		record["spanId"] = e.Trace.SpanID
	}
	resource := object{}
	if e.Service != "" {
		resource["service.name"] = e.Service
	}
	text, err := json.Marshal(object{"resourceLogs": []object{{
		"resource":  object{"attributes": pairs(resource)},
		"scopeLogs": []object{{"scope": object{}, "logRecords": []object{record}}},
	}}})
	return append(dst, text...), err
}

func attributesOf(e *attestlog.Entry) (object, error) {
	a := object{
		"audit.record.id": e.ID, "audit.actor.id": "unknown", "audit.actor.type": "user", "audit.outcome": "unknown",
		"audit.action": strings.ToUpper(e.Operation), "audit.schema.version": "1.0.0",
		"attestlog.index": float64(e.Index), "attestlog.leaf_hash": base64.StdEncoding.EncodeToString(e.LeafHash[:]),
		"attestlog.logged_time": strconv.FormatInt(e.LoggedTime.UnixNano(), 10),
	}
	convert.SetText(a, "audit.actor.id", e.Actor.ID)
	if e.Operation == "" {
		action := strings.TrimRight(e.Action, ".")
		convert.SetText(a, "audit.action", strings.ToUpper(e.Action))
		convert.SetText(a, "audit.action", strings.ToUpper(action[strings.LastIndexByte(action, '.')+1:]))
	}
	if e.Actor.Type == "service" || e.Actor.Type == "system" {
		a["audit.actor.type"] = e.Actor.Type
	}
	if e.Outcome != "" {
		a["audit.outcome"] = string(e.Outcome)
	}
	if len(e.Targets) > 0 {
		convert.SetText(a, "audit.target.id", e.Targets[0].ID)
		convert.SetText(a, "audit.target.type", e.Targets[0].Type)
	}
	if from := e.Source.IP; from != "" {
		a["audit.source.id"], a["audit.source.type"] = from, "ipv6"
		if addr, err := netip.ParseAddr(from); err == nil && addr.Is4() {
			a["audit.source.type"] = "ipv4"
		}
	} else if e.Source.Host != "" {
		a["audit.source.id"], a["audit.source.type"] = e.Source.Host, "hostname"
	}
	for name, v := range map[string]string{
		"user.name": e.Actor.Name, "session.id": e.Actor.Session, "user_agent.original": e.Source.UserAgent, "http.request.method": e.Request.Method,
		"url.path": e.Request.Path, "http.route": e.Request.Route, "attestlog.operation": e.Operation, "attestlog.reason": e.Reason,
		"attestlog.tenant": e.Tenant, "attestlog.module": e.Module, "attestlog.on_behalf_of": e.Actor.OnBehalfOf, "attestlog.actor_type": e.Actor.Type,
		"attestlog.request_id": e.Request.ID, "attestlog.source_host": e.Source.Host,
	} {
		convert.SetText(a, name, v)
	}
	if !e.Time.After(epoch) {
		a["attestlog.time"] = strconv.FormatInt(e.Time.UnixNano(), 10)
	}
	if !hex(e.Trace.TraceID, 32) {
		convert.SetText(a, "attestlog.trace_id", e.Trace.TraceID)
	}
	if !hex(e.Trace.SpanID, 16) {
		convert.SetText(a, "attestlog.span_id", e.Trace.SpanID)
	}
	if e.Request.Status > 0 {
		a["http.response.status_code"] = float64(e.Request.Status)
	}
	if e.Request.DurationUS > 0 {
		a["attestlog.duration_us"] = float64(e.Request.DurationUS)
	}
	return a, rest(a, e)
}

// rest adds what the conventions have no names for.
func rest(a object, e *attestlog.Entry) error {
	for name, v := range convert.Rest(e) {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if a["attestlog."+name], err = loosejson.Decode(raw); err != nil {
			return err
		}
	}
	return nil
}

// epoch is no time of a record's: zero says that it is unknown.
var epoch = time.Unix(0, 0)

// hex reports whether s is an id of n lower-case digits, not all of them zeros.
func hex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == "" && strings.Trim(s, "0") != ""
}

// pairs writes members as KeyValues in the order of their names.
func pairs(members map[string]any) []object {
	out := []object{}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		out = append(out, object{"key": name, "value": anyValue(members[name])})
	}
	return out
}

func anyValue(v any) object {
	switch v := v.(type) {
	case nil:
		return object{}
	case string:
		return object{"stringValue": v}
	case bool:
		return object{"boolValue": v}
	case float64:
		if n := int64(v); float64(n) == v {
			return object{"intValue": strconv.FormatInt(n, 10)}
		}
		return object{"doubleValue": v}
	case json.Number:
		if n, err := v.Int64(); err == nil && strconv.FormatInt(n, 10) == v.String() { // -0 is no int64
			return object{"intValue": v.String()}
		}
		return object{"doubleValue": v}
	case []any:
		values := []object{}
		for _, of := range v {
			values = append(values, anyValue(of))
		}
		return object{"arrayValue": object{"values": values}}
	case map[string]any:
		return object{"kvlistValue": object{"values": pairs(v)}}
	}
	return object{"stringValue": fmt.Sprint(v)}
}
