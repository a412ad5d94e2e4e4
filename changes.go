package attestlog

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of what Changes returns.
const (
	MaxChanges     = 100   // changes, before the rest is summed up in one
	MaxChangeValue = 2_048 // bytes of an old or new value, as JSON, before it is cut
)

// Redacted stands in a Change for a value that is not to be shown.
const Redacted = "[redacted]"

// Changes returns what differs between two structs or maps, or pointers to
// them, in the order of their paths. Paths are RFC 6901 JSON Pointers, and the
// operations add, remove and replace those of RFC 6902. A nil stands for a value
// that was not there.
//
//	type User struct {
//		ID       string
//		Email    string   `json:"email"`
//		Password string   `audit:",redact"` // shown as changed, not what it was
//		Cache    string   `audit:"-"`       // not looked at
//		Roles    []Role   `audit:"roles"`   // under this name
//	}
//	type Role struct {
//		Name string `audit:"name,key"` // tells the elements of a slice apart
//		Site string
//	}
//
// A field's name is that of its audit tag, or else of its json tag, or else its
// own; a field with the json tag "-" is not looked at unless it has an audit
// tag. Structs and maps are compared member by member, slices of structs with a
// key element by element under the key, and all else as a whole by its JSON.
//
// A value of more than MaxChangeValue bytes becomes the beginning of its JSON
// with its length and SHA-256. Of more than MaxChanges changes, the first are
// kept, and a last one of the operation "truncated" says how many there were.
func Changes(old, new any) []Change {
	d := differ{}
	d.diff("", diffTreeOf(reflect.ValueOf(old), 0), diffTreeOf(reflect.ValueOf(new), 0))
	if len(d.changes) > MaxChanges {
		rest := map[string]any{"changes": len(d.changes), "kept": MaxChanges}
		d.changes = append(d.changes[:MaxChanges:MaxChanges], Change{Op: "truncated", New: rest})
	}
	return d.changes
}

// A diffTree is a value on its way to being compared; nil is one that is absent.
// Either members or raw is set.
type diffTree struct {
	members map[string]*diffTree // of a struct, a map or a keyed slice
	raw     []byte               // JSON
	shown   []byte               // JSON without what is redacted, if that differs
	hidden  bool                 // to be redacted as a whole
}

// maxChangeDepth ends pointers that lead in a circle.
const maxChangeDepth = 32

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func diffTreeOf(v reflect.Value, depth int) *diffTree {
	if !v.IsValid() {
		return nil
	}
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		if t := v.Type(); t.Implements(jsonMarshaler) || t.Implements(textMarshaler) {
			return scalarOf(v)
		}
		if depth++; depth > maxChangeDepth {
			return &diffTree{raw: []byte(`"nested too deep"`)}
		}
		v = v.Elem()
	}
	t := v.Type()
	switch {
	case t.Implements(jsonMarshaler) || t.Implements(textMarshaler) || depth > maxChangeDepth:
	case v.Kind() == reflect.Struct:
		out := &diffTree{members: map[string]*diffTree{}}
		out.fields(v, depth)
		return out
	case v.Kind() == reflect.Map:
		if v.IsNil() {
			return nil
		}
		out := &diffTree{members: make(map[string]*diffTree, v.Len())}
		for iter := v.MapRange(); iter.Next(); {
			out.members[nameOf(iter.Key())] = nullIfAbsent(diffTreeOf(iter.Value(), depth+1))
		}
		return out
	case v.Kind() == reflect.Slice || v.Kind() == reflect.Array:
		return listOf(v, depth)
	}
	return scalarOf(v)
}

// nullIfAbsent tells a member that is null from one that is absent.
func nullIfAbsent(t *diffTree) *diffTree {
	if t == nil {
		return &diffTree{raw: []byte("null")}
	}
	return t
}

func scalarOf(v reflect.Value) *diffTree {
	if !v.CanInterface() {
		return nil
	}
	raw, err := json.Marshal(v.Interface())
	if err != nil {
		raw, _ = json.Marshal(fmt.Sprint(v.Interface()))
	}
	return &diffTree{raw: raw}
}

