package server

import (
	"bytes"
	"fmt"
	"iter"
	"net/http"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/internal/field"
)

// readJSON reads JSON objects of any kind. Parameters map=FIELD:PATH say where a
// field of the event is in them; convert.Fill finds the others.
//
// Objects have no identity of their own, so equal ones are events of their own,
// unless they come with the same Idempotency-Key. An object without a time gets
// that of the request.
func readJSON(s *Server, r *http.Request, body []byte) (iter.Seq2[attestlog.Event, error], error) {
	fields, err := parseMapping(r.URL.Query()["map"])
	if err != nil {
		return nil, problem(http.StatusBadRequest, err.Error())
	}
	key := r.Header.Get("Idempotency-Key")
	ids := convert.NewIDs("json", key)

	event := func(raw []byte) (attestlog.Event, error) {
		o, err := convert.DecodeObject(raw)
		if err != nil {
			return attestlog.Event{}, err
		}

		e := attestlog.Event{Original: raw}
		for _, f := range fields {
			f.set(&e, o, f.path)
		}
		convert.Fill(&e, o)

		switch {
		case key != "":
			e.ID = ids.Next(raw)
		case e.Time.IsZero():
			e.Time = s.cfg.Clock()
		}
		convert.Complete(&e, o)
		return e, nil
	}
	return convert.Objects(bytes.NewReader(body), "request", "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
		return convert.One(event(raw))
	}), nil
}

// A fieldSetter takes the value at a path out of an object and sets a field of
// the event to it, or has convert.Fill do that.
type fieldSetter func(e *attestlog.Event, o convert.Object, path string)

// A mappedField is a parameter map=FIELD:PATH.
type mappedField struct {
	path string
	set  fieldSetter
}

func parseMapping(params []string) ([]mappedField, error) {
	var fields []mappedField
	for _, text := range params {
		name, path, ok := strings.Cut(text, ":")
		set := mappable[name]
		if !ok || set == nil || path == "" {
			return nil, fmt.Errorf("map=%s: want FIELD:PATH, such as actor:user.login; the fields are action, actor, target, "+
				"ip, outcome, tenant and others of the documentation", text)
		}
		fields = append(fields, mappedField{path, set})
	}
	return fields, nil
}

// mappable are the fields that a parameter map can name, by their names in the
// query language: the texts of an event, its time, and one target. The id is the
// Idempotency-Key's.
var mappable = allMappable()

func allMappable() map[string]fieldSetter {
	setters := map[string]fieldSetter{
		"outcome": rename("outcome"),
		"target":  setTarget,
		"time":    rename("time"),
	}
	for i := range field.All() {
		f := &field.All()[i]
		isText := f.IsText() && f.Values == nil && !f.Object.List()
		if isText && f.Query != "" && f.ID != field.EventID {
			setters[f.Query] = setText(f.Pointer())
		}
	}
	return setters
}

func setText(pointer string) fieldSetter {
	return func(e *attestlog.Event, o convert.Object, path string) { *e.Text(pointer) = convert.Take(o, path) }
}

// rename gives a value the name under which convert.Fill looks for it; that reads
// it in many spellings. A member that has the name already stays.
func rename(name string) fieldSetter {
	return func(_ *attestlog.Event, o convert.Object, path string) {
		value, found := o.Lookup(path)
		_, nameTaken := o[name]
		if !found || nameTaken && path != name {
			return
		}
		convert.Take(o, path)
		o[name] = value
	}
}

// setTarget reads a target as TYPE/ID or ID.
func setTarget(e *attestlog.Event, o convert.Object, path string) {
	text := convert.Take(o, path)
	if text == "" {
		return
	}

	target := attestlog.Target{ID: text}
	kind, id, hasType := strings.Cut(text, "/")
	if hasType {
		target = attestlog.Target{Type: kind, ID: id}
	}
	e.Targets = []attestlog.Target{target}
}
