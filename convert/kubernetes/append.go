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

// The names of audit.k8s.io/v1.
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
	ResponseStatus   *status           `json:"responseStatus,omitempty"`
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

type status struct {
	Metadata struct{} `json:"metadata"`
	Status   string   `json:"status,omitempty"`
	Message  string   `json:"message,omitempty"`
	Code     int      `json:"code,omitempty"`
}

// micro is how the API writes times (metav1.MicroTime).
const micro = "2006-01-02T15:04:05.000000Z07:00"

// Append appends an entry as one audit event on one line, without the line's
// end: level Metadata, stage ResponseComplete. What has no field there is an
// annotation under "attestlog/". It is a view: the leaf is not in it, and it
// proves nothing.
//
//	{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"019a…",
//	 "stage":"ResponseComplete","requestURI":"/mail/7","verb":"get","user":{"username":"alice"},
//	 "objectRef":{"resource":"mail","name":"7"},…,"annotations":{"attestlog/action":"mail.view",…}}
func Append(dst []byte, e *attestlog.Entry) ([]byte, error) {
	r := record{
		Kind: "Event", APIVersion: "audit.k8s.io/v1", Level: "Metadata", AuditID: e.ID, Stage: "ResponseComplete", RequestURI: e.Request.Path, Verb: verb(e),
		User: user{Username: e.Actor.ID}, UserAgent: e.Source.UserAgent, ObjectRef: objectOf(e), ResponseStatus: response(e),
		Received:  e.Time.UTC().Format(micro),
		StageTime: e.Time.Add(time.Duration(e.Request.DurationUS) * time.Microsecond).UTC().Format(micro),
	}
	if e.Actor.OnBehalfOf != "" {
		r.ImpersonatedUser = &user{Username: e.Actor.OnBehalfOf}
	}
	if e.Actor.Session != "" {
		r.User.Extra = map[string][]string{"attestlog/session": {e.Actor.Session}}
	}
	if e.Source.IP != "" {
		r.SourceIPs = []string{e.Source.IP}
	}
	var err error
	if r.Annotations, err = annotations(e); err != nil {
		return dst, err
	}
	text, err := json.Marshal(r)
	return append(dst, text...), err
}

// verbs turn operations into the API's, where it has one.
var verbs = map[string]string{"read": "get", "create": "create", "update": "update", "delete": "delete", "approve": "approve"}

// verb is what the server's own events have behind the last dot of the action.
func verb(e *attestlog.Entry) string {
	if last := e.Action[strings.LastIndexByte(e.Action, '.')+1:]; e.Service == Format && last != "" {
		return last
	}
	if v := verbs[e.Operation]; v != "" {
		return v
	}
	if e.Operation != "" {
		return e.Operation
	}
	return e.Action
}

// collections are the verbs that act on all of a namespace.
var collections = map[string]bool{"list": true, "watch": true, "deletecollection": true}

// objectOf names the first target. Of the server's own events, what stands before
// a slash is the namespace, and so is what has none where the verb acts on all of
// it; all else is a name.
func objectOf(e *attestlog.Entry) *object {
	if len(e.Targets) == 0 {
		return nil
	}
	o := object{Name: e.Targets[0].ID, APIGroup: e.Module}
	o.Resource, o.Subresource, _ = strings.Cut(e.Targets[0].Type, "/")
	if e.Service != Format {
		return &o
	}
	if namespace, name, ok := strings.Cut(o.Name, "/"); ok {
		o.Namespace, o.Name = namespace, name
	} else if collections[verb(e)] {
		o.Namespace, o.Name = o.Name, ""
	}
	return &o
}

func response(e *attestlog.Entry) *status {
	s := status{Message: e.Reason}
	if e.Request.Status <= math.MaxInt32 { // which is the field's type
		s.Code = e.Request.Status
	}
	switch e.Outcome {
	case attestlog.Success:
		s.Status = "Success"
	case attestlog.Failure:
		s.Status = "Failure"
	}
	if s.Code == 0 && s.Status == "" && s.Message == "" {
		return nil
	}
	if e.Request.Status == 0 && e.Outcome == attestlog.Success {
		s.Code = http.StatusOK
	}
	return &s
}

func annotations(e *attestlog.Entry) (map[string]string, error) {
	m := map[string]string{
		"attestlog/index": strconv.FormatUint(e.Index, 10), "attestlog/leaf_hash": base64.StdEncoding.EncodeToString(e.LeafHash[:]),
		"attestlog/logged_time": e.LoggedTime.UTC().Format(micro), "attestlog/time": e.Time.UTC().Format(time.RFC3339Nano),
	}
	for name, text := range map[string]string{
		"action": e.Action, "operation": e.Operation, "outcome": string(e.Outcome), "tenant": e.Tenant, "service": e.Service, "module": e.Module,
		"message": e.Message, "actor_type": e.Actor.Type, "actor_name": e.Actor.Name, "source_host": e.Source.Host, "request_id": e.Request.ID,
		"method": e.Request.Method, "route": e.Request.Route, "trace_id": e.Trace.TraceID, "span_id": e.Trace.SpanID,
	} {
		if text != "" {
			m["attestlog/"+name] = text
		}
	}
	if e.Request.Status > math.MaxInt32 {
		m["attestlog/status"] = strconv.Itoa(e.Request.Status)
	}
	for name, v := range convert.Rest(e) {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		m["attestlog/"+name] = string(text)
	}
	return m, nil
}
