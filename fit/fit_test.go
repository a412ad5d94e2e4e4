package fit_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/loosejson"
	"github.com/google/go-cmp/cmp"
)

// accepted checks that the core takes the event, and returns what it reads.
func accepted(t interface {
	Helper()
	Fatalf(string, ...any)
}, e attestlog.Event) attestlog.Event {
	t.Helper()
	data, err := e.MarshalJSON()
	if err != nil {
		t.Fatalf("MarshalJSON: %v", err)
	}
	got, err := attestlog.ParseEvent(data)
	if err != nil {
		t.Fatalf("ParseEvent(%.300q): %v", data, err)
	}
	clear := e
	clear.Original = nil
	data, err = clear.MarshalJSON()
	if err != nil {
		t.Fatalf("MarshalJSON: %v", err)
	}
	if max := attestlog.MaxLeaf - 4096; len(data) > max {
		t.Fatalf("event of %d bytes in clear, want at most %d", len(data), max)
	}
	if strings.HasPrefix(e.Action, attestlog.ReservedPrefix) {
		t.Fatalf("action %q is reserved", e.Action)
	}
	return got
}

func TestEventMapsAndRestoreMapsBack(t *testing.T) {
	actor := attestlog.Actor{ID: "alice"}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	epoch := time.Unix(0, 0).UTC()
	notes := func(pairs ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		return map[string]any{fit.NotesName: m}
	}
	with := func(m, more map[string]any) map[string]any {
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	as := func(words string) map[string]any { return map[string]any{"as": words} }
	tests := []struct {
		name     string
		in, want attestlog.Event
	}{
		{
			"a valid event stays",
			attestlog.Event{Action: "a", Actor: actor, Message: "\ufffd", Attributes: map[string]any{"unknown.action": "x"}},
			attestlog.Event{Action: "a", Actor: actor, Message: "\ufffd", Attributes: map[string]any{"unknown.action": "x"}},
		},
		{
			"nothing given",
			attestlog.Event{},
			attestlog.Event{
				Action: fit.UnknownAction, Actor: attestlog.Actor{ID: fit.UnknownActor},
				Attributes: notes("/action", as("empty"), "/actor/id", as("empty")),
			},
		},
		{
			"reserved values given",
			attestlog.Event{Action: fit.UnknownAction, Actor: attestlog.Actor{ID: fit.UnknownActor}},
			attestlog.Event{Action: fit.UnknownAction, Actor: attestlog.Actor{ID: fit.UnknownActor}},
		},
		{
			"the core's action",
			attestlog.Event{Action: "attestlog.erase\xff", Actor: actor},
			attestlog.Event{
				Action: "foreign.attestlog.erase\ufffdff", Actor: actor,
				Attributes: notes("/action", as("reserved escaped")),
			},
		},
		{
			"invalid UTF-8 beside a replacement character",
			attestlog.Event{Action: "a", Actor: actor, Message: "\ufffd caf\xe9"},
			attestlog.Event{
				Action: "a", Actor: actor, Message: "\ufffd\ufffd caf\ufffde9",
				Attributes: notes("/message", as("escaped")),
			},
		},
		{
			"large numbers",
			attestlog.Event{Action: "a", Actor: actor, Attributes: map[string]any{
				"n": json.Number("9007199254740993"), "u": uint64(math.MaxUint64), "f": math.Inf(1), "ok": json.Number("1.5"),
			}},
			attestlog.Event{Action: "a", Actor: actor, Attributes: with(map[string]any{
				"n": "9007199254740993", "u": "18446744073709551615", "f": "+Inf", "ok": 1.5,
			}, notes("/attributes/n", as("number"), "/attributes/u", as("number"), "/attributes/f", as("number")))},
		},
		{
			"names that would become one",
			attestlog.Event{Action: "a", Actor: actor, Attributes: map[string]any{"\xff": true, "\ufffdff": false}},
			attestlog.Event{Action: "a", Actor: actor, Attributes: with(
				map[string]any{"\ufffdff": true, "\ufffd\ufffdff": false},
				notes("/attributes/\ufffdff", map[string]any{"name": "escaped"}, "/attributes/\ufffd\ufffdff", map[string]any{"name": "escaped"}),
			)},
		},
		{
			"values that are not allowed",
			attestlog.Event{
				Action: "a", Outcome: "maybe", Actor: attestlog.Actor{ID: "x", Type: "robot"},
				Source: attestlog.Source{IP: "laptop"}, Request: attestlog.Request{Status: -1},
			},
			attestlog.Event{
				Action: "a", Outcome: attestlog.Unknown, Actor: attestlog.Actor{ID: "x"}, Source: attestlog.Source{Host: "laptop"},
				Attributes: notes("/outcome", map[string]any{"as": "was", "was": "maybe"},
					"/actor/type", map[string]any{"as": "was", "was": "robot"},
					"/request/status", map[string]any{"as": "was", "was": "-1"},
					"/source/ip", as("was")),
			},
		},
		{
			"an id that needs a time",
			attestlog.Event{ID: "7", Action: "a", Actor: actor},
			attestlog.Event{ID: "7", Action: "a", Actor: actor, Time: epoch, Attributes: notes("/time", as("unknown"))},
		},
		{
			"a time outside the range",
			attestlog.Event{Action: "a", Actor: actor, Time: at.AddDate(1000, 0, 0)},
			attestlog.Event{
				Action: "a", Actor: actor, Time: epoch,
				Attributes: notes("/time", map[string]any{"as": "was", "was": "3026-01-02T03:04:05.000000006Z"}),
			},
		},
		{
			"a foreign attribute with the notes' name",
			attestlog.Event{Actor: actor, Attributes: map[string]any{fit.NotesName: "mine"}},
			attestlog.Event{
				Action: fit.UnknownAction, Actor: actor,
				Attributes: with(map[string]any{fit.NotesName + "_": "mine"},
					notes("/action", as("empty"), "/attributes/attestlog_mapped_", map[string]any{"name": "renamed"})),
			},
		},
		{
			"a name given twice",
			attestlog.Event{Action: "a", Actor: actor, Attributes: map[string]any{"x": loosejson.Repeated{"1", true}}},
			attestlog.Event{
				Action: "a", Actor: actor,
				Attributes: with(map[string]any{"x": []any{"1", true}}, notes("/attributes/x", as("repeated"))),
			},
		},
		{
			"changes",
			attestlog.Event{Action: "a", Actor: actor, Changes: []attestlog.Change{{Path: "\xfe", Old: json.RawMessage("null"), New: json.RawMessage("[1e999]")}}},
			attestlog.Event{
				Action: "a", Actor: actor,
				Changes:    []attestlog.Change{{Path: "\ufffdfe", Old: json.RawMessage("null"), New: []any{"1e999"}}},
				Attributes: notes("/changes/0/path", as("escaped"), "/changes/0/new/0", as("number")),
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.in
			fit.Event(&got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("Event (-want +got):\n%s", diff)
			}
			accepted(t, got)
			want := fmt.Sprintf("%v", plain(tt.in))
			if back := fmt.Sprintf("%v", plain(fit.Restore(got))); back != want {
				t.Errorf("Restore = %s, want %s", back, want)
			}
		})
	}
}

// plain writes numbers and raw JSON alike, however they are held.
func plain(e attestlog.Event) string {
	attributes, _ := json.Marshal(e.Attributes)
	if e.Attributes["f"] != nil {
		attributes = nil // infinity is no JSON
	}
	changes := ""
	for _, c := range e.Changes {
		changes += fmt.Sprintf("%q %q %s %s", c.Path, c.Op, jsonOf(c.Old), jsonOf(c.New))
	}
	e.Attributes, e.Changes = nil, nil
	return fmt.Sprintf("%+v %s %s", e, attributes, changes)
}

func jsonOf(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func TestEventCutsWhatIsTooLong(t *testing.T) {
	many := map[string]any{}
	for i := range 20_000 {
		many[fmt.Sprint("name", i)] = i
	}
	deep := any("x")
	for range 100 {
		deep = []any{deep}
	}
	list := make([]any, 10_000)
	for i := range list {
		list[i] = json.Number("9007199254740993")
	}
	tests := []struct {
		name    string
		pointer string
		in      attestlog.Event
	}{
		{"id", "/id", attestlog.Event{ID: strings.Repeat("i", 200)}},
		{"action", "/action", attestlog.Event{Action: strings.Repeat("é", 200)}},
		{"message", "/message", attestlog.Event{Message: strings.Repeat("\x00", 60_000)}},
		{"original", "/original", attestlog.Event{Original: []byte(strings.Repeat("日", 400_000))}},
		{"string", "/attributes/s", attestlog.Event{Attributes: map[string]any{"s": strings.Repeat("s", 1<<20)}}},
		{"many names", "/attributes", attestlog.Event{Attributes: many}},
		{"container", "/attributes/m", attestlog.Event{Attributes: map[string]any{"m": many}}},
		{"notes", "/attributes/l", attestlog.Event{Attributes: map[string]any{"l": list}}},
		{"name", "/attributes/" + strings.Repeat("n", 200) + "~79b1a4f1ab9bcbea5bbe15ffa0a1d8fd", attestlog.Event{Attributes: map[string]any{strings.Repeat("n", 99_999): "v"}}},
		{"targets", "/targets", attestlog.Event{Targets: make20k()}},
		{"changes", "/changes", attestlog.Event{Changes: []attestlog.Change{{New: "a"}, {New: many}, {New: list}, {Old: deep}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.in
			fit.Event(&got)
			accepted(t, got)
			notes := got.Attributes[fit.NotesName].(map[string]any)
			note, ok := notes[tt.pointer].(map[string]any)
			if !ok && tt.name == "name" {
				for p := range notes {
					if strings.HasPrefix(p, tt.pointer[:200]) {
						note, ok = notes[p].(map[string]any)
					}
				}
			}
			if !ok {
				t.Fatalf("no note for %s among %d: %.300v", tt.pointer, len(notes), notes)
			}
			if note["sha256"] == nil && note["name"] != "cut" {
				t.Errorf("note %v has no digest", note)
			}
		})
	}
}

func make20k() []attestlog.Target {
	targets := make([]attestlog.Target, 20_000)
	for i := range targets {
		targets[i].ID = fmt.Sprint("id", i)
	}
	return targets
}

// Of a record with very many members, only as many are looked at as can count,
// each try: ten times as many must not take much more work. It is counted in
// allocations, which do not depend on the machine.
func TestWideEventsTakeLinearWork(t *testing.T) {
	members := func(n int) map[string]any {
		m := map[string]any{}
		for i := range n {
			m[fmt.Sprint("name", i)] = "\xff"
		}
		return m
	}
	lists := func(n int) map[string]any {
		m := map[string]any{}
		for i := range n / 100 {
			m[fmt.Sprint("name", i)] = make([]any, 100)
		}
		return m
	}
	for name, event := range map[string]func(n int) attestlog.Event{
		"members":          func(n int) attestlog.Event { return attestlog.Event{Attributes: members(n)} },
		"members of one":   func(n int) attestlog.Event { return attestlog.Event{Attributes: map[string]any{"m": members(n)}} },
		"lists":            func(n int) attestlog.Event { return attestlog.Event{Attributes: lists(n)} },
		"changes":          func(n int) attestlog.Event { return attestlog.Event{Changes: make([]attestlog.Change, n)} },
		"values of change": func(n int) attestlog.Event { return attestlog.Event{Changes: []attestlog.Change{{New: members(n)}}} },
	} {
		work := func(n int) float64 {
			e := event(n)
			fitted := e
			fit.Event(&fitted)
			accepted(t, fitted)
			return testing.AllocsPerRun(1, func() { e := e; fit.Event(&e) })
		}
		few, many := work(loosejson.MaxValues/10), work(loosejson.MaxValues)
		if many > 12*few {
			t.Errorf("%s: %.0f allocations for ten times as many, want about %.0f", name, many, 10*few)
		}
	}
}

func TestDeepValuesAreKeptAsText(t *testing.T) {
	deep := any("x")
	for range 62 {
		deep = []any{deep}
	}
	e := attestlog.Event{Action: "a", Actor: attestlog.Actor{ID: "x"}, Attributes: map[string]any{"d": deep, "e": []any{deep}}}
	fit.Event(&e)
	e = accepted(t, e)
	// Not cmp.Diff: it takes time exponential in the depth.
	if got, want := jsonOf(e.Attributes["d"]), jsonOf(deep); got != want {
		t.Errorf("a value that fits was changed to %s, want %s", got, want)
	}
	back := fit.Restore(e)
	got, err := json.Marshal(back.Attributes["e"])
	if want := strings.Repeat("[", 63) + `"x"` + strings.Repeat("]", 63); err != nil || string(got) != want {
		t.Errorf("Restore = %s, %v, want %s", got, err, want)
	}
}

func TestEventLeavesItsInputAlone(t *testing.T) {
	inner := map[string]any{"s": "\xff"}
	targets := []attestlog.Target{{ID: "\xff"}, {}}
	attributes := map[string]any{"m": inner}
	e := attestlog.Event{Attributes: attributes, Targets: targets}
	fit.Event(&e)
	if inner["s"] != "\xff" || targets[0].ID != "\xff" || len(attributes) != 1 {
		t.Errorf("Event changed its input: %v %v", attributes, targets)
	}
}

func TestUndatedIsNoted(t *testing.T) {
	e := attestlog.Event{ID: "x:1", Action: "a", Actor: attestlog.Actor{ID: "b"}, Attributes: map[string]any{fit.NotesName: 1.0}}
	fit.Undated(&e)
	fit.Event(&e)
	want := map[string]any{
		fit.NotesName + "_": 1.0,
		fit.NotesName: map[string]any{
			"/time":                         map[string]any{"as": "unknown"},
			"/attributes/attestlog_mapped_": map[string]any{"name": "renamed"},
		},
	}
	if diff := cmp.Diff(want, e.Attributes); diff != "" || !e.Time.Equal(time.Unix(0, 0)) {
		t.Errorf("Undated: time %v, attributes (-want +got):\n%s", e.Time, diff)
	}
	if back := fit.Restore(e); !back.Time.IsZero() || back.Attributes[fit.NotesName] != 1.0 {
		t.Errorf("Restore = %+v", back)
	}
}

// Any JSON that a foreign program writes can become part of an event.
func FuzzEvent(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}],"a":"\ud800"}`, `[1e999,-0]`, "\"\xff\"", strings.Repeat(`{"x":[`, 70)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := loosejson.Decode(data)
		if err != nil {
			return
		}
		e := attestlog.Event{Attributes: map[string]any{"v": v, "raw": json.RawMessage(data)}}
		fit.Event(&e)
		accepted(t, e)
	})
}
