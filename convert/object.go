package convert

import "encoding/json"

// An Object is a decoded JSON object whose values are taken out one by one:
// what has found its field in an event is not repeated in the attributes, so
// that erasing the field erases the value.
type Object map[string]any

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
	if all, ok := v.(Repeated); ok {
		return all[len(all)-1]
	}
	return v
}
