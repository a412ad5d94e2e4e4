package testlog

import (
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/field"
)

// FullEvent returns an event that a log accepts, in which each text and number of
// the event, and of one target and one change, has a value of its own: see
// FieldValue.
func FullEvent() attestlog.Event {
	e := attestlog.Event{
		Time:    time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Targets: make([]attestlog.Target, 1),
		Changes: make([]attestlog.Change, 1),
	}
	for i := range field.All() {
		f := &field.All()[i]
		switch {
		case f.Kind == field.Number:
			n, _ := strconv.ParseInt(FieldValue(f), 10, 64)
			e.SetNumber(f.Pointer(), n)
		case !f.IsText():
		case f.Object == field.Target:
			*e.Targets[0].Text(f.Name) = FieldValue(f)
		case f.Object == field.Change:
			*e.Changes[0].Text(f.Name) = FieldValue(f)
		default:
			*e.Text(f.Pointer()) = FieldValue(f)
		}
	}
	return e
}

// FieldValue returns the value that a field of FullEvent has: the last of those
// that are allowed, or "the-" and the field's path, an address, or a number of
// three digits.
func FieldValue(f *field.Field) string {
	switch {
	case f.Values != nil:
		return f.Values[len(f.Values)-1]
	case f.Kind == field.Address:
		return "192.0.2.7"
	case f.Kind == field.Number:
		return strconv.Itoa(500 + int(f.ID))
	}
	return "the-" + strings.ReplaceAll(f.Path(), "_", "-")
}
