package fit

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/jsonpointer"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// A restorer undoes what notes say. It does each field once.
type restorer struct{ notes notes }

// declared restores the fields that are declared, except targets and changes.
func (r *restorer) declared(e *attestlog.Event) {
	for f := range texts() {
		text := e.Text(f.Pointer())
		*text = r.text(f.Pointer(), *text)
	}

	n := r.notes["/time"]
	if n.has("unknown") {
		e.Time = time.Time{}
	} else if t, err := time.Parse(refusedTime, n.was); err == nil {
		e.Time = t
	}

	// An address that is not in the note was moved to the host.
	if n := r.notes["/source/ip"]; n.has("was") && n.was == "" {
		e.Source.IP = e.Source.Host
		e.Source.Host = ""
	}

	for _, id := range field.Limited() {
		f := id.Field()
		if f.Kind != field.Number {
			continue
		}
		n, refused := r.number(f.Pointer())
		if refused {
			e.SetNumber(f.Pointer(), n)
		}
	}
}

// number returns the number in a note, if it has one.
func (r *restorer) number(pointer string) (n int64, refused bool) {
	n, err := strconv.ParseInt(r.notes[pointer].was, 10, 64)
	return n, err == nil
}

func (r *restorer) targets(e *attestlog.Event) {
	e.Targets = slices.Clone(e.Targets)
	for i := range e.Targets {
		pointer := "/targets/" + strconv.Itoa(i) + "/"
		for _, f := range field.Target.Fields() {
			text := e.Targets[i].Text(f.Name)
			*text = r.text(pointer+f.Name, *text)
		}
	}
}

func (r *restorer) changes(e *attestlog.Event) {
	e.Changes = slices.Clone(e.Changes)
	for i := range e.Changes {
		c := &e.Changes[i]
		pointer := "/changes/" + strconv.Itoa(i) + "/"
		for _, f := range field.Change.Fields() {
			if f.IsText() {
				text := c.Text(f.Name)
				*text = r.text(pointer+f.Name, *text)
			}
		}
		c.Old = r.value(pointer+"old", c.Old)
		c.New = r.value(pointer+"new", c.New)
	}
}

// attributes restores the attributes, and leaves the notes of what was cut among
// them.
func (r *restorer) attributes(e *attestlog.Event) {
	given := maps.Clone(e.Attributes)
	delete(given, NotesName)
	e.Attributes = r.members("/attributes", given)

	maps.DeleteFunc(r.notes, func(_ string, n note) bool { return !n.cut() })
	if len(r.notes) > 0 {
		if v, taken := e.Attributes[NotesName]; taken {
			name := loosejson.Put(e.Attributes, NotesName+"_", v)
			r.notes[jsonpointer.Join("attributes", name)] = note{name: "renamed"}
		}
		e.Attributes[NotesName] = r.notes.value()
	}

	if len(e.Attributes) == 0 {
		e.Attributes = nil
	}
}

// text returns the text that was given where an event holds s.
func (r *restorer) text(pointer, s string) string {
	n := r.notes[pointer]
	if n.cut() {
		return s
	}

	if n.was != "" {
		s = n.was
	}
	if n.has("escaped") {
		s = Unescape(s)
	}
	if n.has("empty") {
		return ""
	}
	if n.has("reserved") {
		s = strings.TrimPrefix(s, ForeignPrefix)
	}
	return s
}

// value returns the value that was given where an event holds v.
func (r *restorer) value(pointer string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		return r.members(pointer, v)

	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = r.value(pointer+"/"+strconv.Itoa(i), v[i])
		}
		if r.notes[pointer].has("repeated") {
			return loosejson.Repeated(all)
		}
		return all

	case string:
		n := r.notes[pointer]
		switch {
		case n.cut():
			return v
		case n.has("number"): // the text may have been escaped as well
			return json.Number(r.text(pointer, v))
		case n.has("json"):
			return json.RawMessage(r.text(pointer, v))
		}
		return r.text(pointer, v)
	}
	return v
}

func (r *restorer) members(pointer string, m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for stored, v := range m {
		member := pointer + "/" + jsonpointer.Escape(stored)
		name := stored
		switch r.notes[member].name {
		case "escaped":
			name = Unescape(stored)
		case "renamed":
			name = NotesName
		}
		out[name] = r.value(member, v)
	}
	return out
}
