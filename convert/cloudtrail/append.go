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

// Append appends an entry as a CloudTrail record on one line, without the line's
// end. Its category and type are those that CloudTrail gives to events of
// programs outside AWS. additionalEventData has the rest of the entry. It is a view: the leaf is not in
// it, and it proves nothing.
//
//	{"eventVersion":"1.11","userIdentity":{"type":"Unknown","principalId":"alice"},
//	 "eventTime":"2026-03-01T10:00:00Z","eventSource":"webmail","eventName":"mail.view",
//	 "sourceIPAddress":"192.0.2.7","userAgent":"…","requestParameters":null,
//	 "responseElements":null,"eventID":"019a…","readOnly":true,
//	 "eventType":"ActivityLog","eventCategory":"ActivityAuditLog",
//	 "additionalEventData":{"index":7,"leaf_hash":"…",…}}
func Append(dst []byte, e *attestlog.Entry) ([]byte, error) {
	out := object{
		"eventVersion": "1.11", "eventCategory": "ActivityAuditLog", "eventType": "ActivityLog", "eventID": e.ID,
		"eventTime": e.Time.UTC().Format("2006-01-02T15:04:05Z"), "eventSource": orUnknown(e.Service), "eventName": e.Action,
		"readOnly": e.Operation == "read", "userIdentity": identityOf(e), "requestParameters": parameters(e), "responseElements": nil,
		"additionalEventData": additional(e),
	}
	from := e.Source.IP
	if from == "" {
		from = e.Source.Host
	}
	code, message := "", ""
	if e.Outcome == attestlog.Failure { // what they are for; else the reason is additional
		code, message = "Failure", e.Reason
	}
	for name, text := range map[string]string{
		"sourceIPAddress": from, "userAgent": e.Source.UserAgent, "errorCode": code, "errorMessage": message, "requestID": e.Request.ID,
		"recipientAccountId": e.Tenant,
	} {
		if text != "" {
			out[name] = text
		}
	}
	var resources []object
	for _, t := range e.Targets {
		if t.ID == "" {
			continue // additionalEventData has it
		}
		r := object{"ARN": t.ID}
		if t.Type != "" {
			r["type"] = t.Type
		}
		resources = append(resources, r)
	}
	if len(resources) > 0 {
		out["resources"] = resources
	}
	text, err := json.Marshal(out)
	return append(dst, text...), err
}

func identityOf(e *attestlog.Entry) object {
	o := object{"type": "Unknown", "principalId": orUnknown(e.Actor.ID)}
	if e.Actor.Name != "" {
		o["userName"] = e.Actor.Name
	}
	return o
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// parameters are those of the request, or null.
func parameters(e *attestlog.Entry) any {
	o := object{}
	for name, text := range map[string]string{"method": e.Request.Method, "path": e.Request.Path, "route": e.Request.Route} {
		if text != "" {
			o[name] = text
		}
	}
	if len(o) == 0 {
		return nil
	}
	return o
}

func additional(e *attestlog.Entry) object {
	o := object{
		"index": e.Index, "leaf_hash": base64.StdEncoding.EncodeToString(e.LeafHash[:]), "time": e.Time.UTC().Format(time.RFC3339Nano),
		"logged_time": e.LoggedTime.UTC().Format(time.RFC3339Nano),
	}
	for name, text := range map[string]string{
		"module": e.Module, "operation": e.Operation, "outcome": string(e.Outcome), "message": e.Message, "actor_type": e.Actor.Type,
		"session": e.Actor.Session, "on_behalf_of": e.Actor.OnBehalfOf, "trace_id": e.Trace.TraceID, "span_id": e.Trace.SpanID, "source_host": e.Source.Host,
	} {
		if text != "" {
			o[name] = text
		}
	}
	if e.Outcome != attestlog.Failure && e.Reason != "" {
		o["reason"] = e.Reason
	}
	if e.Request.Status > 0 {
		o["status"] = e.Request.Status
	}
	if e.Request.DurationUS > 0 {
		o["duration_us"] = e.Request.DurationUS
	}
	maps.Copy(o, convert.Rest(e))
	return o
}
