package cloudtrail

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

type object = map[string]any

// Append appends an entry as a CloudTrail record on one line, without the
// line's end.
//
//	{"eventVersion":"1.11","userIdentity":{"type":"Unknown","principalId":"alice"},
//	 "eventTime":"2026-03-01T10:00:00Z","eventSource":"webmail","eventName":"mail.view",
//	 "sourceIPAddress":"192.0.2.7","userAgent":"…","requestParameters":null,
//	 "responseElements":null,"eventID":"019a…","readOnly":true,
//	 "eventType":"ActivityLog","eventCategory":"ActivityAuditLog",
//	 "additionalEventData":{"index":7,"leaf_hash":"…",…}}
func Append(dst []byte, e *attestlog.Entry) ([]byte, error) {
	text, err := json.Marshal(recordOf(e))
	return append(dst, text...), err
}

// recordOf returns the record of an entry.
func recordOf(e *attestlog.Entry) object {
	r := object{
		"eventVersion":        "1.11",
		"eventCategory":       "ActivityAuditLog",
		"eventType":           "ActivityLog",
		"eventID":             e.ID,
		"eventTime":           e.Time.UTC().Format("2006-01-02T15:04:05Z"),
		"eventSource":         orUnknown(e.Service),
		"eventName":           e.Action,
		"readOnly":            e.Operation == "read",
		"userIdentity":        identityOf(e),
		"requestParameters":   parametersOf(e),
		"responseElements":    nil,
		"additionalEventData": additionalOf(e),
	}
	convert.SetText(r, "recipientAccountId", e.Tenant)
	convert.SetText(r, "requestID", e.Request.ID)
	convert.SetText(r, "userAgent", e.Source.UserAgent)

	address := e.Source.IP
	if address == "" {
		address = e.Source.Host
	}
	convert.SetText(r, "sourceIPAddress", address)

	// Only what failed has an error; any other reason is additional.
	if e.Outcome == attestlog.Failure {
		r["errorCode"] = "Failure"
		convert.SetText(r, "errorMessage", e.Reason)
	}

	if resources := resourcesOf(e); len(resources) > 0 {
		r["resources"] = resources
	}
	return r
}

func identityOf(e *attestlog.Entry) object {
	o := object{"type": "Unknown", "principalId": orUnknown(e.Actor.ID)}
	convert.SetText(o, "userName", e.Actor.Name)
	return o
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// parametersOf returns those of the request, or nil, which JSON has as null.
func parametersOf(e *attestlog.Entry) object {
	o := object{}
	convert.SetText(o, "method", e.Request.Method)
	convert.SetText(o, "path", e.Request.Path)
	convert.SetText(o, "route", e.Request.Route)
	if len(o) == 0 {
		return nil
	}
	return o
}

// resourcesOf returns the targets that have an id; additionalEventData has them
// all.
func resourcesOf(e *attestlog.Entry) []object {
	var resources []object
	for _, t := range e.Targets {
		if t.ID == "" {
			continue
		}
		r := object{"ARN": t.ID}
		convert.SetText(r, "type", t.Type)
		resources = append(resources, r)
	}
	return resources
}

// rest is what the record has no member for: all except these.
var rest = convert.NewRest(
	"/id", "/time", "/tenant", "/service", "/action", "/reason", "/actor/id", "/actor/name",
	"/source/ip", "/source/user_agent", "/request/id", "/request/method", "/request/path", "/request/route",
)

// additionalOf returns what the record has no member for.
func additionalOf(e *attestlog.Entry) object {
	o := object{
		"index":       e.Index,
		"leaf_hash":   base64.StdEncoding.EncodeToString(e.LeafHash[:]),
		"time":        e.Time.UTC().Format(time.RFC3339Nano),
		"logged_time": e.LoggedTime.UTC().Format(time.RFC3339Nano),
	}
	if e.Outcome != attestlog.Failure {
		convert.SetText(o, "reason", e.Reason)
	}
	maps.Copy(o, rest.Of(e))
	return o
}
