package otel_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/otel"
	"github.com/attestlog/attestlog/fit"
	"github.com/google/go-cmp/cmp"
)

// read returns the events, and the messages and errors in their order.
func read(in, source string) (events []attestlog.Event, out []string) {
	for e, err := range otel.Read(strings.NewReader(in), source) {
		if err != nil {
			_, text, _ := strings.Cut(err.Error(), "): ")
			out = append(out, text)
			continue
		}
		out, events = append(out, e.Message), append(events, e)
	}
	return events, out
}

// request is one of a record with an attribute.
func request(value string) string {
	return `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":[{"key":"k","value":` + value + `}],"body":{"stringValue":"ok"}}]}]}]}`
}

func TestRecordsAreReadOneByOne(t *testing.T) {
	const a, b, c = `{"body":{"stringValue":"a"}}`, `{"body":{"stringValue":"b"}}`, `{"body":{"stringValue":"c"}}`
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"bad records", `{"resourceLogs":[{"scopeLogs":[{"logRecords":[` + a + `]},{"logRecords":[7,{"body":{"stringValue":"\q"}},` + b + `]}]},5]}`, []string{
			"a", "resourceLogs[0].scopeLogs[1].logRecords[0]: not a JSON object", "resourceLogs[0].scopeLogs[1].logRecords[1]: not JSON: unexpected 'q' at byte 25", "b",
			"resourceLogs[1]: not a JSON object",
		}},
		{"lists that come again", `{"resourceLogs":[{"scopeLogs":[{"logRecords":[` + a + `],"logRecords":[` + b + `]}]}],"resourceLogs":[{"scopeLogs":[],"scopeLogs":[{"logRecords":[` + c + `]}]}]}`, []string{"a", "b", "c"}},
		{"a tab", "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"body\":{\"stringValue\":\"\t\"}}," + a + "]}]}]}", []string{"\t", "a"}},
		{"null is absent", `{"resourceLogs":[{"resource":null,"schemaUrl":null,"scopeLogs":[{"scope":null,"logRecords":[` + a + `]},{"logRecords":null}]}]}`, []string{"a"}},
		{"drafts", `{"resourceLogs":[{"instrumentationLibraryLogs":[{"logs":[` + a + `]}],"scopeLogs":[{"logRecords":[` + b + `]}]}]}`, []string{"resourceLogs[0]: not read: instrumentationLibraryLogs", "b"}},
		{"snake_case", `{"resource_logs":[{"scope_logs":[{"log_records":[` + a + `]}]}]}`, []string{"not read: resource_logs"}},
		{"nothing", `{"resourceLogs":[{},{"resource":{}},{"scopes":[]},{"scopeLogs":[{"scope":{},"schemaUrl":"s"}]}]}{}`, []string{
			"resourceLogs[2]: not an export request of logs: no scopeLogs", "not an export request of logs: no resourceLogs",
		}},
		{"no list", `{"resourceLogs":[{"scopeLogs":{}}]}`, []string{"resourceLogs[0].scopeLogs: not a JSON array"}},
		{"a bad resource", `{"resourceLogs":[{"resource":[],"scopeLogs":[{"logRecords":[` + a + `]}]}]}`, []string{"resourceLogs[0].scopeLogs[0].logRecords[0]: resource: not an object"}},
		{"values of two kinds", request(`{"stringValue":"x","intValue":"1"}`), []string{`resourceLogs[0].scopeLogs[0].logRecords[0]: attributes: "k": not an AnyValue`}},
		{"a value twice", request(`{"stringValue":"x","stringValue":"y"}`), []string{`resourceLogs[0].scopeLogs[0].logRecords[0]: attributes: "k": not an AnyValue: more than one stringValue`}},
		{"an array that is none", request(`{"arrayValue":[]}`), []string{`resourceLogs[0].scopeLogs[0].logRecords[0]: attributes: "k": arrayValue is not an object`}},
	} {
		if _, got := read(tt.in, "f"); cmp.Diff(tt.want, got) != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, cmp.Diff(tt.want, got))
		}
	}
}

// Of what is nested deeper than an event may be, the text is kept.
func TestValuesThatAreNestedTooDeepAreKept(t *testing.T) {
	for _, form := range [][2]string{{`{"arrayValue":{"values":[`, `]}}`}, {`{"kvlistValue":{"values":[{"key":"in","value":`, `}]}}`}} {
		for depth := 1; depth < 40; depth++ {
			in := request(strings.Repeat(form[0], depth) + `{"stringValue":"deepest"}` + strings.Repeat(form[1], depth))
			events, errs := read(in, "f")
			if len(events) != 1 || !strings.Contains(fmt.Sprint(events[0].Attributes["k"]), "deepest") {
				t.Fatalf("%d times %s: %v, %v", depth, form[0], events, errs)
			}
		}
	}
}

