package ecs

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

type object = map[string]any

// Append appends an entry as one document on one line, without the line's end.
//
//	{"@timestamp":"2026-03-01T10:00:00.000Z","ecs.version":"9.0.0","event.action":"mail.view",
//	 "event.category":["web"],"event.created":"…","event.id":"019a…","event.kind":"event",
//	 "event.outcome":"success","event.sequence":7,"event.type":["access"],
//	 "source.ip":"192.0.2.7","user.id":"alice","attestlog.leaf_hash":"…",…}
func Append(dst []byte, e *attestlog.Entry) ([]byte, error) {
	text, err := json.Marshal(recordOf(e))
	return append(dst, text...), err
}

// millis is how Elasticsearch writes dates; the whole time is in
// attestlog.time.
const millis = "2006-01-02T15:04:05.000Z07:00"

// rest is what the schema has no field for, or not in full: all except these.
var rest = convert.NewRest(
	"/id", "/time", "/tenant", "/service", "/module", "/action", "/outcome", "/reason", "/message",
	"/actor/id", "/actor/name", "/source/ip", "/source/host", "/source/user_agent",
	"/request/id", "/request/method", "/request/path", "/request/status", "/request/duration_us",
	"/trace/trace_id", "/trace/span_id",
)

// recordOf returns the document of an entry.
func recordOf(e *attestlog.Entry) object {
	categories, types := categoriesOf(e)
	r := object{
		"@timestamp":     e.Time.UTC().Format(millis),
		"ecs.version":    Version,
		"event.kind":     "event",
		"event.category": categories,
		"event.type":     types,
		"event.action":   e.Action,
		"event.id":       e.ID,
		"event.sequence": e.Index,
		"event.created":  e.LoggedTime.UTC().Format(millis),
		"event.provider": "attestlog",

		"attestlog.index":     e.Index,
		"attestlog.time":      e.Time.UTC().Format(time.RFC3339Nano),
		"attestlog.leaf_hash": base64.StdEncoding.EncodeToString(e.LeafHash[:]),
	}
	convert.SetText(r, "organization.id", e.Tenant)
	convert.SetText(r, "service.name", e.Service)
	convert.SetText(r, "event.module", e.Module)
	convert.SetText(r, "event.outcome", string(e.Outcome))
	convert.SetText(r, "event.reason", e.Reason)
	convert.SetText(r, "user.id", e.Actor.ID)
	convert.SetText(r, "user.name", e.Actor.Name)
	if e.Actor.ID != "" {
		r["related.user"] = []string{e.Actor.ID}
	}

	// Elasticsearch's addresses have no zones.
	if e.Source.IP != "" {
		ip, _, hasZone := strings.Cut(e.Source.IP, "%")
		if hasZone {
			r["source.address"] = e.Source.IP
		}
		r["source.ip"] = ip
		r["related.ip"] = []string{ip}
	}
	convert.SetText(r, "source.domain", e.Source.Host)
	convert.SetText(r, "user_agent.original", e.Source.UserAgent)

	convert.SetText(r, "http.request.id", e.Request.ID)
	convert.SetText(r, "http.request.method", e.Request.Method)
	convert.SetText(r, "url.path", e.Request.Path)
	if e.Request.Status > 0 {
		r["http.response.status_code"] = e.Request.Status
	}
	if e.Request.DurationUS > 0 {
		r["event.duration"] = e.Request.DurationUS * 1000 // nanoseconds
	}
	convert.SetText(r, "trace.id", e.Trace.TraceID)
	convert.SetText(r, "span.id", e.Trace.SpanID)
	convert.SetText(r, "message", e.Message)

	for name, v := range rest.Of(e) {
		r["attestlog."+name] = v
	}
	return r
}

// categoriesOf returns the allowed values of event.category and event.type that
// fit an entry best. The schema expects only some types in a category: access
// and info in web, nothing that is allowed or denied in configuration, and all
// that are used here in api.
func categoriesOf(e *attestlog.Entry) (categories, types []string) {
	kind := "info"
	switch e.Operation {
	case "login":
		return []string{"authentication", "session"}, []string{"start"}
	case "logout":
		return []string{"authentication", "session"}, []string{"end"}
	case "create":
		kind = "creation"
	case "update":
		kind = "change"
	case "delete":
		kind = "deletion"
	case "read", "export":
		kind = "access"
	case "approve":
		kind = "allowed"
	case "deny":
		kind = "denied"
	}

	category := "api"
	switch {
	case kind == "allowed" || kind == "denied":
	case e.Request.Method == "":
		category = "configuration"
	case kind == "access" || kind == "info":
		category = "web"
	}
	return []string{category}, []string{kind}
}
