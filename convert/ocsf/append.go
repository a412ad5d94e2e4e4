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

type object = map[string]any

// Append appends an entry as an event of class 3002 or 6003 on one line,
// without the line's end.
func Append(dst []byte, e *attestlog.Entry) ([]byte, error) {
	text, err := json.Marshal(recordOf(e))
	return append(dst, text...), err
}

// recordOf returns the event of an entry.
func recordOf(e *attestlog.Entry) object {
	class, activity, name := classOf(e)
	r := object{
		"activity_id":   activity,
		"activity_name": name,
		"category_uid":  class / 1000,
		"class_uid":     class,
		"type_uid":      class*100 + activity,
		"severity_id":   1, // informational
		"time":          e.Time.UnixMilli(),
		"metadata":      metadataOf(e),
		"actor":         actorOf(e),
		"src_endpoint":  endpointOf(e),
		"unmapped":      unmappedOf(e),
	}
	convert.SetText(r, "message", e.Message)
	if e.Request.DurationUS > 0 {
		r["duration"] = e.Request.DurationUS / 1000 // milliseconds
	}
	setStatus(r, e)
	setHTTP(r, e)

	// An Authentication needs a user and a service or dst_endpoint, and has no
	// resources.
	if class == classAuthentication {
		service := object{"name": "unknown"}
		convert.SetText(service, "name", e.Service)
		r["service"] = service
		r["user"] = userOf(e)
		return r
	}

	r["api"] = apiOf(e)
	if resources := resourcesOf(e); len(resources) > 0 {
		r["resources"] = resources
	}
	return r
}

// classOf returns the class and the activity that fit an entry best.
func classOf(e *attestlog.Entry) (class, activity int, name string) {
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

func metadataOf(e *attestlog.Entry) object {
	m := object{
		"version":     Version,
		"product":     object{"name": "attestlog"},
		"uid":         e.ID,
		"sequence":    e.Index,
		"logged_time": e.LoggedTime.UnixMilli(),
	}
	convert.SetText(m, "tenant_uid", e.Tenant)
	convert.SetText(m, "log_name", e.Module)
	convert.SetText(m, "event_code", e.Action)
	convert.SetText(m, "correlation_uid", e.Trace.TraceID)
	return m
}

func actorOf(e *attestlog.Entry) object {
	a := object{"user": userOf(e)}
	if e.Actor.Session != "" {
		a["session"] = object{"uid": e.Actor.Session}
	}
	return a
}

// userOther is the type_id of a user whose type is in words.
const userOther = 99

var userTypes = map[string]int{"user": 1, "system": 3, "service": 4, "anonymous": userOther}

// userOf returns a user with an id or a name, which the schema demands even if
// both were erased.
func userOf(e *attestlog.Entry) object {
	id := userTypes[e.Actor.Type]
	u := object{"type_id": id}
	if id == userOther {
		u["type"] = e.Actor.Type
	}
	convert.SetText(u, "uid", e.Actor.ID)
	convert.SetText(u, "name", e.Actor.Name)
	if e.Actor.ID == "" && e.Actor.Name == "" {
		u["name"] = "unknown"
	}
	return u
}

func apiOf(e *attestlog.Entry) object {
	api := object{"operation": e.Action}
	if e.Service != "" {
		api["service"] = object{"name": e.Service}
	}
	if e.Request.ID != "" {
		api["request"] = object{"uid": e.Request.ID}
	}
	return api
}

// endpointOf returns an endpoint with one of the members that the schema
// demands.
func endpointOf(e *attestlog.Entry) object {
	s := object{}
	convert.SetText(s, "ip", addressOf(e))
	convert.SetText(s, "hostname", e.Source.Host)
	if len(s) == 0 {
		s["name"] = "unknown"
	}
	return s
}

// maxIP is how long a text of the schema's type ip_t can be.
const maxIP = 40

// addressOf returns the address, without a zone if that makes it too long.
func addressOf(e *attestlog.Entry) string {
	if len(e.Source.IP) <= maxIP {
		return e.Source.IP
	}
	ip, _, _ := strings.Cut(e.Source.IP, "%")
	return ip
}

func setStatus(r object, e *attestlog.Entry) {
	switch e.Outcome {
	case attestlog.Success:
		r["status"] = "Success"
		r["status_id"] = 1
	case attestlog.Failure:
		r["status"] = "Failure"
		r["status_id"] = 2
	case attestlog.Unknown:
		r["status"] = "Unknown"
		r["status_id"] = 0
	}
	convert.SetText(r, "status_detail", e.Reason)
}

// methods are those that the schema has.
var methods = map[string]bool{
	http.MethodConnect: true, http.MethodDelete: true, http.MethodGet: true, http.MethodHead: true,
	http.MethodOptions: true, http.MethodPatch: true, http.MethodPost: true, http.MethodPut: true, http.MethodTrace: true,
}

func setHTTP(r object, e *attestlog.Entry) {
	request := object{}
	if methods[e.Request.Method] {
		request["http_method"] = e.Request.Method
	}
	convert.SetText(request, "user_agent", e.Source.UserAgent)
	if e.Request.Path != "" {
		request["url"] = object{"path": e.Request.Path}
	}
	if len(request) > 0 {
		r["http_request"] = request
	}

	if e.Request.Status > 0 {
		response := object{"code": e.Request.Status}
		convert.SetText(response, "status", http.StatusText(e.Request.Status))
		r["http_response"] = response
	}
}

// resourcesOf returns the targets that have an id or a name, one of which the
// schema demands. unmapped has all targets.
func resourcesOf(e *attestlog.Entry) []object {
	var resources []object
	for _, t := range e.Targets {
		if t.ID == "" && t.Name == "" {
			continue
		}
		r := object{}
		convert.SetText(r, "uid", t.ID)
		convert.SetText(r, "name", t.Name)
		convert.SetText(r, "type", t.Type)
		resources = append(resources, r)
	}
	return resources
}

// rest is what the schema has no attribute for, or not in full: all except these.
var rest = convert.NewRest(
	"/id", "/time", "/tenant", "/module", "/outcome", "/reason", "/message",
	"/actor/id", "/actor/name", "/actor/session", "/source/ip", "/source/host", "/source/user_agent",
	"/request/method", "/request/path", "/request/status", "/trace/trace_id",
)

// unmappedOf returns what the schema has no attribute for, or has not in full.
func unmappedOf(e *attestlog.Entry) object {
	u := object{
		"leaf_hash": base64.StdEncoding.EncodeToString(e.LeafHash[:]),
		"time":      e.Time.Format("2006-01-02T15:04:05.000000000Z07:00"),
	}
	if !methods[e.Request.Method] {
		convert.SetText(u, "request_method", e.Request.Method)
	}
	if addressOf(e) != e.Source.IP {
		u["source_ip"] = e.Source.IP
	}
	maps.Copy(u, rest.Of(e))
	return u
}