func TestOriginalHasAllThatStandsAroundARecord(t *testing.T) {
	in := `{"a":1,"resourceLogs":[{"b":"\u00e9","resource":{},"scopeLogs":[{"c":[],"logRecords":[X],"schemaUrl":"s","d":2},{"logRecords":[Y]}],"schemaUrl":"r"}],"e":null}`
	events, errs := read(strings.NewReplacer("X", `{"body":{}} , {"flags": 1}`, "Y", `{"flags":2}`).Replace(in), "f")
	if len(events) != 3 {
		t.Fatalf("Read = %v", errs)
	}
	first, _, _ := strings.Cut(in, ",{\"logRecords\":[Y")
	for i, want := range []string{
		first + `],"schemaUrl":"r"}],"e":null}`, first + `],"schemaUrl":"r"}],"e":null}`,
		`{"a":1,"resourceLogs":[{"b":"\u00e9","resource":{},"scopeLogs":[{"logRecords":[X]}],"schemaUrl":"r"}],"e":null}`,
	} {
		want = strings.Replace(want, "X", []string{`{"body":{}}`, `{"flags": 1}`, `{"flags":2}`}[i], 1)
		if got := string(events[i].Original); got != want {
			t.Errorf("original %d = %s, want %s", i, got, want)
		}
	}
}

// What stands around many records must not be kept as often as there is memory.
func TestDocumentsOfARequestAreBounded(t *testing.T) {
	const records = 300
	in := `{"resourceLogs":[{"x":"` + strings.Repeat("x", 1<<20) + `","scopeLogs":[{"logRecords":[` + strings.Repeat(`{},`, records-1) + `{}]}]}]}`
	events, refused, reason := 0, 0, ""
	for _, err := range otel.Read(strings.NewReader(in), "f") {
		if err == nil {
			events++
		} else {
			refused++
			reason = err.Error()
		}
	}
	if events != 255 || events+refused != records || !strings.Contains(reason, "more than 268435456 bytes") {
		t.Errorf("Read = %d events, %d refused: %s", events, refused, reason)
	}
}

func TestIDsOfRecords(t *testing.T) {
	for in, want := range map[string]string{
		request(`{}`): "", strings.Replace(request(`{"stringValue":"0b6f"}`), `"k"`, `"log.record.uid"`, 1): "",
		strings.Replace(request(`{"stringValue":"0b6f"}`), `"k"`, `"audit.record.id"`, 1): "0b6f",
	} {
		f, _ := read(in, "f")
		g, _ := read(in, "g")
		switch {
		case want != "" && (f[0].ID != want || g[0].ID != want):
			t.Errorf("%s: ids %q and %q, want %q", in, f[0].ID, g[0].ID, want)
		case want == "" && (f[0].ID == g[0].ID || !strings.HasPrefix(f[0].ID, "otlp:")):
			t.Errorf("%s: ids %q and %q of two sources", in, f[0].ID, g[0].ID)
		case strings.Contains(in, "log.record.uid") && f[0].Attributes["log.record.uid"] != "0b6f":
			t.Errorf("%s: attributes %v", in, f[0].Attributes)
		}
	}
}

// Names that Named takes from are in the resource too, which many records share.
func TestRecordsShareTheirResource(t *testing.T) {
	in := `{"resourceLogs":[{"resource":{"id":"R","attributes":[{"key":"service.name","value":{"stringValue":"s"}},{"key":"ip","value":{"stringValue":"192.0.2.7"}}]},"scopeLogs":[{"logRecords":[` +
		`{"attributes":[{"key":"ip","value":{"stringValue":"192.0.2.7"}}]},{}]}]}]}`
	events, errs := read(in, "f")
	if len(events) != 2 {
		t.Fatal(errs)
	}
	want := []map[string]any{nil, {"resource": map[string]any{"attributes": map[string]any{"ip": "192.0.2.7"}}}}
	for i, e := range events {
		delete(e.Attributes, fit.NotesName)
		if len(e.Attributes) == 0 {
			e.Attributes = nil
		}
		if diff := cmp.Diff(want[i], e.Attributes); diff != "" || e.Service != "s" || len(e.Targets) != 1 || e.Targets[0].ID != "R" {
			t.Errorf("event %d: service %q, targets %v, attributes (-want +got):\n%s", i, e.Service, e.Targets, diff)
		}
	}
}
