package cloudevents

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// A record is a CloudEvent as Append writes it.
type record struct {
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

// Append appends an entry as one CloudEvent on one line, without the line's
// end. Source and id together name one entry of one log: the log's origin, as a
// path, and the entry's index.
//
//	{"specversion":"1.0","id":"7","source":"/example.com/audit","type":"mail.view",
//	 "subject":"mail/7","time":"2026-03-01T10:00:00Z","datacontenttype":"application/json",
//	 "data":{"index":7,"leaf_hash":"…","action":"mail.view",…}}
func Append(dst []byte, origin string, e *attestlog.Entry) ([]byte, error) {
	text, err := json.Marshal(record{
		SpecVersion:     "1.0",
		ID:              strconv.FormatUint(e.Index, 10),
		Source:          sourceOf(origin),
		Type:            allowed(e.Action),
		Subject:         subjectOf(e),
		Time:            e.Time.UTC().Format(time.RFC3339Nano),
		DataContentType: "application/json",
		TraceParent:     traceParentOf(e),
		Data:            *e,
	})
	return append(dst, text...), err
}

// sourceOf returns an origin as a path. One that started with two slashes would
// name a host.
func sourceOf(origin string) string {
	path := (&url.URL{Path: "/" + origin}).EscapedPath()
	if rest, ok := strings.CutPrefix(path, "//"); ok {
		return "/%2F" + rest
	}
	return path
}

// subjectOf returns the first target, or "". A subject must not be empty, and
// one of spaces is of no use.
func subjectOf(e *attestlog.Entry) string {
	if len(e.Targets) == 0 {
		return ""
	}
	t := e.Targets[0]
	subject := t.ID
	if t.Type != "" {
		subject = t.Type + "/" + t.ID
	}
	if strings.TrimSpace(subject) == "" {
		return ""
	}
	return allowed(subject)
}

// traceParentOf returns the entry's trace, as the Distributed Tracing extension
// has it, or "" if its ids are not of W3C Trace Context.
func traceParentOf(e *attestlog.Entry) string {
	if !convert.IsTraceID(e.Trace.TraceID) || !convert.IsSpanID(e.Trace.SpanID) {
		return ""
	}
	return "00-" + e.Trace.TraceID + "-" + e.Trace.SpanID + "-01"
}

// allowed replaces the characters that attributes must not have: control
// characters and noncharacters (CloudEvents 1.0.2, "Type System").
func allowed(s string) string {
	return strings.Map(func(r rune) rune {
		isNoncharacter := r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe
		if unicode.IsControl(r) || isNoncharacter {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
