package convert

import (
	"encoding/json"
	"errors"
	"iter"
	"strings"

	"github.com/attestlog/attestlog/internal/loosejson"
)

// An Object is a decoded JSON object whose values are taken out one by one. What
// has found its field in an event is not repeated in the attributes, so that
// erasing the field erases the value.
//
// Its values are those of loosejson.Decode. Where a name is repeated, the methods
// that look for a value see the last one. A path is the names of objects inside
// each other; a dotted name is such a path with dots between, or one name that
// has dots in it.
type Object map[string]any

// DecodeObject decodes a JSON object and loses nothing of it.
func DecodeObject(data []byte) (Object, error) {
	v, err := loosejson.Decode(data)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	return m, nil
}

// Object returns the object under a name, or nil.
func (o Object) Object(name string) Object {
	m, _ := lastOf(o[name]).(map[string]any)
	return m
}

// At returns the value at a path, and whether there is one.
func (o Object) At(path ...string) (any, bool) {
	in, name := o.holder(path)
	v, ok := in[name]
	return lastOf(v), ok
}

// Lookup returns the value under a dotted name, and whether there is one.
func (o Object) Lookup(dotted string) (any, bool) {
	for path := range pathsOf(dotted) {
		if v, ok := o.At(path...); ok {
			return v, true
		}
	}
	return nil, false
}

// Text returns the string or the number's digits at a path, or "".
func (o Object) Text(path ...string) string {
	v, _ := o.At(path...)
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// Take returns the text at a path as Text does. If the value is a string that is
// not repeated, it is removed, with the objects that this leaves empty.
func (o Object) Take(path ...string) string {
	text := o.Text(path...)
	if text != "" {
		o.removeString(path)
	}
	return text
}

// Take takes the first text that there is under one of some dotted names, as
// Object.Take does. So a number counts, but is not removed.
func Take(o Object, names ...string) string {
	for path := range pathsOf(names...) {
		if text := o.Take(path...); text != "" {
			return text
		}
	}
	return ""
}

// Add adds a value under a name. If the name has values already, all of them
// become a loosejson.Repeated.
func (o Object) Add(name string, value any) { loosejson.Add(o, name, value) }

// Put adds a value under a name, or under the name with as many underscores after
// it as it takes to be free.
func (o Object) Put(name string, value any) { loosejson.Put(o, name, value) }

// Unwrap replaces a list of one value under a dotted name by the value, unless
// that is null, a list or an object.
func (o Object) Unwrap(dotted string) {
	for path := range pathsOf(dotted) {
		in, name := o.holder(path)
		list, ok := in[name].([]any)
		if !ok || len(list) != 1 {
			continue
		}
		switch list[0].(type) {
		case nil, []any, map[string]any, loosejson.JSONText:
		default:
			in[name] = list[0]
		}
	}
}

// Drop removes the value under a dotted name, and the objects that this leaves
// empty.
func (o Object) Drop(dotted string) {
	for path := range pathsOf(dotted) {
		in, name := o.holder(path)
		if _, ok := in[name]; ok {
			in[name] = "" // removeString removes nothing else
			o.removeString(path)
		}
	}
}

// holder returns the object that holds the last name of a path, or nil.
func (o Object) holder(path []string) (in Object, name string) {
	last := len(path) - 1
	for _, name := range path[:last] {
		o = o.Object(name)
	}
	return o, path[last]
}

// removeString removes a string at a path, and the objects that this leaves
// empty. It does not look into objects of a name that is repeated.
func (o Object) removeString(path []string) {
	name := path[0]
	if len(path) == 1 {
		if _, ok := o[name].(string); ok {
			delete(o, name)
		}
		return
	}

	inner, ok := o[name].(map[string]any)
	if !ok {
		return
	}
	Object(inner).removeString(path[1:])
	if len(inner) == 0 {
		delete(o, name)
	}
}

// pathsOf yields the paths that dotted names may be.
func pathsOf(dotted ...string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for _, name := range dotted {
			if !yield([]string{name}) {
				return
			}
			if strings.Contains(name, ".") && !yield(strings.Split(name, ".")) {
				return
			}
		}
	}
}

// lastOf returns the last value of a name that is repeated, or else the value.
func lastOf(v any) any {
	if all, ok := v.(loosejson.Repeated); ok {
		return all[len(all)-1]
	}
	return v
}
