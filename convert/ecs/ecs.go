// Package ecs reads and writes documents of the Elastic Common Schema, version
// 9.0.0 (elastic.co/guide/en/ecs). An entry is written as field names with dots,
// one object a line.
//
//	{"@timestamp":"2026-03-01T10:00:00.000Z","ecs.version":"9.0.0","event.action":"mail.view",
//	 "event.category":["web"],"event.created":"…","event.id":"019a…","event.kind":"event",
//	 "event.outcome":"success","event.sequence":7,"event.type":["access"],
//	 "source.ip":"192.0.2.7","user.id":"alice","attestlog.leaf_hash":"…",…}
//
// What the schema has no field for stands under attestlog, a name of its own.
// It is a view: the leaf is not in it, and it proves nothing.
package ecs

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// Version is the schema's.
const Version = "9.0.0"

// Append appends an entry's document as one line of JSON, without the line's
// end.
func Append(dst []byte, e *attestlog.Entry) ([]byte, error) {
	text, err := json.Marshal(document(e))
	return append(dst, text...), err
}

// millis is how Elasticsearch writes dates; the whole time is in attestlog.time.
const millis = "2006-01-02T15:04:05.000Z07:00"

func document(e *attestlog.Entry) map[string]any {
	category, kind := categorize(e)
	d := map[string]any{
		"@timestamp": e.Time.UTC().Format(millis), "ecs.version": Version,
		"event.kind": "event", "event.category": category, "event.type": kind, "event.action": e.Action, "event.id": e.ID,
		"event.sequence": e.Index, "event.created": e.LoggedTime.UTC().Format(millis), "event.provider": "attestlog",
		"attestlog.index":     e.Index,
		"attestlog.time":      e.Time.UTC().Format(time.RFC3339Nano),
		"attestlog.leaf_hash": base64.StdEncoding.EncodeToString(e.LeafHash[:]),
	}
	for name, value := range map[string]string{
		"event.outcome": string(e.Outcome), "event.reason": e.Reason, "event.module": e.Module, "message": e.Message,
		"service.name": e.Service, "organization.id": e.Tenant, "user.id": e.Actor.ID, "user.name": e.Actor.Name, "source.domain": e.Source.Host,
		"user_agent.original": e.Source.UserAgent, "http.request.id": e.Request.ID, "http.request.method": e.Request.Method, "url.path": e.Request.Path,
		"trace.id": e.Trace.TraceID, "span.id": e.Trace.SpanID,
		"attestlog.actor_type": e.Actor.Type, "attestlog.session": e.Actor.Session, "attestlog.on_behalf_of": e.Actor.OnBehalfOf,
		"attestlog.operation": e.Operation, "attestlog.route": e.Request.Route,
	} {
		if value != "" {
			d[name] = value
		}
	}
	if e.Request.Status > 0 {
		d["http.response.status_code"] = e.Request.Status
	}
	if e.Request.DurationUS > 0 {
		d["event.duration"] = e.Request.DurationUS * 1000 // nanoseconds
	}
	if e.Source.IP != "" {
		ip, _, zone := strings.Cut(e.Source.IP, "%")
		if zone { // Elasticsearch's addresses have none
			d["source.address"] = e.Source.IP
		}
		d["source.ip"], d["related.ip"] = ip, []string{ip}
	}
	if e.Actor.ID != "" {
		d["related.user"] = []string{e.Actor.ID}
	}
	for name, v := range convert.Rest(e) {
		d["attestlog."+name] = v
	}
	return d
}

// categorize returns the allowed values of event.category and event.type that
// fit best. Of a category, the schema expects some types only: web knows of
// access and info, configuration of nothing that is allowed or denied; api has
// all that are used here.
func categorize(e *attestlog.Entry) (category, kind []string) {
	switch e.Operation {
	case "login":
		return []string{"authentication", "session"}, []string{"start"}
	case "logout":
		return []string{"authentication", "session"}, []string{"end"}
	case "create":
		kind = []string{"creation"}
	case "update":
		kind = []string{"change"}
	case "delete":
		kind = []string{"deletion"}
	case "read", "export":
		kind = []string{"access"}
	case "approve":
		kind = []string{"allowed"}
	case "deny":
		kind = []string{"denied"}
	default:
		kind = []string{"info"}
	}
	switch {
	case kind[0] == "allowed" || kind[0] == "denied":
		return []string{"api"}, kind
	case e.Request.Method == "":
		return []string{"configuration"}, kind
	case kind[0] == "access" || kind[0] == "info":
		return []string{"web"}, kind
	}
	return []string{"api"}, kind
}
