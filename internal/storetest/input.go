package storetest

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/verify"
)

var inputTests = []namedTest{
	{"BadEventsAreRefusedByField", badEventsAreRefused},
	{"ReservedActionsAreRefused", reservedActionsAreRefused},
	{"TooLarge", tooLarge},
	{"BoundsAreAllowed", boundsAreAllowed},
}

func badEventsAreRefused(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})

	attribute := func(v any) func(e *attestlog.Event) {
		return func(e *attestlog.Event) { e.Attributes = map[string]any{"a": v} }
	}
	deep := any(1)
	for range attestlog.MaxDepth {
		deep = []any{deep}
	}

	for _, test := range []struct {
		name, field string
		change      func(e *attestlog.Event)
	}{
		{"no action", "action", func(e *attestlog.Event) { e.Action = "" }},
		{"long action", "action", func(e *attestlog.Event) { e.Action = strings.Repeat("a", 256) }},
		{"no actor", "actor.id", func(e *attestlog.Event) { e.Actor.ID = "" }},
		{"actor type", "actor.type", func(e *attestlog.Event) { e.Actor.Type = "robot" }},
		{"outcome", "outcome", func(e *attestlog.Event) { e.Outcome = "maybe" }},
		{"long id", "id", func(e *attestlog.Event) { e.ID = strings.Repeat("i", 129) }},
		{"own id without time", "time", func(e *attestlog.Event) { e.ID, e.Time = "7", time.Time{} }},
		{"early", "time", func(e *attestlog.Event) { e.Time = time.Date(1677, 12, 31, 0, 0, 0, 0, time.UTC) }},
		{"late", "time", func(e *attestlog.Event) { e.Time = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"host as ip", "source.ip", func(e *attestlog.Event) { e.Source.IP = "example.com" }},
		{"long original", "original", func(e *attestlog.Event) { e.Original = make([]byte, attestlog.MaxOriginal+1) }},
		{"negative duration", "request.duration_us", func(e *attestlog.Event) { e.Request.DurationUS = -1 }},
		{"huge duration", "request.duration_us", func(e *attestlog.Event) { e.Request.DurationUS = 1 << 53 }},
		{"negative status", "request.status", func(e *attestlog.Event) { e.Request.Status = -1 }},
		{"huge status", "request.status", func(e *attestlog.Event) { e.Request.Status = 1 << 53 }},
		{"UTF-8 in action", "action", func(e *attestlog.Event) { e.Action = "\xff" }},
		{"UTF-8 in tenant", "tenant", func(e *attestlog.Event) { e.Tenant = "a\xc3" }},
		{"UTF-8 in id", "id", func(e *attestlog.Event) { e.ID = "\xff" }},
		{"UTF-8 in a sealed name", "actor.name", func(e *attestlog.Event) { e.Actor.Name = "\xff" }},
		{"UTF-8 in a target", "targets.id", func(e *attestlog.Event) { e.Targets[0].ID = "\xff" }},
		{"a surrogate", "message", func(e *attestlog.Event) { e.Message = "\xed\xa0\x80" }},
		{"UTF-8 in an attribute", "attributes.a", attribute("\xff")},
		{"NaN", "attributes.a", attribute(math.NaN())},
		{"infinite", "attributes.a", attribute(math.Inf(-1))},
		{"2^53", "attributes.a", attribute(int64(1 << 53))},
		{"-2^53", "attributes.a", attribute(float64(-1 << 53))},
		{"1e16 as text", "attributes.a", attribute(json.RawMessage("1e16"))},
		{"json.Number", "attributes.a", attribute(json.Number("9007199254740992"))},
		{"duplicate names", "attributes.a", attribute(json.RawMessage(`{"b":1,"b":1}`))},
		{"not JSON", "attributes.a", attribute(json.RawMessage(`{`))},
		{"a channel", "attributes.a", attribute(make(chan int))},
		{"too deep", "attributes", attribute(deep)},
		{"a bad name", "attributes", func(e *attestlog.Event) { e.Attributes = map[string]any{"\xff": 1} }},
		{"2^53 before a change", "changes.old", func(e *attestlog.Event) { e.Changes = []attestlog.Change{{Old: uint64(1 << 53)}} }},
		{"UTF-8 after a change", "changes.new", func(e *attestlog.Event) { e.Changes = []attestlog.Change{{New: []any{"\xff"}}} }},
	} {
		e := testlog.Event(0)
		test.change(&e)
		var field *attestlog.FieldError
		names := func(err error) bool {
			return errors.As(err, &field) && strings.HasPrefix(field.Field, test.field) && field.Rule != ""
		}
		if _, err := l.Append(t.Context(), testlog.Event(1), e); !names(err) || field.Event != 1 {
			t.Errorf("%s: Append = %v, want a FieldError of event 1, %s", test.name, err, test.field)
		}
		if err := l.Record(t.Context(), e); !names(err) {
			t.Errorf("%s: Record = %v, want a FieldError of %s", test.name, err, test.field)
		}
	}

	if size, err := l.Size(t.Context()); size != 0 || err != nil {
		t.Errorf("Size = %d, %v; want 0", size, err)
	}
	if st, err := l.Stats(t.Context()); err != nil || st.Queued != 0 {
		t.Errorf("Queued = %d, %v; want nothing queued", st.Queued, err)
	}
}

