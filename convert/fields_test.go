package convert_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/convert/cloudtrail"
	"github.com/attestlog/attestlog/convert/csv"
	"github.com/attestlog/attestlog/convert/ecs"
	"github.com/attestlog/attestlog/convert/kubernetes"
	"github.com/attestlog/attestlog/convert/ocsf"
	"github.com/attestlog/attestlog/convert/otel"
	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/testlog"
)

// CEF is left out: its dictionary has no keys for all that an event can say.
func TestNoViewLosesAField(t *testing.T) {
	entry := attestlog.Entry{Event: testlog.FullEvent()}
	for name, view := range map[string]func([]byte, *attestlog.Entry) ([]byte, error){
		"cloudevents": appendCloudEvent, "cloudtrail": cloudtrail.Append, "ecs": ecs.Append,
		"kubernetes": kubernetes.Append, "ocsf": ocsf.Append, "otlp": otel.Append,
	} {
		line, err := view(nil, &entry)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range field.All() {
			f := &field.All()[i]
			value := testlog.FieldValue(f)
			if name == "kubernetes" && f.ID == field.RequestDuration {
				value = "000" + value + "z" // the stage's time is as many microseconds after the request's
			}
			isValue := f.IsText() || f.Kind == field.Number
			if isValue && !strings.Contains(strings.ToLower(string(line)), value) {
				t.Errorf("%s: the view lacks %s:\n%s", name, f.Path(), line)
			}
		}
	}
}

func TestARestIsAllThatHasNoPlace(t *testing.T) {
	entry := attestlog.Entry{Event: testlog.FullEvent(), Erased: []string{"/source/host"}}
	entry.Changes[0].Old = 1
	entry.Attributes = map[string]any{"a": "b"}

	var placed []string
	for i := range field.All() {
		f := &field.All()[i]
		isLeftOut := f.ID == field.ActorOnBehalfOf || f.ID == field.SourceHost || f.ID == field.RequestDuration
		if !isLeftOut {
			placed = append(placed, f.Pointer())
		}
	}
	got := convert.NewRest(placed...).Of(&entry)

	target := map[string]any{}
	for _, f := range field.Target.Fields() {
		target[f.Name] = testlog.FieldValue(f)
	}
	want := map[string]any{
		"on_behalf_of": "the-actor.on-behalf-of", "source_host": "the-source.host",
		"duration_us": entry.Request.DurationUS, "attributes": entry.Attributes, "erased": entry.Erased,
		"targets": []map[string]any{target},
		"changes": []map[string]any{{"path": "the-changes.path", "op": "the-changes.op", "old": 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Of (-want +got):\n%s", diff)
	}

	empty := convert.NewRest().Of(new(attestlog.Entry))
	if len(empty) > 0 {
		t.Errorf("the rest of an empty entry is %v", empty)
	}
}

// todaysColumns are those that programs rely on.
var todaysColumns = []string{
	"index", "id", "time", "logged_time", "tenant", "service", "module", "action", "operation", "outcome", "reason",
	"actor", "actor.type", "actor.name", "ip", "host", "user_agent", "target", "request.method", "request.path",
	"request.status", "message",
}

func TestTableHasAColumnForEachField(t *testing.T) {
	known := slices.DeleteFunc(slices.Clone(csv.Fields), func(name string) bool { return !slices.Contains(todaysColumns, name) })
	if diff := cmp.Diff(todaysColumns, known); diff != "" {
		t.Errorf("the columns, without new ones (-want +got):\n%s", diff)
	}

	entry := attestlog.Entry{Event: testlog.FullEvent()}
	var table bytes.Buffer
	w, err := csv.NewWriter(&table, csv.Fields)
	if err != nil {
		t.Fatal(err)
	}
	err = w.Write(&entry)
	if err != nil {
		t.Fatal(err)
	}
	err = w.Flush()
	if err != nil {
		t.Fatal(err)
	}

	for i := range field.All() {
		f := &field.All()[i]
		if f.Query != "" && !f.Detail && !strings.Contains(table.String(), ","+testlog.FieldValue(f)) {
			t.Errorf("the table has no column for %s:\n%s", f.Path(), table.String())
		}
	}
}

// A record whose members have the names of an event's JSON is that event. What
// programs name otherwise, and do not agree on, is not looked for.
func TestNamedFindsFieldsUnderTheirPaths(t *testing.T) {
	want := testlog.FullEvent()
	want.ID = ""
	want.Request.DurationUS = 0
	want.Changes = nil

	text, err := want.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	record, err := convert.DecodeObject(text)
	if err != nil {
		t.Fatal(err)
	}
	record["target"] = record["targets"].([]any)[0]
	delete(record, "targets")

	var got attestlog.Event
	convert.Fill(&got, record)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Fill of %s (-want +got):\n%s", text, diff)
	}
}
