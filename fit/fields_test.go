package fit_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/testlog"
)

func TestAnEventThatFitsStaysAsItIs(t *testing.T) {
	want := testlog.FullEvent()
	got := testlog.FullEvent()
	fit.Event(&got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Event (-want +got):\n%s", diff)
	}
}

// Each field alone has what a log refuses, and gets it back.
func TestEveryFieldIsFittedAndRestored(t *testing.T) {
	for i := range field.All() {
		f := &field.All()[i]
		e := testlog.FullEvent()
		switch {
		case f.Kind == field.Number:
			e.SetNumber(f.Pointer(), -1)
		case !f.IsText():
			continue
		case f.Object == field.Target:
			*e.Targets[0].Text(f.Name) = "\xff"
		case f.Object == field.Change:
			*e.Changes[0].Text(f.Name) = "\xff"
		case f.Kind == field.Address: // a text would become the host
			e.Source.Host = ""
			e.Source.IP = "\xff"
		default:
			*e.Text(f.Pointer()) = "\xff"
		}

		fitted := e
		fit.Event(&fitted)
		accepted(t, fitted)
		if diff := cmp.Diff(e, fit.Restore(fitted)); diff != "" {
			t.Errorf("%s: Restore (-want +got):\n%s", f.Path(), diff)
		}
	}
}

// Event bounds the size of an event before it is written, and counts the names of
// its fields as a constant.
func TestTheNamesOfAllFieldsFitTheirBound(t *testing.T) {
	const bound = 1024
	var e attestlog.Event
	for i := range field.All() {
		f := &field.All()[i]
		switch {
		case f.Object.List():
		case f.Kind == field.Number:
			e.SetNumber(f.Pointer(), 1<<53-1)
		case f.IsText():
			*e.Text(f.Pointer()) = "x"
		}
	}
	e.Time = testlog.FullEvent().Time

	text, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	const logged = len(`,"logged_time":"2026-01-02T03:04:05.000006Z","v":1`)
	if len(text)+logged > bound {
		t.Errorf("the names of the fields take %d bytes: declaredSize is too small", len(text)+logged)
	}
}
