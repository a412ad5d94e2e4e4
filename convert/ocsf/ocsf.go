// Package ocsf reads and writes events of the Open Cybersecurity Schema Framework,
// version 1.8.0 (schema.ocsf.io). An entry is written as class 3002,
// Authentication, for an operation login or logout, and as class 6003, API
// Activity, for all else.
//
//	{"activity_id":2,"activity_name":"Read","actor":{"user":{"type_id":1,"uid":"alice"}},
//	 "api":{"operation":"mail.view","service":{"name":"webmail"}},"category_uid":6,
//	 "class_uid":6003,"metadata":{"logged_time":1767261600000,"product":{"name":"attestlog"},
//	 "sequence":7,"uid":"019a…","version":"1.8.0"},"resources":[{"type":"mail","uid":"7"}],
//	 "severity_id":1,"src_endpoint":{"ip":"192.0.2.7"},"status":"Success","status_id":1,
//	 "time":1767261600000,"type_uid":600302,"unmapped":{…}}
//
// What has no attribute there stands in unmapped, under its own name: the leaf
// hash, attributes, changes, the finer part of the time, and more. It is a view:
// the leaf is not in it, and it proves nothing.
package ocsf

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// Version is the schema's.
const Version = "1.8.0"

type object = map[string]any

// Classes, categories and activities (schema.ocsf.io/1.8.0).
const (
	classAuthentication = 3002
	classAPIActivity    = 6003
	activityOther       = 99
)

// Append appends an entry's event as one line of JSON, without the line's end.
func Append(dst []byte, e *attestlog.Entry) ([]byte, error) {
	text, err := json.Marshal(event(e))
	return append(dst, text...), err
}

func event(e *attestlog.Entry) object {
	class, activity, name := classify(e)
	out := object{
		"activity_id": activity, "activity_name": name, "category_uid": class / 1000, "class_uid": class, "type_uid": class*100 + activity,
		"severity_id": 1, // informational
		"time":        e.Time.UnixMilli(),
		"metadata":    metadata(e),
		"actor":       actor(e),
		"unmapped":    unmapped(e),
	}
	if class == classAuthentication {
		out["user"] = user(e)
		out["service"] = service(e)
	} else {
		api := object{"operation": e.Action}
		if e.Service != "" {
			api["service"] = object{"name": e.Service}
		}
		if e.Request.ID != "" {
			api["request"] = object{"uid": e.Request.ID}
		}
		out["api"] = api
	}
	out["src_endpoint"] = source(e)
	status(out, e)
	web(out, e)
	convert.SetText(out, "message", e.Message)
	if e.Request.DurationUS > 0 {
		out["duration"] = e.Request.DurationUS / 1000 // milliseconds
	}
	var resources []object
	for _, t := range e.Targets {
		if t.ID == "" && t.Name == "" {
			continue // the schema wants one of them; it is in unmapped
		}
		r := object{}
		convert.SetText(r, "uid", t.ID)
		convert.SetText(r, "name", t.Name)
		convert.SetText(r, "type", t.Type)
		resources = append(resources, r)
	}
	if len(resources) > 0 && class == classAPIActivity {
		out["resources"] = resources
	}
	return out
}

func classify(e *attestlog.Entry) (class, activity int, name string) {
	switch e.Operation {
	case "login":
		return classAuthentication, 1, "Logon"
	case "logout":
		return classAuthentication, 2, "Logoff"
	case "create":
		return classAPIActivity, 1, "Create"
	case "read":
		return classAPIActivity, 2, "Read"
	case "update":
		return classAPIActivity, 3, "Update"
	case "delete":
		return classAPIActivity, 4, "Delete"
	case "":
		return classAPIActivity, activityOther, e.Action
	}
	return classAPIActivity, activityOther, e.Operation
}

func metadata(e *attestlog.Entry) object {
	m := object{
		"version": Version, "product": object{"name": "attestlog"}, "uid": e.ID, "sequence": e.Index,
		"logged_time": e.LoggedTime.UnixMilli(),
	}
	convert.SetText(m, "tenant_uid", e.Tenant)
	convert.SetText(m, "log_name", e.Module)
	convert.SetText(m, "event_code", e.Action)
	convert.SetText(m, "correlation_uid", e.Trace.TraceID)
	return m
}

