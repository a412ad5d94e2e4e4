package fit

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// Restore undoes what Bound noted, and removes those notes. Numbers come back
// as json.Number, values nested too deep as json.RawMessage, repeated ones as
// Repeated. What was cut stays as it is, with its note.
func Restore(e attestlog.Event) attestlog.Event {
	r := restorer{parseNotes(e.Attributes[NotesName])}
	e.Targets, e.Changes = slices.Clone(e.Targets), slices.Clone(e.Changes)
	for _, f := range texts(&e) {
		*f.text = r.text(f.pointer, *f.text)
	}
	r.declared(&e)
	for i := range e.Targets {
		t, p := &e.Targets[i], "/targets/"+strconv.Itoa(i)
		t.ID, t.Name, t.Type = r.text(p+"/id", t.ID), r.text(p+"/name", t.Name), r.text(p+"/type", t.Type)
	}
	for i := range e.Changes {
		c, p := &e.Changes[i], "/changes/"+strconv.Itoa(i)
		c.Path, c.Op = r.text(p+"/path", c.Path), r.text(p+"/op", c.Op)
		c.Old, c.New = r.value(p+"/old", c.Old), r.value(p+"/new", c.New)
	}
	given := maps.Clone(e.Attributes)
	delete(given, NotesName)
	e.Attributes = r.members("/attributes", given)
	maps.DeleteFunc(r.notes, func(_ string, n note) bool { return !n.cut() })
	if len(r.notes) > 0 {
		if v, taken := e.Attributes[NotesName]; taken {
			name := FreeName(e.Attributes, NotesName+"_")
			e.Attributes[name] = v
			r.notes[attributePointer(name)] = note{name: "renamed"}
		}
		e.Attributes[NotesName] = r.notes.value()
	}
	if len(e.Attributes) == 0 {
		e.Attributes = nil
	}
	return e
}

type restorer struct{ notes notes }

func (n note) cut() bool { return n.bytes > 0 || n.items > 0 || n.name == "cut" }

func (n note) has(as string) bool { return slices.Contains(strings.Fields(n.as), as) }

func (r *restorer) declared(e *attestlog.Event) {
	if n := r.notes["/time"]; n.has("unknown") {
		e.Time = time.Time{}
	} else if t, err := time.Parse(wasTime, n.was); err == nil {
		e.Time = t
	}
	if n := r.notes["/source/ip"]; n.has("was") && n.was == "" {
		e.Source.IP, e.Source.Host = e.Source.Host, ""
	}
	for pointer, number := range map[string]func(int64){
		"/request/status":      func(n int64) { e.Request.Status = int(n) },
		"/request/duration_us": func(n int64) { e.Request.DurationUS = n },
	} {
		if n, err := strconv.ParseInt(r.notes[pointer].was, 10, 64); err == nil {
			number(n)
		}
	}
}

// text undoes a declared string's note.
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

func (r *restorer) value(pointer string, v any) any {
	switch of := v.(type) {
	case map[string]any:
		v = r.members(pointer, of)
	case []any:
		all := make([]any, len(of))
		for i := range of {
			all[i] = r.value(pointer+"/"+strconv.Itoa(i), of[i])
		}
		v = all
		if r.notes[pointer].has("repeated") {
			v = loosejson.Repeated(all)
		}
	case string:
		n := r.notes[pointer]
		text := r.text(pointer, of)
		switch {
		case n.cut():
			return of
		case n.has("number"):
			return json.Number(text)
		case n.has("json"):
			return json.RawMessage(text)
		}
		return text
	}
	return v
}

func (r *restorer) members(pointer string, m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for stored, v := range m {
		p := pointer + "/" + pointerEscapes.Replace(stored)
		name := stored
		switch r.notes[p].name {
		case "escaped":
			name = Unescape(stored)
		case "renamed":
			name = NotesName
		}
		out[name] = r.value(p, v)
	}
	return out
}
