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
	"strings"
	"time"
	"unicode"

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
		SpecVersion: "1.0", ID: strconv.FormatUint(e.Index, 10), Source: source(origin), Type: allowed(e.Action),
		Time: e.Time.UTC().Format(time.RFC3339Nano), DataContentType: "application/json", Data: *e,
	}
	if len(e.Targets) > 0 {
		subject := e.Targets[0].ID
		if t := e.Targets[0].Type; t != "" {
			subject = t + "/" + subject
		}
		if strings.TrimSpace(subject) != "" {
			out.Subject = allowed(subject)
		}
	}
	if hex(e.Trace.TraceID, 32) && hex(e.Trace.SpanID, 16) {
		out.TraceParent = "00-" + e.Trace.TraceID + "-" + e.Trace.SpanID + "-01"
	}
	text, err := json.Marshal(out)
	return append(dst, text...), err
}

// source is a path. One that began with two slashes would name a host.
func source(origin string) string {
	path := (&url.URL{Path: "/" + origin}).EscapedPath()
	if rest, ok := strings.CutPrefix(path, "//"); ok {
		return "/%2F" + rest
	}
	return path
}

// allowed replaces the characters that attributes may not have: control
// characters and noncharacters (CloudEvents 1.0.2, "Type System").
func allowed(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// hex reports whether s is an id of W3C Trace Context: n lower-case digits, not
// all of them zeros.
func hex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == "" && strings.Trim(s, "0") != ""
}
