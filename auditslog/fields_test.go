package auditslog_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditslog"
	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/testlog"
)

// A recorder keeps the last event.
type recorder struct{ event attestlog.Event }

func (r *recorder) Record(_ context.Context, e attestlog.Event) error {
	r.event = e
	return nil
}

func TestEveryFieldHasAnAttribute(t *testing.T) {
	want := testlog.FullEvent()
	want.Time = time.Time{}
	want.Changes = nil

	groups := map[field.Object][]any{}
	for i := range field.All() {
		f := &field.All()[i]
		switch {
		case f.Kind == field.Number:
			groups[f.Object] = append(groups[f.Object], slog.Int64(f.Name, want.Number(f.Pointer())))
		case f.IsText():
			groups[f.Object] = append(groups[f.Object], slog.String(f.Name, testlog.FieldValue(f)))
		}
	}
	attrs := groups[field.Event]
	for _, part := range field.Parts() {
		switch {
		case part == field.Target:
			attrs = append(attrs, slog.Group("target", groups[part]...))
		case !part.List():
			attrs = append(attrs, slog.Group(part.Name(), groups[part]...))
		}
	}

	var got recorder
	h := auditslog.New(slog.DiscardHandler, &got, auditslog.Config{})
	slog.New(h).Log(t.Context(), auditslog.Level, "", attrs...)
	got.event.Time = time.Time{}
	if diff := cmp.Diff(want, got.event); diff != "" {
		t.Errorf("the event (-want +got):\n%s", diff)
	}

	// An Actor may stand for its group.
	slog.New(h).Log(t.Context(), auditslog.Level, "a", "actor", want.Actor)
	if diff := cmp.Diff(want.Actor, got.event.Actor); diff != "" {
		t.Errorf("the actor (-want +got):\n%s", diff)
	}
}
