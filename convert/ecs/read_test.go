package ecs_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/ecs"
)

// read returns the actions, or the end of why there is none.
func read(in, source string) (events []attestlog.Event, out []string) {
	for e, err := range ecs.Read(strings.NewReader(in), source) {
		if err != nil {
			_, text, _ := strings.Cut(err.Error(), "): ")
			out = append(out, text)
			continue
		}
		events, out = append(events, e), append(out, e.Action)
	}
	return events, out
}

func TestOnlyDocumentsAreRead(t *testing.T) {
	const none = "not a document of ECS: no @timestamp, ecs.version or event"
	for _, tt := range []struct {
		in   string
		want []string
	}{
		{`{"message":"m"}`, []string{none}},
		{`{"event":"login"}`, []string{none}},
		{`{"@timestamp":0,"message":"m"}{"ecs":{"version":"8"},"message":"n"}{"ecs.version":"8","message":"o"}{"event.kind":"event","message":"p"}{"event":{},"message":"q"}`, []string{"m", "n", "o", "p", "q"}},
		{`{"_source":{"message":"m"}}`, []string{none}},
		{`{"took":1,"hits":{"total":{"value":3},"hits":[{"_id":"1","_source":{"@timestamp":0,"message":"m"}},{"_id":"\q"},{},{"_id":"2","_source":{"@timestamp":0,"message":"n"}}]}}`, []string{
			"m", "hits.hits[1]: not JSON: unexpected 'q' at byte 9", "hits.hits[2]: " + none, "n",
		}},
		{`{"hits":{"hits":[]}}`, nil},
		{`{"@timestamp":0,"hits":{"hits":[]},"message":"m"}`, []string{"m"}},
	} {
		if _, got := read(tt.in, "f"); cmp.Diff(tt.want, got) != "" {
			t.Errorf("%s (-want +got):\n%s", tt.in, cmp.Diff(tt.want, got))
		}
	}
}

func TestListsOfOneValueAreThatValue(t *testing.T) {
	in := `{"@timestamp":["2026-03-01T10:00:00.123Z"],"event":{"action":["x"],"type":["start"],"duration":[5000],"original":"raw"},"user.name":["alice"],"source":{"ip":["192.0.2.7"]},` +
		`"user_agent.original":["a","b"],"tags":["t"],"url.original":["/u"],"file":{"path":["/f"]},"related":{"ip":["192.0.2.7"],"hosts":["h"]}}`
	events, errs := read(in, "f")
	if len(events) != 1 {
		t.Fatal(errs)
	}
	e := events[0]
	if e.Action != "x" || e.Actor.ID != "alice" || e.Source.IP != "192.0.2.7" || e.Request.DurationUS != 5 || e.Request.Path != "/u" || e.Time.Year() != 2026 || len(e.Targets) != 1 {
		t.Errorf("Read = %+v", e)
	}
	if diff := cmp.Diff(map[string]any{
		"event": map[string]any{"type": []any{"start"}, "duration": 5000.0}, "user_agent.original": []any{"a", "b"}, "tags": []any{"t"}, "related": map[string]any{"hosts": []any{"h"}},
	}, e.Attributes); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

func TestIDsLeaveTheSourceOutWhereThereIsAnID(t *testing.T) {
	for in, same := range map[string]bool{`{"@timestamp":0}`: false, `{"event.id":"1"}`: true, `{"_id":"1","_source":{"@timestamp":0}}`: true, `{"_source":{"event":{"id":"1"}}}`: true} {
		f, _ := read(in, "f")
		g, errs := read(in, "g")
		if len(f) != 1 || len(g) != 1 || same != (f[0].ID == g[0].ID) {
			t.Errorf("%s: ids of two sources %v %v %v", in, f, g, errs)
		}
	}
}
