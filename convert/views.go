package convert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/field"
)

// A Rest says which parts of an entry the schema of another program has no place
// for. It is immutable.
type Rest struct{ fields []restField }

// A restField is a field that is in the rest under a name.
type restField struct {
	*field.Field
	name string
}

// NewRest returns the rest of a view that has places for the fields of some JSON
// Pointers (RFC 6901), such as "/actor/name". All other fields of an event are in
// the rest, so that no view loses a field that was added later. It panics if a
// pointer is not that of a field.
func NewRest(placed ...string) Rest {
	var r Rest
	for i := range field.All() {
		f := &field.All()[i]
		isSingle := (f.IsText() || f.Kind == field.Number) && !f.Object.List()
		if isSingle && !slices.Contains(placed, f.Pointer()) {
			r.fields = append(r.fields, restField{f, restName(f)})
		}
	}

	for _, pointer := range placed {
		_, ok := field.ByPointer(pointer)
		if !ok {
			panic(fmt.Sprintf("convert: %s is not a field of an event", pointer))
		}
	}
	return r
}

// Of returns the rest of an entry: the fields that have no place, such as
// "operation" and "actor_type", its attributes, targets, changes and erased
// pointers. Originals are left out.
func (r Rest) Of(e *attestlog.Entry) map[string]any {
	o := map[string]any{}
	for _, f := range r.fields {
		if f.Kind != field.Number {
			SetText(o, f.name, *e.Text(f.Pointer()))
			continue
		}
		n := e.Number(f.Pointer())
		if n > 0 {
			o[f.name] = n
		}
	}

	if len(e.Attributes) > 0 {
		o["attributes"] = e.Attributes
	}
	if len(e.Targets) > 0 {
		o["targets"] = targets(e.Targets)
	}
	if len(e.Changes) > 0 {
		o["changes"] = changes(e.Changes)
	}
	if len(e.Erased) > 0 {
		o["erased"] = e.Erased
	}
	return o
}

// restNames are the names of fields in a rest that do not have their object's
// name before their own.
var restNames = map[field.ID]string{
	field.ActorSession:    "session",
	field.ActorOnBehalfOf: "on_behalf_of",
	field.RequestMethod:   "method",
	field.RequestRoute:    "route",
	field.RequestStatus:   "status",
	field.RequestDuration: "duration_us",
	field.TraceID:         "trace_id",
	field.TraceSpan:       "span_id",
}

func restName(f *field.Field) string {
	name, ok := restNames[f.ID]
	switch {
	case ok:
		return name
	case f.Object == field.Event:
		return f.Name
	}
	return f.Object.Name() + "_" + f.Name
}

// SetText sets a member to a text that is not empty.
func SetText(to map[string]any, name, value string) {
	if value != "" {
		to[name] = value
	}
}

// IsTraceID reports whether s is a trace-id of W3C Trace Context, Section 3.2.2.
func IsTraceID(s string) bool { return isHex(s, 32) }

// IsSpanID reports whether s is a parent-id of W3C Trace Context, Section 3.2.2.
func IsSpanID(s string) bool { return isHex(s, 16) }

// isHex reports whether s has n lower-case hexadecimal digits, not all of them
// zeros.
func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == "" && strings.Trim(s, "0") != ""
}

func targets(all []attestlog.Target) []map[string]any {
	var out []map[string]any
	for i := range all {
		o := map[string]any{}
		for _, f := range field.Target.Fields() {
			SetText(o, f.Name, *all[i].Text(f.Name))
		}
		out = append(out, o)
	}
	return out
}

func changes(all []attestlog.Change) []map[string]any {
	var out []map[string]any
	for i := range all {
		c := &all[i]
		o := map[string]any{}
		for _, f := range field.Change.Fields() {
			if f.IsText() {
				SetText(o, f.Name, *c.Text(f.Name))
			}
		}
		if c.Old != nil {
			o["old"] = c.Old
		}
		if c.New != nil {
			o["new"] = c.New
		}
		out = append(out, o)
	}
	return out
}
