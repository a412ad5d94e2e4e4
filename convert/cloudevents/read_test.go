package cloudevents_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/cloudevents"
	"github.com/attestlog/attestlog/fit"
	"github.com/google/go-cmp/cmp"
)

var at = time.Date(2026, 3, 1, 10, 0, 0, 123_456_789, time.UTC)

// read returns the only event.
func read(t *testing.T, in string) attestlog.Event {
	t.Helper()
	var all []attestlog.Event
	for e, err := range cloudevents.Read(strings.NewReader(in), "f") {
		if err != nil {
			t.Fatalf("%v: %s", err, in)
		}
		all = append(all, e)
	}
	if len(all) != 1 {
		t.Fatalf("%d events of %s", len(all), in)
	}
	return all[0]
}

// around puts data into an event.
func around(data, more string) string {
	return `{"specversion":"1.0","id":"1","source":"s","type":"t"` + more + `,"data":` + data + `}`
}

func TestAnEntryIsReadBackAsItsEvent(t *testing.T) {
	whole := attestlog.Event{
		ID: "0b6f", Time: at, Service: "webmail", Action: "mail.view", Actor: attestlog.Actor{ID: "alice", Name: "Alice"}, Source: attestlog.Source{IP: "192.0.2.7"},
		Targets: []attestlog.Target{{Type: "mail", ID: "7"}, {ID: "8"}}, Changes: []attestlog.Change{{Path: "/x", Op: "add", New: "<y>"}},
		Attributes: map[string]any{"user": "bob", "name": "Alice", "imported": "before", "cloudevent": 1.0}, Original: []byte("\xff"),
	}
	erased := whole
	erased.Actor = attestlog.Actor{Name: "Alice"}
	nobody := whole
	nobody.Actor, nobody.Original = attestlog.Actor{}, nil
	for _, tt := range []struct {
		event  attestlog.Event
		erased []string
	}{{whole, nil}, {whole, []string{"/message"}}, {erased, []string{"/actor/id"}}, {nobody, []string{"/actor/id", "/actor/name", "/original"}}} {
		entry := attestlog.Entry{Event: tt.event, Index: 7, LoggedTime: at.Truncate(time.Microsecond), LeafHash: attestlog.Hash{1}, Erased: tt.erased}
		line, err := cloudevents.Append(nil, "example.com/audit", &entry)
		if err != nil {
			t.Fatal(err)
		}
		got := fit.Restore(read(t, string(line)))
		imported := map[string]any{"index": 7.0, "leaf_hash": "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "logged_time": "2026-03-01T10:00:00.123456Z", "source": "/example.com/audit", "imported": "before"}
		if tt.erased != nil {
			var all []any
			for _, pointer := range tt.erased {
				all = append(all, pointer)
			}
			imported["erased"] = all
		}
		want := tt.event
		want.Attributes = map[string]any{"user": "bob", "name": "Alice", "imported": imported, "cloudevent": 1.0}
		if want.Original == nil {
			want.Original = line
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Read of %s (-want +got):\n%s", line, diff)
		}
	}
}

func TestDataOfThisSchemaStaysAsItIs(t *testing.T) {
	data := `{"id":"own","action":"a","actor":{"id":"x"},"time":"2026-03-01T10:00:00Z","attributes":{"user":"u","ip":"192.0.2.7","cloudevent":1,"n":1e2}}`
	e := read(t, around(data, `,"dataid":"theirs"`))
	if diff := cmp.Diff(map[string]any{
		"user": "u", "ip": "192.0.2.7", "cloudevent": 1.0, "n": 100.0,
		"cloudevent_": map[string]any{"specversion": "1.0", "id": "1", "type": "t", "dataid": "theirs", "dataid_": "own"},
	}, e.Attributes); diff != "" || e.Source.IP != "" || e.Service != "s" {
		t.Errorf("Read = %+v, attributes (-want +got):\n%s", e, diff)
	}
}

// What this log's schema does not allow makes data another's, whose bytes come
// back.
func TestOtherDataLosesNothing(t *testing.T) {
	for _, data := range []string{
		"{\"action\":\"a\",\"actor\":{\"id\":\"\xff\"}}", `{"action":"a","action":"b","actor":{"id":"x"}}`, `{"action":"a","actor":{"id":"x"},"attributes":{"n":9007199254740993}}`,
		`{"index":1,"leaf_hash":"x","logged_time":"2026-03-01T10:00:00Z","action":"a","actor":{"id":"x"}}`,
	} {
		e := read(t, around(data, ""))
		back := fit.Restore(e)
		if string(e.Original) != around(data, "") || e.Attributes["imported"] != nil || back.Action != "t" {
			t.Errorf("%s: Read = %+v", data, back)
		}
		if strings.Contains(data, "\xff") && back.Actor.ID != "\xff" {
			text, _ := json.Marshal(back.Attributes)
			t.Errorf("%s: the actor is %q, attributes %s", data, back.Actor.ID, text)
		}
	}
}

func TestBinaryModeBecomesStructured(t *testing.T) {
	header := map[string][]string{
		"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/a%20b"}, "Ce-Type": {"t"}, "Ce-Subject": {`"mail/%C3%A9"`}, "Content-Type": {"application/json; charset=utf-8"},
		"Authorization": {"secret"},
	}
	for _, tt := range []struct{ body, data string }{
		{`{"a": 1, "<": 1e2}`, `"data":{"a": 1, "<": 1e2}`}, {"{\"a\":\"\xff\"}", `"data_base64":"eyJhIjoi/yJ9"`},
		{`{"a":1}`, `"data":{"a":1}`}, {`{"a":`, `"data":"{\"a\":"`}, {"\xff", `"data_base64":"/w=="`}, {"", `"specversion":"1.0"`},
	} {
		got, err := cloudevents.Structured(header, []byte(tt.body))
		if err != nil || !strings.Contains(string(got), tt.data) || !strings.Contains(string(got), `"source":"/a b"`) || !strings.Contains(string(got), `"subject":"mail/é"`) || strings.Contains(string(got), "secret") {
			t.Errorf("Structured(%q) = %s, %v", tt.body, got, err)
		}
	}
	for _, bad := range []map[string][]string{{}, {"Ce-Id": {"\xff"}}, {"Ce-Id": {"%ff"}}, {"Ce-Id": {"1", "1"}}, {"Ce-Data": {"1"}}, {"Ce-Datacontenttype": {"text/plain"}}} {
		if got, err := cloudevents.Structured(bad, nil); err == nil {
			t.Errorf("Structured(%v) = %s", bad, got)
		}
	}
	got, err := cloudevents.Structured(map[string][]string{"Ce-Id": {"100% %zz %4 %C3%A9 %"}, "Ce-Dataschema": {"s"}}, nil)
	if want := `{"dataschema":"s","id":"100% %zz %4 é %"}`; err != nil || string(got) != want {
		t.Errorf("Structured = %s, %v, want %s", got, err, want)
	}
}
