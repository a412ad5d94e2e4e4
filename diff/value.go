package diff

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/attestlog/attestlog/internal/canon"
)

// A tree is a value on its way to being compared; nil is one that is absent.
// Either members or raw is set.
type tree struct {
	members map[string]*tree // of a struct, a map or a keyed slice
	raw     []byte           // JSON
	shown   []byte           // JSON without what is redacted, if that differs
	hidden  bool             // to be redacted as a whole
}

// A reader makes trees of values. It looks at a bounded number of them, so
// that values which lead in circles come to an end.
type reader struct {
	left int
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func text(s string) *tree { return &tree{raw: quoted(s)} }

func quoted(s string) []byte {
	out, _ := canon.AppendString(nil, strings.ToValidUTF8(s, "\uFFFD")) // valid
	return out
}

func (r *reader) value(v reflect.Value, depth int) *tree {
	for ; v.IsValid() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface); v = v.Elem() {
		if v.IsNil() {
			return nil
		}
		if r.left--; r.left < 0 {
			return text("not looked at")
		}
	}
	if !v.IsValid() {
		return nil
	}
	if r.left--; r.left < 0 || depth > maxDepth {
		return text("not looked at")
	}
	t := v.Type()
	marshals := implements(t, jsonMarshaler) || implements(t, textMarshaler)
	switch v.Kind() {
	case reflect.Struct:
		if marshals && !hasTags(t) {
			return scalarOf(v)
		}
		out := &tree{members: map[string]*tree{}}
		r.fields(out, v, depth, false)
		return out
	case reflect.Map:
		if v.IsNil() {
			return nil
		}
		if marshals {
			return scalarOf(v)
		}
		out := &tree{members: map[string]*tree{}}
		for iter := v.MapRange(); iter.Next() && r.left > 0; {
			out.members[nameOf(iter.Key())] = nullIfAbsent(r.value(iter.Value(), depth+1))
		}
		return out
	case reflect.Slice, reflect.Array:
		if marshals || t.Elem().Kind() == reflect.Uint8 { // bytes: base64, as encoding/json has it
			return scalarOf(v)
		}
		return r.list(v, depth)
	}
	return scalarOf(v)
}

func implements(t, method reflect.Type) bool {
	return t.Implements(method) || reflect.PointerTo(t).Implements(method)
}

// hasTags reports whether a field of a struct has an audit tag.
func hasTags(t reflect.Type) bool {
	for i := range t.NumField() {
		if _, tagged := t.Field(i).Tag.Lookup("audit"); tagged {
			return true
		}
	}
	return false
}

// nullIfAbsent tells a member that is null from one that is absent.
func nullIfAbsent(t *tree) *tree {
	if t == nil {
		return &tree{raw: []byte("null")}
	}
	return t
}

// scalarOf returns what has no members of its own.
func scalarOf(v reflect.Value) *tree {
	if !v.CanInterface() {
		return nil
	}
	if v.CanAddr() {
		v = v.Addr()
	} else if implements(v.Type(), jsonMarshaler) || implements(v.Type(), textMarshaler) {
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		v = p
	}
	raw, err := marshal(v.Interface())
	if err != nil {
		return text("a value of type " + reflect.Indirect(v).Type().String())
	}
	// A number that a leaf cannot hold becomes a text of its digits.
	if len(raw) > 0 && (raw[0] == '-' || raw[0]-'0' <= 9) {
		if _, err := canon.AppendValue(nil, json.RawMessage(raw), "", leafDepth); err != nil {
			return text(string(raw))
		}
	}
	return &tree{raw: raw}
}

// marshal is json.Marshal of values whose methods may not bear every state.
func marshal(v any) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return json.Marshal(v)
}

// fields adds a struct's fields; those of an embedded one without a name of its
// own are the struct's, where that has none of the name.
func (r *reader) fields(to *tree, v reflect.Value, depth int, hidden bool) {
	var embedded []int
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag := tagOf(f)
		switch {
		case tag.skip:
		case f.Anonymous && !tag.named:
			embedded = append(embedded, i)
		case f.IsExported():
			if member := r.value(v.Field(i), depth+1); member != nil {
				member.hidden = member.hidden || tag.redact || hidden
				if _, outer := to.members[tag.name]; !outer {
					to.members[tag.name] = member
				}
			}
		}
	}
	for _, i := range embedded {
		f, inner := v.Type().Field(i), v.Field(i)
		for inner.Kind() == reflect.Pointer && !inner.IsNil() && r.left > 0 {
			inner = inner.Elem()
			r.left--
		}
		tag := tagOf(f)
		if inner.Kind() == reflect.Struct && depth < maxDepth && r.left > 0 {
			r.fields(to, inner, depth+1, hidden || tag.redact)
		} else if member := r.value(inner, depth+1); member != nil && f.IsExported() {
			member.hidden = member.hidden || tag.redact || hidden
			if _, outer := to.members[tag.name]; !outer {
				to.members[tag.name] = member
			}
		}
	}
}