func reservedActionsAreRefused(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	for _, action := range []string{"attestlog.", "attestlog.erase", attestlog.RestoreAction, attestlog.KeyAction} {
		e := testlog.Event(0)
		e.Action = action
		var field *attestlog.FieldError
		if _, err := l.Append(t.Context(), e); !errors.As(err, &field) || field.Field != "action" {
			t.Errorf("Append of %s = %v, want a FieldError of action", action, err)
		}
		if err := l.Record(t.Context(), e); !errors.As(err, &field) || field.Field != "action" {
			t.Errorf("Record of %s = %v, want a FieldError of action", action, err)
		}
	}

	for n, action := range []string{"attestlog", "Attestlog.erase", "my.attestlog.erase"} {
		e := testlog.Event(n)
		e.Action = action
		if _, err := l.Append(t.Context(), e); err != nil {
			t.Errorf("Append of %s = %v", action, err)
		}
	}
}

func tooLarge(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{MaxEvents: 10})
	e := testlog.Event(0)
	e.Message = strings.Repeat("x", attestlog.MaxLeaf)
	if _, err := l.Append(t.Context(), e); !errors.Is(err, attestlog.ErrTooLarge) {
		t.Errorf("Append of a large leaf = %v, want ErrTooLarge", err)
	}
	if err := l.Record(t.Context(), e); !errors.Is(err, attestlog.ErrTooLarge) {
		t.Errorf("Record of a large leaf = %v, want ErrTooLarge", err)
	}

	if _, err := l.Append(t.Context(), testlog.Events(0, 11)...); !errors.Is(err, attestlog.ErrTooLarge) {
		t.Errorf("Append of 11 events = %v, want ErrTooLarge", err)
	}

	testlog.Append(t, l, testlog.Events(0, 10)...)
	if size, err := l.Size(t.Context()); size != 10 || err != nil {
		t.Errorf("Size = %d, %v; want 10", size, err)
	}
}

func boundsAreAllowed(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	deep := any(1)
	for range attestlog.MaxDepth - 2 {
		deep = []any{deep}
	}

	for n, change := range []func(e *attestlog.Event){
		func(e *attestlog.Event) { e.Action = strings.Repeat("a", attestlog.MaxAction) },
		func(e *attestlog.Event) { e.ID = strings.Repeat("i", attestlog.MaxID) },
		func(e *attestlog.Event) { e.Time = time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC) },
		func(e *attestlog.Event) { e.Time = time.Date(2261, 12, 31, 23, 59, 59, 999_999_999, time.UTC) },
		func(e *attestlog.Event) { e.Original = make([]byte, attestlog.MaxOriginal) },
		func(e *attestlog.Event) { e.Attributes = map[string]any{"a": 1<<53 - 1, "b": -(1<<53 - 1)} },
		func(e *attestlog.Event) { e.Attributes = map[string]any{"deep": deep} },
		func(e *attestlog.Event) { e.Message = strings.Repeat("x", attestlog.MaxLeaf-700) },
		func(e *attestlog.Event) { e.Message = "\x00\x1f\u2028<>&\"\\/\U0001F600\uFFFD" },
	} {
		e := testlog.Event(n)
		change(&e)
		r := testlog.Append(t, l, e)
		got, err := l.Entry(t.Context(), r[0].Index)
		same := got.ID == e.ID && got.Action == e.Action && got.Time.Equal(e.Time) &&
			got.Message == e.Message && len(got.Original) == len(e.Original)
		if err != nil || !same {
			t.Errorf("event %d came back as id %q, %v", n, got.ID, err)
		}
	}

	if r, err := verify.Log(t.Context(), l, verify.Options{}); err != nil && !errors.Is(err, verify.ErrCannotVerify) {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}
