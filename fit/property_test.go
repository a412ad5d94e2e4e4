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
	"pgregory.net/rapid"
)

// textGen draws text with what texts go wrong with.
func textGen() *rapid.Generator[string] {
	part := rapid.OneOf(
		rapid.StringN(0, 8, 16),
		rapid.SampledFrom([]string{"\xff", "\xc3", "\xed\xa0\x80", "\ufffd", "\ufffdff", "\x00", "~", "/", "~1", "é", "\U0001F600", fit.NotesName, "attestlog.", "foreign."}),
	)
	long := rapid.Custom(func(t *rapid.T) string {
		return strings.Repeat(part.Draw(t, "part"), rapid.IntRange(0, 9000).Draw(t, "times"))
	})
	few := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(part, 0, 4).Draw(t, "parts"), "") })
	return rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 30).Draw(t, "long") == 0 {
			return long.Draw(t, "text")
		}
		return few.Draw(t, "text")
	})
}

func valueGen(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kind := rapid.IntRange(0, 8).Draw(t, "kind")
		if depth == 0 {
			kind %= 6
		}
		switch kind {
		case 0:
			return nil
		case 1:
			return rapid.Bool().Draw(t, "bool")
		case 2:
			return json.Number(rapid.SampledFrom([]string{"0", "-1.5", "9007199254740991", "9007199254740992", "-1e400", "1E15", "123456789012345678901234567890"}).Draw(t, "number"))
		case 3:
			return rapid.Float64().Draw(t, "float")
		case 6:
			return rapid.SliceOfN(valueGen(depth-1), 0, 4).Draw(t, "array")
		case 7:
			return loosejson.Repeated(rapid.SliceOfN(valueGen(depth-1), 2, 3).Draw(t, "repeated"))
		case 8:
			return rapid.MapOfN(textGen(), valueGen(depth-1), 0, 4).Draw(t, "object")
		}
		return textGen().Draw(t, "text")
	})
}

func eventGen() *rapid.Generator[attestlog.Event] {
	return rapid.Custom(func(t *rapid.T) attestlog.Event {
		text := func(name string) string {
			if rapid.IntRange(0, 3).Draw(t, "has "+name) == 0 {
				return textGen().Draw(t, name)
			}
			return ""
		}
		e := attestlog.Event{
			ID: text("id"), Tenant: text("tenant"), Service: text("service"), Action: text("action"), Reason: text("reason"),
			Outcome: attestlog.Outcome(text("outcome")), Message: text("message"),
			Actor:   attestlog.Actor{ID: text("actor"), Type: text("type"), Name: text("name"), Session: text("session")},
			Source:  attestlog.Source{IP: text("ip"), Host: text("host"), UserAgent: text("agent")},
			Request: attestlog.Request{ID: text("request"), Status: rapid.IntRange(-5, 600).Draw(t, "status"), DurationUS: rapid.Int64().Draw(t, "us")},
		}
		if rapid.Bool().Draw(t, "timed") {
			e.Time = time.Unix(rapid.Int64Range(-6e10, 2e11).Draw(t, "time"), 5).UTC()
		}
		for range rapid.IntRange(0, 3).Draw(t, "targets") {
			e.Targets = append(e.Targets, attestlog.Target{ID: text("id") + "t", Type: text("type"), Name: text("name")})
		}
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			e.Changes = append(e.Changes, attestlog.Change{Path: text("path"), Op: text("op"), Old: valueGen(2).Draw(t, "old"), New: valueGen(2).Draw(t, "new")})
		}
		if m := rapid.MapOfN(textGen(), valueGen(3), 0, 8).Draw(t, "attributes"); len(m) > 0 {
			e.Attributes = m
		}
		e.Original = []byte(text("original"))
		return e
	})
}

func TestFittedEventsAreAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := eventGen().Draw(t, "event")
		got := e
		fit.Event(&got)
		read := accepted(t, got)
		again := read
		fit.Event(&again)
		if diff := cmp.Diff(mustJSON(t, read), mustJSON(t, again)); diff != "" {
			t.Fatalf("Event changed an event that the core accepts (-want +got):\n%s", diff)
		}
		notes, _ := read.Attributes[fit.NotesName].(map[string]any)
		for _, n := range notes {
			if m := n.(map[string]any); m["bytes"] != nil || m["items"] != nil || m["name"] == "cut" {
				return // cut for good
			}
		}
		want, back := normal(e), normal(fit.Restore(read))
		if diff := cmp.Diff(want, back); diff != "" {
			t.Fatalf("Restore (-want +got):\n%s", diff)
		}
	})
}

func mustJSON(t *rapid.T, e attestlog.Event) string {
	b, err := e.MarshalJSON()
	if err != nil {
		t.Fatalf("MarshalJSON: %v", err)
	}
	return string(b)
}

// normal brings what JSON cannot tell apart into one form.
func normal(e attestlog.Event) attestlog.Event {
	if len(e.Original) == 0 {
		e.Original = nil
	}
	if m, ok := normalValue(e.Attributes).(map[string]any); ok && len(m) > 0 {
		e.Attributes = m
	} else {
		e.Attributes = nil
	}
	changes := []attestlog.Change{}
	for _, c := range e.Changes {
		c.Old, c.New = normalValue(c.Old), normalValue(c.New)
		changes = append(changes, c)
	}
	e.Changes = changes
	return e
}

func normalValue(v any) any {
	switch v := v.(type) {
	case float64:
		if math.Abs(v) >= 1<<53 {
			return json.Number(fmt.Sprint(v))
		}
		return v + 0 // no negative zero
	case json.Number:
		if f, err := v.Float64(); err == nil && math.Abs(f) < 1<<53 {
			return f
		}
		if f, err := v.Float64(); err == nil && strings.ContainsAny(string(v), "eE") {
			return json.Number(fmt.Sprint(f))
		}
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = normalValue(v[i])
		}
		return out
	case loosejson.Repeated:
		return loosejson.Repeated(normalValue([]any(v)).([]any))
	case map[string]any:
		out := map[string]any{}
		for k := range v {
			out[k] = normalValue(v[k])
		}
		return out
	}
	return v
}