// list compares a slice of structs with a key by that, unless a key comes twice.
func (r *reader) list(v reflect.Value, depth int) *tree {
	if v.Kind() == reflect.Slice && v.IsNil() {
		return nil
	}
	var elements []*tree
	keys := map[string]*tree{}
	keyed := v.Len() > 0
	for i := range v.Len() {
		if r.left <= 0 {
			elements = append(elements, text("not looked at"))
			keyed = false
			break
		}
		e := r.value(v.Index(i), depth+1)
		elements = append(elements, nullIfAbsent(e))
		if key, ok := keyOf(v.Index(i)); ok && keys[key] == nil && e != nil {
			keys[key] = e
		} else {
			keyed = false
		}
	}
	if keyed {
		return &tree{members: keys}
	}
	return &tree{raw: listJSON(elements, false), shown: listJSON(elements, true)}
}

func listJSON(elements []*tree, shown bool) []byte {
	var out bytes.Buffer
	out.WriteByte('[')
	for i, e := range elements {
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(e.json(shown))
	}
	out.WriteByte(']')
	return out.Bytes()
}

// keyOf returns the text of the field that is tagged as a struct's key, unless
// that is to be redacted.
func keyOf(v reflect.Value) (string, bool) {
	for range maxDepth {
		if v.Kind() != reflect.Pointer && v.Kind() != reflect.Interface || v.IsNil() {
			break
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return "", false
	}
	for i := range v.NumField() {
		if tag := tagOf(v.Type().Field(i)); tag.key && !tag.redact && v.Type().Field(i).IsExported() {
			return nameOf(v.Field(i)), true
		}
	}
	return "", false
}

// nameOf returns a key's text.
func nameOf(v reflect.Value) (name string) {
	defer func() {
		if recover() != nil {
			name = "a key of type " + v.Type().String()
		}
		name = strings.ToValidUTF8(name, "\uFFFD")
	}()
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	switch v.Kind() {
	case reflect.Struct, reflect.Array, reflect.Pointer, reflect.Interface, reflect.Chan:
		return "a key of type " + v.Type().String()
	}
	return fmt.Sprint(v.Interface())
}

type fieldTag struct {
	name                     string
	named, skip, redact, key bool
}

func tagOf(f reflect.StructField) fieldTag {
	t := fieldTag{name: f.Name}
	own, tagged := f.Tag.Lookup("audit")
	general := f.Tag.Get("json")
	if own == "-" || !tagged && general == "-" {
		t.skip = true
		return t
	}
	name, options, _ := strings.Cut(own, ",")
	if name == "" {
		name, _, _ = strings.Cut(general, ",")
	}
	if name != "" && name != "-" {
		t.name, t.named = name, true
	}
	for option := range strings.SplitSeq(options, ",") {
		t.redact = t.redact || option == "redact"
		t.key = t.key || option == "key"
	}
	return t
}

// json returns the value as JSON; shown is without what is to be redacted.
func (t *tree) json(shown bool) []byte {
	switch {
	case t.hidden && shown:
		return []byte(`"` + Redacted + `"`)
	case t.members == nil && shown && t.shown != nil:
		return t.shown
	case t.members == nil:
		return t.raw
	}
	var out bytes.Buffer
	out.WriteByte('{')
	for i, name := range t.names(nil) {
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(quoted(name))
		out.WriteByte(':')
		out.Write(t.members[name].json(shown))
	}
	out.WriteByte('}')
	return out.Bytes()
}

// names returns the members' names that a tree or another has, in order.
func (t *tree) names(other *tree) []string {
	names := make([]string, 0, len(t.members))
	for name := range t.members {
		names = append(names, name)
	}
	if other != nil {
		for name := range other.members {
			if t.members[name] == nil {
				names = append(names, name)
			}
		}
	}
	slices.SortFunc(names, cmp.Compare[string])
	return names
}