// user has an id or a name, as the schema wants, even if both were erased.
func user(e *attestlog.Entry) object {
	u := object{"type_id": userTypes[e.Actor.Type]}
	convert.SetText(u, "uid", e.Actor.ID)
	convert.SetText(u, "name", e.Actor.Name)
	if e.Actor.ID == "" && e.Actor.Name == "" {
		u["name"] = "unknown"
	}
	if u["type_id"] == userOther {
		u["type"] = e.Actor.Type
	}
	return u
}

const userOther = 99 // type says what

var userTypes = map[string]int{"user": 1, "system": 3, "service": 4, "anonymous": userOther}

// service, or a dst_endpoint, is required in an Authentication.
func service(e *attestlog.Entry) object {
	if e.Service == "" {
		return object{"name": "unknown"}
	}
	return object{"name": e.Service}
}

func actor(e *attestlog.Entry) object {
	a := object{"user": user(e)}
	if e.Actor.Session != "" {
		a["session"] = object{"uid": e.Actor.Session}
	}
	return a
}

// source is required by the schema, which wants one of a few names in it.
func source(e *attestlog.Entry) object {
	s := object{}
	convert.SetText(s, "ip", address(e.Source.IP))
	convert.SetText(s, "hostname", e.Source.Host)
	if len(s) == 0 {
		s["name"] = "unknown"
	}
	return s
}

// maxIP is the length of the schema's type ip_t.
const maxIP = 40

// address leaves a long zone out.
func address(ip string) string {
	if len(ip) > maxIP {
		ip, _, _ = strings.Cut(ip, "%")
	}
	return ip
}

func status(out object, e *attestlog.Entry) {
	switch e.Outcome {
	case attestlog.Success:
		out["status"], out["status_id"] = "Success", 1
	case attestlog.Failure:
		out["status"], out["status_id"] = "Failure", 2
	case attestlog.Unknown:
		out["status"], out["status_id"] = "Unknown", 0
	}
	convert.SetText(out, "status_detail", e.Reason)
}

func web(out object, e *attestlog.Entry) {
	request := object{}
	if methods[e.Request.Method] {
		request["http_method"] = e.Request.Method
	}
	convert.SetText(request, "user_agent", e.Source.UserAgent)
	if e.Request.Path != "" {
		request["url"] = object{"path": e.Request.Path}
	}
	if len(request) > 0 {
		out["http_request"] = request
	}
	if e.Request.Status > 0 {
		response := object{"code": e.Request.Status}
		convert.SetText(response, "status", http.StatusText(e.Request.Status))
		out["http_response"] = response
	}
}

// methods are those that the schema knows.
var methods = map[string]bool{
	http.MethodConnect: true, http.MethodDelete: true, http.MethodGet: true, http.MethodHead: true, http.MethodOptions: true,
	http.MethodPatch: true, http.MethodPost: true, http.MethodPut: true, http.MethodTrace: true,
}

func unmapped(e *attestlog.Entry) object {
	u := object{"leaf_hash": base64.StdEncoding.EncodeToString(e.LeafHash[:]), "time": e.Time.Format("2006-01-02T15:04:05.000000000Z07:00")}
	convert.SetText(u, "action", e.Action)
	convert.SetText(u, "operation", e.Operation)
	convert.SetText(u, "service", e.Service)
	convert.SetText(u, "actor_type", e.Actor.Type)
	convert.SetText(u, "on_behalf_of", e.Actor.OnBehalfOf)
	convert.SetText(u, "route", e.Request.Route)
	convert.SetText(u, "span_id", e.Trace.SpanID)
	convert.SetText(u, "request_id", e.Request.ID)
	if !methods[e.Request.Method] {
		convert.SetText(u, "request_method", e.Request.Method)
	}
	if address(e.Source.IP) != e.Source.IP {
		u["source_ip"] = e.Source.IP
	}
	if e.Request.DurationUS > 0 {
		u["duration_us"] = e.Request.DurationUS
	}
	maps.Copy(u, convert.Rest(e))
	return u
}
