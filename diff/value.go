package diff

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/attestlog/attestlog/internal/canon"
)

// A node is a value that is to be compared; nil is one that is absent. It has
// either members or JSON.
type node struct {
	members  map[string]*node // of a struct, a map or a slice with keys
	plain    []byte           // JSON
	shown    []byte           // JSON without what is to be redacted, if it differs
	redacted bool             // to be redacted as a whole
}

// A form is one of the two ways to write a node as JSON.
type form int

const (
	plain form = iota // with everything, for comparing
	shown             // with Redacted in place of what is to be redacted
)

// A walker makes nodes of values. It looks at a bounded number of values, so
// that values which lead in circles come to an end.
type walker struct {
	budget int // values that it may still look at
}

// spend reports whether another value may be looked at, and counts it.
func (w *walker) spend() bool {
	w.budget--
	return w.budget >= 0
}

const notLookedAt = "not looked at"

func (w *walker) node(v reflect.Value, depth int) *node {
	for v.IsValid() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) {
		if v.IsNil() {
			return nil
		}
		if !w.spend() {
			return textNode(notLookedAt)
		}
		v = v.Elem()
	}
	if !v.IsValid() {
		return nil
	}
	if !w.spend() || depth > maxDepth {
		return textNode(notLookedAt)
	}

	t := v.Type()
	switch v.Kind() {
	case reflect.Struct:
		if marshals(t) && !hasTags(t) {
			return wholeNode(v)
		}
		n := &node{members: map[string]*node{}}
		w.fields(n, v, depth, false)
		return n

	case reflect.Map:
		switch {
		case v.IsNil():
			return nil
		case marshals(t):
			return wholeNode(v)
		}
		n := &node{members: map[string]*node{}}
		for iter := v.MapRange(); iter.Next() && w.budget > 0; {
			n.members[keyText(iter.Key())] = nullIfAbsent(w.node(iter.Value(), depth+1))
		}
		return n

	case reflect.Slice, reflect.Array:
		isBytes := t.Elem().Kind() == reflect.Uint8 // base64, as encoding/json writes them
		if marshals(t) || isBytes {
			return wholeNode(v)
		}
		return w.list(v, depth)
	}
	return wholeNode(v)
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// marshals reports whether a type writes itself, as a value or by its pointer.
func marshals(t reflect.Type) bool {
	pointer := reflect.PointerTo(t) // has the methods of both
	return pointer.Implements(jsonMarshaler) || pointer.Implements(textMarshaler)
}

// nullIfAbsent tells a member that is null from one that is absent.
func nullIfAbsent(n *node) *node {
	if n == nil {
		return &node{plain: []byte("null")}
	}
	return n
}

func textNode(s string) *node { return &node{plain: quoted(s)} }

func quoted(s string) []byte {
	out, _ := canon.AppendString(nil, strings.ToValidUTF8(s, "\uFFFD")) // valid
	return out
}

// wholeNode returns the node of a value that is compared as a whole.
func wholeNode(v reflect.Value) *node {
	if !v.CanInterface() {
		return nil
	}

	// A type may write itself by its pointer, which a value in a map or an
	// interface does not have.
	if v.CanAddr() {
		v = v.Addr()
	} else if marshals(v.Type()) {
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		v = p
	}
	text, err := marshal(v.Interface())
	if err != nil {
		return textNode("a value of type " + reflect.Indirect(v).Type().String())
	}

	// A number that a leaf cannot hold becomes a string of its digits.
	isNumber := len(text) > 0 && (text[0] == '-' || text[0]-'0' <= 9)
	if isNumber && !fitsLeaf(text) {
		return textNode(string(text))
	}
	return &node{plain: text}
}

// marshal is json.Marshal for values whose methods may panic in some state.
func marshal(v any) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return json.Marshal(v)
}

// fields adds a struct's fields to a node, and those of the structs that are
// embedded in it without a name of their own. A field hides one of its name in
// an embedded struct.
func (w *walker) fields(n *node, v reflect.Value, depth int, redacted bool) {
	var embedded []int
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag := tagOf(f)
		switch {
		case tag.skip:
		case f.Anonymous && !tag.named:
			embedded = append(embedded, i)
		case f.IsExported():
			n.add(tag.name, w.node(v.Field(i), depth+1), redacted || tag.redact)
		}
	}

	for _, i := range embedded {
		f := v.Type().Field(i)
		tag := tagOf(f)
		inner := v.Field(i)
		for inner.Kind() == reflect.Pointer && !inner.IsNil() && w.budget > 0 {
			inner = inner.Elem()
			w.budget--
		}

		// A type that is not a struct is a field of its own name, if that can be
		// read.
		isStruct := inner.Kind() == reflect.Struct && depth < maxDepth && w.budget > 0
		if isStruct {
			w.fields(n, inner, depth+1, redacted || tag.redact)
		} else if f.IsExported() {
			n.add(tag.name, w.node(inner, depth+1), redacted || tag.redact)
		}
	}
}

