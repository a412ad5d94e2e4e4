package otel_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/otel"
)

func TestAppendKeepsToWhatOTLPAllows(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	late := time.Date(2026, 3, 1, 10, 0, 1, 0, time.UTC)
	for _, tt := range []struct {
		name  string
		entry attestlog.Entry
		want  []string // parts of the view, and after a ! what is no part
	}{
		{"a time", attestlog.Entry{LoggedTime: late, Event: attestlog.Event{Time: time.Unix(1, 5)}}, []string{`"timeUnixNano":"1000000005"`, `"observedTimeUnixNano":"1772359201000000000"`, `!attestlog.time`}},
		{
			"a time before 1970", attestlog.Entry{LoggedTime: late, Event: attestlog.Event{Time: time.Unix(-1, 0)}},
			[]string{`!"timeUnixNano"`, `"observedTimeUnixNano":"1772359201000000000"`, `{"key":"attestlog.time","value":{"stringValue":"-1000000000"}}`},
		},
		{"both before 1970", attestlog.Entry{LoggedTime: time.Unix(-2, 0), Event: attestlog.Event{Time: time.Unix(-1, 0)}}, []string{`!imeUnixNano`}},
		{"a time after its logging", attestlog.Entry{LoggedTime: time.Unix(-1, 0), Event: attestlog.Event{Time: time.Unix(1, 0)}}, []string{`"timeUnixNano":"1000000000"`, `"observedTimeUnixNano":"1000000000"`}},
		{"a trace", attestlog.Entry{Event: attestlog.Event{Trace: attestlog.Trace{TraceID: trace, SpanID: span}}}, []string{`"traceId":"` + trace, `"spanId":"` + span, `!attestlog.trace_id`, `!attestlog.span_id`}},
		{"a trace without a span", attestlog.Entry{Event: attestlog.Event{Trace: attestlog.Trace{TraceID: trace}}}, []string{`"traceId":"` + trace, `!"spanId"`}},
		{
			"no ids of W3C Trace Context", attestlog.Entry{Event: attestlog.Event{Trace: attestlog.Trace{TraceID: strings.Repeat("x", 32), SpanID: strings.Repeat("0", 16)}}},
			[]string{`!"traceId"`, `!"spanId"`, `{"key":"attestlog.trace_id","value":{"stringValue":"xx`, `{"key":"attestlog.span_id","value":{"stringValue":"00`},
		},
		{"an erased actor", attestlog.Entry{}, []string{`{"key":"audit.actor.id","value":{"stringValue":"unknown"}}`}},
		{"an action that ends in a dot", attestlog.Entry{Event: attestlog.Event{Action: "mail.view."}}, []string{`{"key":"audit.action","value":{"stringValue":"VIEW"}}`}},
		{"an action of dots", attestlog.Entry{Event: attestlog.Event{Action: "."}}, []string{`{"key":"audit.action","value":{"stringValue":"."}}`}},
		{"a negative zero", attestlog.Entry{Event: attestlog.Event{Attributes: map[string]any{"z": math.Copysign(0, -1)}}}, []string{`{"doubleValue":-0}`}},
	} {
		got, err := otel.Append(nil, &tt.entry)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		for _, want := range tt.want {
			part, absent := strings.CutPrefix(want, "!")
			if strings.Contains(string(got), part) == absent {
				t.Errorf("%s: Append = %s, want %s", tt.name, got, want)
			}
		}
	}
}
