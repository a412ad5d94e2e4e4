package server_test

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/server"
)

func TestTheAPIDescribesEveryField(t *testing.T) {
	type property struct {
		Description string
		Enum        []string
		Properties  map[string]property
		Items       *property
	}
	var api struct {
		Components struct {
			Schemas map[string]property
		}
	}
	serve(t).get("/openapi.json", "").into(t, 200, &api)

	entry := api.Components.Schemas["Entry"]
	for i := range field.All() {
		f := &field.All()[i]
		object := entry
		if f.Object != field.Event {
			object = entry.Properties[f.Object.Name()]
		}
		if object.Items != nil {
			object = *object.Items
		}

		got, ok := object.Properties[f.Name]
		if !ok {
			t.Errorf("the schema of an entry lacks %s", f.Path())
			continue
		}
		want := property{Description: f.About, Enum: f.Values}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s in the schema of an entry (-want +got):\n%s", f.Path(), diff)
		}
	}
}

func TestAMappingNamesEveryText(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAppend)

	// Words, and numbers, have to be under names that are known.
	want := testlog.FullEvent()
	want.Actor.Type = ""
	want.Targets = []attestlog.Target{{ID: want.Targets[0].ID, Type: want.Targets[0].Type}}
	want.Changes = nil
	for i := range field.All() {
		want.SetNumber(field.All()[i].Pointer(), 0)
	}

	params := url.Values{}
	body := `{"time":"2026-01-02T03:04:05Z","x-target":"the-targets.type/the-targets.id","x-outcome":"unknown"`
	params.Add("map", "target:x-target")
	params.Add("map", "outcome:x-outcome")
	for i := range field.All() {
		f := &field.All()[i]
		isMapped := f.IsText() && f.Values == nil && f.Query != "" && !f.Object.List() && f.ID != field.EventID
		if isMapped {
			params.Add("map", f.Query+":x-"+f.Query)
			body += `,"x-` + f.Query + `":"` + testlog.FieldValue(f) + `"`
		}
	}

	var sent struct{ Receipts []struct{ Index uint64 } }
	s.post("/ingest/default/json?"+params.Encode(), token, body+"}").into(t, 200, &sent)
	entry, err := s.log.Entry(t.Context(), sent.Receipts[0].Index)
	if err != nil {
		t.Fatal(err)
	}
	got := entry.Event
	want.ID = got.ID
	want.Original = []byte(body + "}")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the event of %s (-want +got):\n%s", body, diff)
	}
}
