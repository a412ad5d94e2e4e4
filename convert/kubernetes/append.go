package kubernetes

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// A record has the members of an Event of audit.k8s.io/v1.
type record struct {
	Kind             string            `json:"kind"`
	APIVersion       string            `json:"apiVersion"`
	Level            string            `json:"level"`
	AuditID          string            `json:"auditID"`
	Stage            string            `json:"stage"`
	RequestURI       string            `json:"requestURI"`
	Verb             string            `json:"verb"`
	User             user              `json:"user"`
	ImpersonatedUser *user             `json:"impersonatedUser,omitempty"`
	SourceIPs        []string          `json:"sourceIPs,omitempty"`
	UserAgent        string            `json:"userAgent,omitempty"`
	ObjectRef        *object           `json:"objectRef,omitempty"`
	ResponseStatus   *response         `json:"responseStatus,omitempty"`
	Received         string            `json:"requestReceivedTimestamp"`
	StageTime        string            `json:"stageTimestamp"`
	Annotations      map[string]string `json:"annotations"`
}

type user struct {
	Username string              `json:"username,omitempty"`
	Extra    map[string][]string `json:"extra,omitempty"`
}

type object struct {
	Resource    string `json:"resource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	APIGroup    string `json:"apiGroup,omitempty"`
	Subresource string `json:"subresource,omitempty"`
}

type response struct {
	Metadata struct{} `json:"metadata"`
	Status   string   `json:"status,omitempty"`
	Message  string   `json:"message,omitempty"`
	Code     int      `json:"code,omitempty"`
}

// micro is how the API writes times (metav1.MicroTime).
const micro = "2006-01-02T15:04:05.000000Z07:00"

// Append appends an entry as one audit event on one line, without the line's
// end.
//
//	{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"019a…",
//	 "stage":"ResponseComplete","requestURI":"/mail/7","verb":"get","user":{"username":"alice"},
//	 "objectRef":{"resource":"mail","name":"7"},…,"annotations":{"attestlog/action":"mail.view",…}}
func Append(dst []byte, e *attestlog.Entry) ([]byte, error) {
	r, err := recordOf(e)
	if err != nil {
		return dst, err
	}
	text, err := json.Marshal(r)
	return append(dst, text...), err
}

// recordOf returns the audit event of an entry.
func recordOf(e *attestlog.Entry) (record, error) {
	duration := time.Duration(e.Request.DurationUS) * time.Microsecond
	r := record{
		Kind:           "Event",
		APIVersion:     "audit.k8s.io/v1",
		Level:          "Metadata",
		AuditID:        e.ID,
		Stage:          "ResponseComplete",
		RequestURI:     e.Request.Path,
		Verb:           verbOf(e),
		User:           user{Username: e.Actor.ID},
		UserAgent:      e.Source.UserAgent,
		ObjectRef:      objectOf(e),
		ResponseStatus: responseOf(e),
		Received:       e.Time.UTC().Format(micro),
		StageTime:      e.Time.Add(duration).UTC().Format(micro),
	}
	if e.Actor.Session != "" {
		r.User.Extra = map[string][]string{"attestlog/session": {e.Actor.Session}}
	}
	if e.Actor.OnBehalfOf != "" {
		r.ImpersonatedUser = &user{Username: e.Actor.OnBehalfOf}
	}
	if e.Source.IP != "" {
		r.SourceIPs = []string{e.Source.IP}
	}

	var err error
	r.Annotations, err = annotationsOf(e)
	return r, err
}

// verbs map operations to the API's verbs, where it has one.
var verbs = map[string]string{
	"read":    "get",
	"create":  "create",
	"update":  "update",
	"delete":  "delete",
	"approve": "approve",
}

// verbOf returns the verb of an entry. The server's own events have it after
// the last dot of the action.
func verbOf(e *attestlog.Entry) string {
	last := e.Action[strings.LastIndexByte(e.Action, '.')+1:]
	switch {
	case e.Service == Format && last != "":
		return last
	case verbs[e.Operation] != "":
		return verbs[e.Operation]
	case e.Operation != "":
		return e.Operation
	}
	return e.Action
}

// collections are the verbs that act on all of a namespace.
var collections = map[string]bool{"list": true, "watch": true, "deletecollection": true}

// objectOf returns the object that the first target names, or nil.
func objectOf(e *attestlog.Entry) *object {
	if len(e.Targets) == 0 {
		return nil
	}
	o := object{Name: e.Targets[0].ID, APIGroup: e.Module}
	o.Resource, o.Subresource, _ = strings.Cut(e.Targets[0].Type, "/")

	// Only the server's own events have a namespace: the part before a slash,
	// or all of the id if the verb acts on all of a namespace.
	if e.Service != Format {
		return &o
	}
	if namespace, name, ok := strings.Cut(o.Name, "/"); ok {
		o.Namespace = namespace
		o.Name = name
	} else if collections[verbOf(e)] {
		o.Namespace = o.Name
		o.Name = ""
	}
	return &o
}

// responseOf returns the response that an entry has, or nil.
func responseOf(e *attestlog.Entry) *response {
	r := response{Message: e.Reason}
	if e.Request.Status <= math.MaxInt32 { // the field is an int32
		r.Code = e.Request.Status
	}
	switch e.Outcome {
	case attestlog.Success:
		r.Status = "Success"
	case attestlog.Failure:
		r.Status = "Failure"
	}
	if r == (response{}) {
		return nil
	}
	if e.Request.Status == 0 && e.Outcome == attestlog.Success {
		r.Code = http.StatusOK
	}
	return &r
}

// rest is what an audit event has no field for, or not in full: all except these.
var rest = convert.NewRest(
	"/id", "/time", "/reason", "/actor/id", "/actor/session", "/actor/on_behalf_of", "/source/ip",
	"/source/user_agent", "/request/path", "/request/status", "/request/duration_us",
)

// annotationsOf returns what an audit event has no field for, or has not in
// full.
func annotationsOf(e *attestlog.Entry) (map[string]string, error) {
	m := map[string]string{
		"attestlog/index":       strconv.FormatUint(e.Index, 10),
		"attestlog/leaf_hash":   base64.StdEncoding.EncodeToString(e.LeafHash[:]),
		"attestlog/time":        e.Time.UTC().Format(time.RFC3339Nano),
		"attestlog/logged_time": e.LoggedTime.UTC().Format(micro),
	}
	if e.Request.Status > math.MaxInt32 {
		m["attestlog/status"] = strconv.Itoa(e.Request.Status)
	}

	// An annotation is text, so any other value becomes its JSON.
	for name, v := range rest.Of(e) {
		text, ok := v.(string)
		if !ok {
			raw, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			text = string(raw)
		}
		m["attestlog/"+name] = text
	}
	return m, nil
}