// add adds a member, unless it is absent or there is one of the name.
func (n *node) add(name string, member *node, redacted bool) {
	_, taken := n.members[name]
	if member == nil || taken {
		return
	}
	member.redacted = member.redacted || redacted
	n.members[name] = member
}

// list returns the node of a slice: by their keys if its elements are structs
// that all have one of their own, and otherwise as a whole.
func (w *walker) list(v reflect.Value, depth int) *node {
	if v.Kind() == reflect.Slice && v.IsNil() {
		return nil
	}

	var elements []*node
	byKey := map[string]*node{}
	for i := range v.Len() {
		if w.budget <= 0 {
			elements = append(elements, textNode(notLookedAt))
			break
		}

		e := w.node(v.Index(i), depth+1)
		elements = append(elements, nullIfAbsent(e))
		key, ok := keyOf(v.Index(i))
		if ok && e != nil {
			byKey[key] = e
		}
	}

	if len(byKey) > 0 && len(byKey) == v.Len() {
		return &node{members: byKey}
	}
	return &node{plain: listJSON(elements, plain), shown: listJSON(elements, shown)}
}

// keyOf returns the text of the field that is tagged as a struct's key, unless
// it is to be redacted.
func keyOf(v reflect.Value) (string, bool) {
	for range maxDepth {
		leads := v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface
		if !leads || v.IsNil() {
			break
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return "", false
	}

	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag := tagOf(f)
		if tag.key && !tag.redact && f.IsExported() {
			return keyText(v.Field(i)), true
		}
	}
	return "", false
}

// keyText returns the text of a map's key, or of the key of a slice's element.
func keyText(v reflect.Value) (text string) {
	defer func() {
		if recover() != nil { // of the key's own method
			text = "a key of type " + v.Type().String()
		}
		text = strings.ToValidUTF8(text, "\uFFFD")
	}()

	m, ok := v.Interface().(encoding.TextMarshaler)
	if ok {
		text, err := m.MarshalText()
		if err == nil {
			return string(text)
		}
	}

	switch v.Kind() {
	case reflect.Struct, reflect.Array, reflect.Pointer, reflect.Interface, reflect.Chan:
		return "a key of type " + v.Type().String()
	}
	return fmt.Sprint(v.Interface())
}

// A fieldTag is what the tags of a struct's field say.
type fieldTag struct {
	name   string
	named  bool // by a tag
	skip   bool
	redact bool
	key    bool
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
		t.name = name
		t.named = true
	}

	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "redact":
			t.redact = true
		case "key":
			t.key = true
		}
	}
	return t
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

func (n *node) isRedacted() bool { return n != nil && n.redacted }

// hides reports whether anything in a node is to be redacted.
func (n *node) hides() bool {
	if n.redacted || n.shown != nil && string(n.shown) != string(n.plain) {
		return true
	}
	for _, member := range n.members {
		if member.hides() {
			return true
		}
	}
	return false
}

// json returns a node as JSON.
func (n *node) json(f form) []byte {
	switch {
	case n.redacted && f == shown:
		return quoted(Redacted)
	case n.members != nil:
		return n.objectJSON(f)
	case n.shown != nil && f == shown:
		return n.shown
	}
	return n.plain
}

func (n *node) objectJSON(f form) []byte {
	out := []byte{'{'}
	for i, name := range n.names(nil) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, quoted(name)...)
		out = append(out, ':')
		out = append(out, n.members[name].json(f)...)
	}
	return append(out, '}')
}

func listJSON(elements []*node, f form) []byte {
	out := []byte{'['}
	for i, e := range elements {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, e.json(f)...)
	}
	return append(out, ']')
}

// names returns the names of the members that one of two nodes has, in order.
// other may be nil.
func (n *node) names(other *node) []string {
	names := slices.Collect(maps.Keys(n.members))
	if other != nil {
		for name := range other.members {
			if n.members[name] == nil {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}
