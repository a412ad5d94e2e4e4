package convert_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// samples are of each format, with what has ids in another order and errors.
var samples = map[string]string{
	"kubernetes": `{"auditID":"a","verb":"get"}`, "ocsf": `{"class_uid":1}`, "ecs": `{"ecs":{"version":"8"}}`, "cef": "CEF:0|a|b|c|d|e|1|",
	"cloudevents": `{"specversion":"1.0","id":"1","source":"s","type":"t"}`, "otlp": `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}`,
	"csv": "a,b", "cloudtrail": `{"eventName":"x"}`, "jsonl": `{"action":"x"}`, "opa": `{"decision_id":"a"}`,
	"syslog": "<1>1 - - - - - -",
}

// An event without a name of its own must not meet itself with other content
// when its source is read again, and an equal one must not be lost.
func TestReadersGiveEveryRecordAnIdOnce(t *testing.T) {
	for format, in := range samples {
		in := strings.Repeat(in+"\n", 3)
		first, again := read(t, format, in), read(t, format, in)
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("%s: read again (-first +again):\n%s", format, diff)
		}
		ids := map[string]bool{}
		for _, e := range first {
			ids[e.ID] = true
		}
		if len(first) < 2 || len(ids) != len(first) {
			t.Errorf("%s: %d events have %d ids", format, len(first), len(ids))
		}
	}
}

// Equal records of two sources are one event only where they carry an identity.
func TestIDsOfTwoSources(t *testing.T) {
	for _, tt := range []struct {
		format, in string
		same       bool
	}{
		{"kubernetes", samples["kubernetes"], true},
		{"kubernetes", `{"verb":"get"}`, false},
		{"ocsf", samples["ocsf"], false},
		{"ocsf", `{"class_uid":1,"metadata":{"uid":"u"}}`, true},
		{"ecs", samples["ecs"], false},
		{"ecs", `{"event.id":"1"}`, true},
		{"cef", samples["cef"], false},
		{"cef", "CEF:0|a|b|c|d|e|1|externalId=1", true},
		{"cloudevents", samples["cloudevents"], true},
		{"otlp", samples["otlp"], false},
		{"csv", "a\nb", false},
		{"cloudtrail", samples["cloudtrail"], true},
		{"jsonl", samples["jsonl"], false},
		{"opa", samples["opa"], true},
		{"opa", `{"path":"p"}`, false},
		{"syslog", samples["syslog"], false},
	} {
		var ids []string
		for _, source := range []string{"f", "g"} {
			for e, err := range readers[tt.format](strings.NewReader(tt.in), source) {
				if err != nil {
					t.Fatalf("%s: %v", tt.format, err)
				}
				ids = append(ids, e.ID)
			}
		}
		if len(ids) != 2 || tt.same != (ids[0] == ids[1]) {
			t.Errorf("%s: ids %q of %s in two sources", tt.format, ids, tt.in)
		}
	}
}

// Maps have no order, and an event must not have theirs.
func TestReadersDoTheSameEachTime(t *testing.T) {
	for format, in := range map[string]string{
		"kubernetes": `{"kind":"EventList","items":[{"auditID":"a","user":{"username":"u"},"x":{"u":"u"}},{},{"verb":"get","attestlog_mapped":1}]}`,
		"otlp": `{"resourceLogs":[{"resource":{"attributes":5},"scopeLogs":[{"scope":7,"logRecords":[{}]}]},{"resource":{"a":1},"scopeLogs":[{"scope":{"b":2},"logRecords":[` +
			`{"scope":1,"resource":2,"scope_":3,"body_":4,"body":{"intValue":1},"attributes":[{"key":"body","value":{"stringValue":"x"}},{"key":"flags","value":{}}],"flags":1,"flags_":2},{"attributes":[{"key":"k","value":{"intValue":"1","boolValue":true}}]}]}]}]}`,
		"ocsf": `{"class_uid":1,"user":{"uid":"a"},"actor":{"user":{"name":"b"}},"x":"` + "\xff" + `"}[1,{}]`, "ecs": `{"@timestamp":1,"message":["x"],"event":{"action":["a"]},"event.action":"b"}{"a":1}`,
		"cef": "CEF:0|a|b|c|d|e|1|text k=v k=w cef=1 cef_=2\nx", "cloudevents": `{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"user":"u","time":"x","ip":"1.2.3.4:5"}}{"a":1}`,
		"csv": "a,a,user,name\n1,2,3,4,5\n\"", "cloudtrail": `{"eventName":"x","userIdentity":{"userName":"a","arn":"b"}}{}`,
		"jsonl": `{"user":"u","user_id":1,"a":{"b":"` + "\xfe" + `","c":12345678901234567890}}` + "\n{",
		"opa":   `{"path":"a","input":{"user":{"name":"x","id":"y"},"subject":{"id":"z"}}}{}`,
	} {
		var first string
		for i := range 100 {
			var got strings.Builder
			for e, err := range readers[format](strings.NewReader(in), "f") {
				text, jsonErr := e.MarshalJSON()
				if jsonErr != nil {
					text = nil
				}
				fmt.Fprintf(&got, "%s %v\n", text, err)
			}
			if i == 0 {
				first = got.String()
			}
			if diff := cmp.Diff(first, got.String()); diff != "" {
				t.Fatalf("%s: time %d (-first +got):\n%s", format, i, diff)
			}
		}
		if !strings.Contains(first, "<nil>\n") || !strings.Contains(first, "record 2") && !strings.Contains(first, "record 1 ") {
			t.Errorf("%s: Read has no event or no error: %s", format, first)
		}
	}
}
