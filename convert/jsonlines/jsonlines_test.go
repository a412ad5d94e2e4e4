package jsonlines_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/convert/jsonlines"
	"github.com/attestlog/attestlog/fit"
	"github.com/google/go-cmp/cmp"
)

var _ convert.Reader = jsonlines.Read

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func only(t *testing.T, line string) attestlog.Event {
	t.Helper()
	var out []attestlog.Event
	for e, err := range jsonlines.Read(strings.NewReader(line), "f") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	if len(out) != 1 {
		t.Fatalf("%d events, want 1", len(out))
	}
	return out[0]
}

func TestReadMapsForeignRecords(t *testing.T) {
	undated := map[string]any{"/time": map[string]any{"as": "unknown"}}
	nobody := map[string]any{"/actor/id": map[string]any{"as": "empty"}}
	tests := []struct {
		name, in string
		want     attestlog.Event
	}{
		{"common names", `{"ts":"2026-01-02T04:04:05+01:00","event":"login","user":"alice","ip":"192.0.2.7","result":"failure","reason":"bad password","service":"web","request_id":"r1","shard":3}`, attestlog.Event{
			Time: at, Action: "login", Actor: attestlog.Actor{ID: "alice"}, Source: attestlog.Source{IP: "192.0.2.7"},
			Outcome: attestlog.Failure, Reason: "bad password", Service: "web", Request: attestlog.Request{ID: "r1"},
			Attributes: map[string]any{"shard": 3.0},
		}},
		{"ECS", `{"@timestamp":"2026-01-02T03:04:05Z","event":{"action":"user-login","outcome":"success","kind":"event"},"user":{"id":"7","name":"alice"},"source":{"ip":"2001:DB8::1"},"user_agent":{"original":"curl"},"http":{"request":{"method":"GET"},"response":{"status_code":200}},"message":"hello"}`, attestlog.Event{
			Time: at, Action: "user-login", Actor: attestlog.Actor{ID: "7", Name: "alice"}, Outcome: attestlog.Success,
			Source: attestlog.Source{IP: "2001:db8::1", UserAgent: "curl"}, Request: attestlog.Request{Method: "GET", Status: 200}, Message: "hello",
			Attributes: map[string]any{"event": map[string]any{"kind": "event"}, "http": map[string]any{"response": map[string]any{"status_code": 200.0}}},
		}},
		{"slog", `{"time":"2026-01-02T03:04:05Z","level":"INFO","msg":"mail.view","user.id":42,"remote_addr":"192.0.2.7:5000","success":true,"target":{"type":"mail","id":"9"}}`, attestlog.Event{
			Time: at, Action: "mail.view", Actor: attestlog.Actor{ID: "42"}, Outcome: attestlog.Success,
			Source: attestlog.Source{IP: "192.0.2.7"}, Targets: []attestlog.Target{{ID: "9", Type: "mail"}},
			Attributes: map[string]any{"level": "INFO", "user.id": 42.0, "port": 5000.0, "success": true},
		}},
		{"no time", `{"action":"a","user":"u"}`, attestlog.Event{
			Time: time.Unix(0, 0).UTC(), Action: "a", Actor: attestlog.Actor{ID: "u"},
			Attributes: map[string]any{fit.NotesName: undated},
		}},
		{"nobody", `{"action":"a","time":1767323045.25}`, attestlog.Event{
			Time: at.Add(250 * time.Millisecond), Action: "a", Actor: attestlog.Actor{ID: fit.UnknownActor},
			Attributes: map[string]any{"time": 1767323045.25, fit.NotesName: nobody},
		}},
		{"bytes that are not UTF-8", "{\"action\":\"a\",\"user\":\"\xff\",\"time\":\"2026-01-02T03:04:05Z\"}", attestlog.Event{
			Time: at, Action: "a", Actor: attestlog.Actor{ID: "\ufffdff"},
			Attributes: map[string]any{fit.NotesName: map[string]any{"/actor/id": map[string]any{"as": "escaped"}}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := only(t, tt.in+"\r\n")
			if string(e.Original) != tt.in || !strings.HasPrefix(e.ID, "jsonl:") {
				t.Errorf("id %q, original %q", e.ID, e.Original)
			}
			e.ID, e.Original = "", nil
			if diff := cmp.Diff(tt.want, e); diff != "" {
				t.Errorf("Read (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadUnderstandsTimes(t *testing.T) {
	for in, want := range map[string]time.Time{
		`"2026-01-02T03:04:05Z"`:                    at,
		`"2026-01-02T03:04:05.5"`:                   at.Add(500 * time.Millisecond),
		`"2026-01-02 03:04:05,123"`:                 at.Add(123 * time.Millisecond),
		`"2026-01-02T05:04:05+0200"`:                at,
		`"02/Jan/2026:03:04:05 +0000"`:              at,
		`"2026-01-02 03:04:05.000000001 +0000 UTC"`: at.Add(1),
		`1767323045`:                                at,
		`1767323045.123456789`:                      at.Add(123456789),
		`"1767323045123"`:                           at.Add(123 * time.Millisecond),
		`1767323045123456`:                          at.Add(123456 * time.Microsecond),
		`1767323045123456789`:                       at.Add(123456789),
		`1.767323045e9`:                             at,
		`7`:                                         time.Unix(0, 0),
		`"yesterday"`:                               time.Unix(0, 0),
		`null`:                                      time.Unix(0, 0),
	} {
		if e := only(t, `{"action":"a","user":"u","time":`+in+`}`); !e.Time.Equal(want) {
			t.Errorf("time of %s = %v, want %v", in, e.Time, want)
		}
	}
}

func TestReadCompletesNativeEvents(t *testing.T) {
	const v7 = "019b7d01-9e88-7000-8000-000000000000"
	e := only(t, `{"id":"`+v7+`","action":"mail.view","actor":{"id":"alice"}}`)
	want := attestlog.Event{ID: v7, Time: time.UnixMilli(0x019b7d019e88).UTC(), Action: "mail.view", Actor: attestlog.Actor{ID: "alice"}}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("with an id (-want +got):\n%s", diff)
	}
	e = only(t, `{"action":"attestlog.restore","time":"2026-01-02T03:04:05Z","actor":{"id":"alice"},"attributes":{"n":1}}`)
	if !strings.HasPrefix(e.ID, "jsonl:") || e.Action != "foreign.attestlog.restore" || !e.Time.Equal(at) || e.Original != nil {
		t.Errorf("without an id: %+v", e)
	}
	if e := only(t, `{"action":"a","actor":{"id":"alice"}}`); e.Time.Unix() != 0 || e.Attributes[fit.NotesName] == nil {
		t.Errorf("without id and time: %+v", e)
	}
}

// entryLine writes an event as an exported entry.
func entryLine(t testing.TB, e attestlog.Event, sealed map[string]string, erased ...string) string {
	t.Helper()
	data, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var leaf map[string]any
	if err := json.Unmarshal(data, &leaf); err != nil {
		t.Fatal(err)
	}
	leaf["logged_time"], leaf["v"] = "2026-01-02T03:04:06.000007Z", 1
	r := attestlog.RawEntry{Index: 7}
	seals := map[string]string{}
	for pointer, value := range sealed {
		d := attestlog.Disclosure{Pointer: pointer, Salt: [16]byte{1}, Value: []byte(value)}
		sum := d.Digest()
		digest, _ := json.Marshal(sum[:])
		seals[pointer] = strings.Trim(string(digest), `"`)
		names := strings.Split(pointer[1:], "/")
		if part, ok := leaf[names[0]].(map[string]any); ok {
			if delete(part, names[1]); len(part) == 0 {
				delete(leaf, names[0])
			}
		} else {
			delete(leaf, names[0])
		}
		if !strings.Contains(strings.Join(erased, " "), pointer) {
			r.Disclosures = append(r.Disclosures, d)
		}
	}
	if len(seals) > 0 {
		leaf["sealed"] = seals
	}
	if r.Leaf, err = json.Marshal(leaf); err != nil {
		t.Fatal(err)
	}
	return string(attestlog.AppendLine(nil, &r))
}

func TestReadTurnsEntriesBackIntoEvents(t *testing.T) {
	e := attestlog.Event{
		ID: "my id", Time: at, Tenant: "acme", Action: "mail.view",
		Actor: attestlog.Actor{ID: "alice", Name: "Alice"}, Source: attestlog.Source{IP: "192.0.2.7"},
		Attributes: map[string]any{"n": 1.0, "a/b~c": "x"}, Original: []byte("\xffraw"), Message: "m",
	}
	sealed := map[string]string{
		"/actor/name": `"Alice"`, "/source/ip": `"192.0.2.7"`, "/message": `"m"`, "/original": `"data:;base64,/3Jhdw=="`,
	}
	imported := map[string]any{"index": 7.0, "logged_time": "2026-01-02T03:04:06.000007Z"}
	for pointer := range map[string]bool{"": true, "/actor/name": true, "/original": true} {
		line := entryLine(t, e, sealed, pointer)
		want := e
		want.Attributes = map[string]any{"n": 1.0, "a/b~c": "x", "imported": imported}
		switch pointer {
		case "/actor/name":
			want.Actor.Name = ""
		case "/original":
			want.Original = nil
		}
		if pointer != "" {
			want.Attributes["imported"] = map[string]any{"index": 7.0, "logged_time": imported["logged_time"], "erased": []any{pointer}}
		}
		if diff := cmp.Diff(want, only(t, line)); diff != "" {
			t.Errorf("with %q erased (-want +got):\n%s", pointer, diff)
		}
	}

	e.Actor.ID, e.Attributes = "", map[string]any{"imported": "before"}
	got := only(t, entryLine(t, e, map[string]string{"/actor/id": `"alice"`, "/original": `"x"`, "/attributes/s~1t": `[1]`, "/actor/session": `"s"`}))
	imported["imported"] = "before"
	if diff := cmp.Diff(map[string]any{"imported": imported, "s/t": []any{1.0}}, got.Attributes); diff != "" || got.Actor.ID != "alice" || got.Actor.Session != "s" {
		t.Errorf("actor %+v, attributes (-want +got):\n%s", got.Actor, diff)
	}
}

// read returns the actions, or where a record was refused.
func read(t testing.TB, r io.Reader) (out []string) {
	for e, err := range jsonlines.Read(r, "f") {
		var refused *convert.RecordError
		switch {
		case errors.As(err, &refused):
			out = append(out, fmt.Sprintf("%d:%d:%d", refused.Record, refused.Line, refused.Offset))
		case err != nil:
			out = append(out, err.Error())
		default:
			out = append(out, e.Action)
		}
	}
	return out
}

func TestReadGoesOnBehindBadLines(t *testing.T) {
	const a, b = `{"action":"a","user":"u"}`, `{"action":"b","actor":{"id":"u"}}`
	entry := entryLine(t, attestlog.Event{ID: "i", Time: at, Action: "c", Actor: attestlog.Actor{ID: "u"}}, map[string]string{"/message": `"m"`})
	const checkpoint = `{"checkpoint":"example.com/log\n2\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— example.com/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"}`
	tests := []struct {
		name, in string
		want     []string
	}{
		{"nothing", "", nil},
		{"blank lines", "\n \r\n" + a + "\r\n\n" + b, []string{"a", "b"}},
		{"byte order mark", "\uFEFF" + a, []string{"a"}},
		{"not JSON", "x\n" + a + "\n{\n", []string{"1:1:0", "a", "3:3:28"}},
		{"not objects", "1\n[" + a + "]\n" + a, []string{"1:1:0", "2:2:2", "a"}},
		{"entries and checkpoints", entry + "\n" + checkpoint + "\n" + entry, []string{"c", "c"}},
		{"a disclosure that was changed", strings.Replace(entry, `"value":"m"`, `"value":"n"`, 1) + "\n" + a, []string{"1:1:0", "a"}},
		{"a leaf that was changed", strings.Replace(entry, `"v":1`, `"v":2`, 1) + "\n" + a, []string{"1:1:0", "a"}},
		{"an entry in another form", strings.Replace(entry, `:`, `: `, 1) + "\n" + a, []string{"1:1:0", "a"}},
		{"a line that is too long", `{"action":"` + strings.Repeat("x", convert.MaxRecord) + "\"}\n" + a, []string{"1:1:0", "a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, read(t, strings.NewReader(tt.in))); diff != "" {
				t.Errorf("Read (-want +got):\n%s", diff)
			}
		})
	}
	broken := errors.New("broken")
	n := 0
	for _, err := range jsonlines.Read(io.MultiReader(strings.NewReader(a+"\n"), iotest.ErrReader(broken)), "f") {
		if n++; n == 2 && !errors.Is(err, broken) {
			t.Errorf("error %v, want %v", err, broken)
		}
	}
	if n != 2 {
		t.Errorf("%d results, want 2", n)
	}
}

func ids(t *testing.T, in, source string) (out []string) {
	for e, err := range jsonlines.Read(strings.NewReader(in), source) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.ID)
	}
	return out
}

func TestIDsKeepEqualLinesApart(t *testing.T) {
	const in = `{"msg":"x"}` + "\n" + `{"msg":"y"}` + "\n" + `{"msg":"x"}` + "\n" + `{"action":"a","actor":{"id":"b"}}` + "\n" + `{"action":"a","actor":{"id":"b"}}` + "\n"
	first := ids(t, in, "f")
	seen := map[string]bool{}
	for _, id := range first {
		seen[id] = true
	}
	if len(seen) != 5 {
		t.Errorf("ids %q, want five", first)
	}
	if diff := cmp.Diff(first, ids(t, in+in, "f")[:5]); diff != "" {
		t.Errorf("ids after the file has grown (-want +got):\n%s", diff)
	}
	for _, id := range ids(t, in, "g") {
		if seen[id] {
			t.Errorf("id %s is in two sources", id)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"ts":"2026-01-02T03:04:05Z","event":"login","user":"alice","ip":"192.0.2.7"}` + "\n" + `{"action":"a","actor":{"id":"b"}}`))
	f.Add([]byte("{\"user\":{\"id\":\"\xff\"},\"time\":1e30,\"time\":17673230451234567890}\n{\"actor\":[],\"id\":\"\\ud800\"}"))
	f.Add([]byte(entryLine(f, attestlog.Event{ID: "i", Time: at, Action: "c", Actor: attestlog.Actor{ID: "u"}}, map[string]string{"/message": `"m"`})))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		for e, err := range jsonlines.Read(bytes.NewReader(data), "f") {
			n++
			if err != nil {
				var refused *convert.RecordError
				if !errors.As(err, &refused) || refused.Record != n || refused.Offset > int64(len(data)) {
					t.Fatalf("record %d: %v", n, err)
				}
				continue
			}
			if e.ID == "" || e.Time.IsZero() {
				t.Fatalf("id %q, time %v", e.ID, e.Time)
			}
			line, err := e.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := attestlog.ParseEvent(line); err != nil {
				t.Fatalf("ParseEvent(%q): %v", line, err)
			}
		}
	})
}