// fields adds a struct's fields; those of an embedded one without a name of its
// own are the struct's.
func (t *diffTree) fields(v reflect.Value, depth int) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag := tagOf(f)
		if tag.skip || !f.IsExported() && !f.Anonymous {
			continue
		}
		if f.Anonymous && !tag.named {
			inner := v.Field(i)
			for inner.Kind() == reflect.Pointer && !inner.IsNil() {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && depth < maxChangeDepth {
				t.fields(inner, depth+1)
				continue
			}
		}
		if !f.IsExported() {
			continue
		}
		member := diffTreeOf(v.Field(i), depth+1)
		if member == nil {
			continue
		}
		if _, outer := t.members[tag.name]; outer && f.Anonymous {
			continue
		}
		member.hidden = tag.redact
		t.members[tag.name] = member
	}
}

// listOf compares a slice of structs with a key by that, unless a key comes
// twice.
func listOf(v reflect.Value, depth int) *diffTree {
	if v.Kind() == reflect.Slice && v.IsNil() {
		return nil
	}
	var elements []*diffTree
	keys := map[string]*diffTree{}
	keyed := v.Len() > 0
	for i := range v.Len() {
		e := diffTreeOf(v.Index(i), depth+1)
		elements = append(elements, nullIfAbsent(e))
		if key, ok := keyOf(v.Index(i)); ok && keys[key] == nil && e != nil {
			keys[key] = e
		} else {
			keyed = false
		}
	}
	if keyed {
		return &diffTree{members: keys}
	}
	if v.Type().Elem().Kind() == reflect.Uint8 { // bytes: base64, as encoding/json has it
		return scalarOf(v)
	}
	return &diffTree{raw: listJSON(elements, false), shown: listJSON(elements, true)}
}

func listJSON(elements []*diffTree, shown bool) []byte {
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

// keyOf returns the text of the field that is tagged as a struct's key.
func keyOf(v reflect.Value) (string, bool) {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return "", false
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return "", false
	}
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && tagOf(f).key {
			return nameOf(v.Field(i)), true
		}
	}
	return "", false
}

// nameOf returns a key's text.
func nameOf(v reflect.Value) string {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	return fmt.Sprint(v.Interface())
}

type changeTag struct {
	name                     string
	named, skip, redact, key bool
}

func tagOf(f reflect.StructField) changeTag {
	t := changeTag{name: f.Name}
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
func (t *diffTree) json(shown bool) []byte {
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
		quoted, _ := json.Marshal(name) // a string
		out.Write(quoted)
		out.WriteByte(':')
		out.Write(t.members[name].json(shown))
	}
	out.WriteByte('}')
	return out.Bytes()
}

// names returns the members' names that a tree or another has, in order.
func (t *diffTree) names(other *diffTree) []string {
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

type differ struct {
	changes []Change
}

func (d *differ) diff(path string, old, new *diffTree) {
	switch {
	case old == nil && new == nil:
	case old == nil:
		d.changes = append(d.changes, Change{Path: path, Op: "add", New: new.value()})
	case new == nil:
		d.changes = append(d.changes, Change{Path: path, Op: "remove", Old: old.value()})
	case old.members != nil && new.members != nil && !old.hidden && !new.hidden:
		for _, name := range old.names(new) {
			d.diff(path+"/"+pointerEscaper.Replace(name), old.members[name], new.members[name])
		}
	default:
		if !bytes.Equal(old.json(false), new.json(false)) {
			d.changes = append(d.changes, Change{Path: path, Op: "replace", Old: old.value(), New: new.value()})
		}
	}
}

// RFC 6901, Section 3.
var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

// value returns what a Change shows.
func (t *diffTree) value() any {
	text := t.json(true)
	if len(text) <= MaxChangeValue {
		return json.RawMessage(text)
	}
	end := MaxChangeValue / 4
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s… [cut: %d bytes, SHA-256 %x]", text[:end], len(text), sha256.Sum256(text))
}
