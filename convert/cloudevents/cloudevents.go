// Package cloudevents reads and writes CloudEvents, version 1.0.2, in the JSON
// format (cloudevents.io). An entry is written as one event on one line, whose
// data is the entry.
//
//	{"specversion":"1.0","id":"7","source":"/attestlog/1f…","type":"mail.view",
//	 "subject":"mail/7","time":"2026-03-01T10:00:00Z","datacontenttype":"application/json",
//	 "data":{"index":7,"leaf_hash":"…","action":"mail.view",…}}
package cloudevents

import (
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/attestlog/attestlog"
)

type event struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	TraceParent     string          `json:"traceparent,omitempty"`
	Data            attestlog.Entry `json:"data"`
}

// Append appends an entry's event as one line of JSON, without the line's end.
// Source and id together name one entry of one log: the log's origin, as a path,
// and the entry's index.
func Append(dst []byte, origin string, e *attestlog.Entry) ([]byte, error) {
	out := event{
		SpecVersion: "1.0", ID: strconv.FormatUint(e.Index, 10), Source: (&url.URL{Path: "/" + origin}).EscapedPath(), Type: e.Action,
		Time: e.Time.UTC().Format(time.RFC3339Nano), DataContentType: "application/json", Data: *e,
	}
	if len(e.Targets) > 0 {
		out.Subject = e.Targets[0].ID
		if t := e.Targets[0].Type; t != "" {
			out.Subject = t + "/" + out.Subject
		}
	}
	if e.Trace.TraceID != "" && e.Trace.SpanID != "" {
		out.TraceParent = "00-" + e.Trace.TraceID + "-" + e.Trace.SpanID + "-01"
	}
	text, err := json.Marshal(out)
	return append(dst, text...), err
}
