package convert

import (
	"encoding/json"
	"fmt"

	"github.com/attestlog/attestlog/internal/loosejson"
)

// An Object is a decoded JSON object whose values are taken out one by one:
// what has found its field in an event is not repeated in the attributes, so
// that erasing the field erases the value.
type Object map[string]any

// DecodeObject is Decode for an object.
func DecodeObject(data []byte) (Object, error) {
	v, err := loosejson.Decode(data)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("not a JSON object")
	}
	return m, nil
}

// Object returns the object under a name, or nil.
func (o Object) Object(name string) Object {
	m, _ := last(o[name]).(map[string]any)
	return m
}

// At returns the value at a path of names, and whether there is one. Of a
// repeated name it is the last value.
func (o Object) At(path ...string) (any, bool) {
	for _, name := range path[:len(path)-1] {
		if o = o.Object(name); o == nil {
			return nil, false
		}
	}
	v, ok := o[path[len(path)-1]]
	return last(v), ok
}

// Text returns the string or the number's digits at a path, or "".
func (o Object) Text(path ...string) string {
	switch v, _ := o.At(path...); v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// Take is Text, and removes the value if it is a string that is not repeated,
// and then the objects that this leaves empty.
func (o Object) Take(path ...string) string {
	text := o.Text(path...)
	if text != "" {
		o.remove(path)
	}
	return text
}

// Add adds a value under a name that may have others already: then all are a
// Repeated.
func (o Object) Add(name string, value any) { loosejson.Add(o, name, value) }

// Put adds a value under the name, or with as many underscores behind it as it
// takes to be free.
func (o Object) Put(name string, value any) { loosejson.Put(o, name, value) }

// Unwrap replaces a list of one value under a dotted name by the value, unless
// that is a list or an object.
func (o Object) Unwrap(dotted string) {
	for _, path := range paths(dotted) {
		in, name := o.holder(path)
		if list, ok := in[name].([]any); ok && len(list) == 1 {
			switch list[0].(type) {
			case []any, map[string]any, loosejson.JSONText, nil:
			default:
				in[name] = list[0]
			}
		}
	}
}

// Drop removes the value under a dotted name, and then the objects that this
// leaves empty.
func (o Object) Drop(dotted string) {
	for _, path := range paths(dotted) {
		in, name := o.holder(path)
		if _, ok := in[name]; ok {
			in[name] = "" // which can be removed
			o.remove(path)
		}
	}
}

// holder returns the object that has the last name of a path, or nil.
func (o Object) holder(path []string) (in Object, name string) {
	for _, name := range path[:len(path)-1] {
		o = o.Object(name)
	}
	return o, path[len(path)-1]
}

func (o Object) remove(path []string) {
	name := path[0]
	if len(path) == 1 {
		if _, ok := o[name].(string); ok {
			delete(o, name)
		}
		return
	}
	kid, ok := o[name].(map[string]any)
	if !ok {
		return
	}
	if Object(kid).remove(path[1:]); len(kid) == 0 {
		delete(o, name)
	}
}

func last(v any) any {
	if all, ok := v.(loosejson.Repeated); ok {
		return all[len(all)-1]
	}
	return v
}
