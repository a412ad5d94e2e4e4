package auditpolicy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/diff"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/jsonpointer"
)

// namesField reports whether the rule's field is one that a rule may name.
func (r *rule) namesField() bool {
	switch r.path[0] {
	case "attributes", "changes":
		return len(r.path) > 1
	}
	return new(attestlog.Event).Text(r.Field) != nil
}

// An editor changes an event of its own. The maps and slices in the event are the
// caller's, so the editor copies them before it changes them.
type editor struct {
	filter *Filter
	event  *attestlog.Event

	exempt         [][]string // paths that are not searched for secrets
	ownsAttributes bool       // the attributes were copied
	ownsChanges    bool       // the changes were copied, though not the values in them
	values         int        // that were copied
	hidden         int        // values that were redacted or hashed
	unseen         int        // values that plain redacted, because they cannot be looked at
}

// countHidden counts a value that is redacted or hashed.
func (ed *editor) countHidden() {
	ed.hidden++
	ed.filter.redacted.Add(1)
}

// apply applies a rule on a field.
func (ed *editor) apply(r *rule) {
	if r.Effect == Keep {
		ed.exempt = append(ed.exempt, r.path)
		return
	}

	hide := func(v any) any {
		ed.countHidden()
		if r.Effect == Hash {
			return ed.filter.hash(textOf(v))
		}
		return diff.Redacted
	}
	switch r.path[0] {
	case "attributes":
		ed.copyAttributes()
		replace(ed.event.Attributes, r.path[1:], hide)
	case "changes":
		ed.copyChanges()
		for i := range ed.event.Changes {
			ed.hideInChange(&ed.event.Changes[i], r.path[1:], hide)
		}
	default:
		ed.hideText(ed.event.Text(r.Field), hide)
	}

	// A hash may look like a secret.
	ed.exempt = append(ed.exempt, r.path)
}

func (ed *editor) hideText(field *string, hide func(any) any) {
	switch {
	case *field == "":
	case field == &ed.event.Source.IP: // nothing else than an address is valid here
		ed.countHidden()
		*field = ""
	default:
		*field = hide(*field).(string)
	}
}

// hideInChange hides the values of a change at a path or below it. Of a change
// above the path, it hides what the values have there.
func (ed *editor) hideInChange(c *attestlog.Change, path []string, hide func(any) any) {
	changed := pathOf(c.Path)
	switch {
	case hasPrefix(changed, path):
		for _, v := range []*any{&c.Old, &c.New} {
			if *v != nil {
				*v = hide(*v)
			}
		}

	case hasPrefix(path, changed):
		within := path[len(changed):]
		for _, v := range []*any{&c.Old, &c.New} {
			inner := ed.plain(*v)
			if hasPath(inner, within) {
				replace(inner, within, hide)
				*v = inner
			}
		}
	}
}

// hasField reports whether the event has the field of a rule.
func (ed *editor) hasField(r *rule) bool {
	switch r.path[0] {
	case "attributes":
		ed.copyAttributes() // hasPath reads only plain values
		return hasPath(ed.event.Attributes, r.path[1:])
	case "changes":
		return slices.ContainsFunc(ed.event.Changes, func(c attestlog.Change) bool {
			return hasPrefix(pathOf(c.Path), r.path[1:])
		})
	}
	return *ed.event.Text(r.Field) != ""
}

// redactSecrets redacts what looks like a secret in attributes and changes.
func (ed *editor) redactSecrets() {
	if len(ed.event.Attributes) > 0 {
		ed.copyAttributes()
		for name, v := range ed.event.Attributes {
			ed.event.Attributes[name] = ed.withoutSecrets([]string{"attributes", name}, v)
		}
	}

	if len(ed.event.Changes) > 0 {
		ed.copyChanges()
	}
	for i := range ed.event.Changes {
		c := &ed.event.Changes[i]
		path := append([]string{"changes"}, pathOf(c.Path)...)
		for _, v := range []*any{&c.Old, &c.New} {
			if *v == nil {
				continue
			}
			// Without a secret, the value stays as the caller gave it.
			before := ed.hidden + ed.unseen
			clean := ed.withoutSecrets(path, ed.plain(*v))
			if ed.hidden+ed.unseen > before {
				*v = clean
			}
		}
	}
}

// withoutSecrets returns a plain value of the editor's own without the secrets in
// it. Any name in its path, except the first, may say that it is one.
func (ed *editor) withoutSecrets(path []string, v any) any {
	nothingToHide := v == nil || v == "" || v == diff.Redacted
	if nothingToHide || ed.isExempt(path) {
		return v
	}
	_, isFlag := v.(bool) // such as "password": true
	if !isFlag && slices.ContainsFunc(path[1:], SecretName) {
		ed.countHidden()
		return diff.Redacted
	}

	switch v := v.(type) {
	case string:
		clean, found := Secret(v)
		if found {
			ed.countHidden()
		}
		return clean

	case []any:
		for i := range v {
			v[i] = ed.withoutSecrets(append(slices.Clip(path), strconv.Itoa(i)), v[i])
		}

	case map[string]any:
		for name, member := range v {
			v[name] = ed.withoutSecrets(append(slices.Clip(path), name), member)
		}

	case int, int64, uint64, float64, json.Number:
		text, err := json.Marshal(v)
		if err == nil && isCardName(path[len(path)-1]) && isCard(string(text)) {
			ed.countHidden()
			return diff.Redacted
		}
	}
	return v
}

func (ed *editor) isExempt(path []string) bool {
	return slices.ContainsFunc(ed.exempt, func(exempt []string) bool { return hasPrefix(path, exempt) })
}

// copyAttributes makes the attributes the editor's own: plain values in maps and
// slices that nobody else has.
func (ed *editor) copyAttributes() {
	if ed.ownsAttributes || ed.event.Attributes == nil {
		return
	}

	own := make(map[string]any, len(ed.event.Attributes))
	for name, v := range ed.event.Attributes {
		own[name] = ed.plain(v)
	}
	ed.event.Attributes = own
	ed.ownsAttributes = true
}

func (ed *editor) copyChanges() {
	if !ed.ownsChanges {
		ed.event.Changes = slices.Clone(ed.event.Changes)
		ed.ownsChanges = true
	}
}

// maxValues bounds the values of an event that are looked at. It is more than a
// leaf can hold, and also ends values that contain themselves.
const maxValues = 100_000

// plain returns a copy of a value in maps, slices and scalars, as its JSON has it.
// Values beyond maxValues, and those nested deeper than in a leaf, are redacted,
// because they cannot be looked at.
func (ed *editor) plain(v any) any { return ed.plainWithin(v, 0) }

func (ed *editor) plainWithin(v any, depth int) any {
	ed.values++
	if ed.values > maxValues || depth > attestlog.MaxDepth {
		ed.unseen++
		return diff.Redacted
	}

	switch v := v.(type) {
	case nil, string, bool, json.Number,
		int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64:
		return v

	case map[string]any:
		if v == nil {
			return nil // null, as encoding/json writes it
		}
		out := make(map[string]any, min(len(v), maxValues))
		for name, member := range v {
			out[name] = ed.plainWithin(member, depth+1)
		}
		return out

	case []any:
		out := make([]any, 0, min(len(v), maxValues))
		for _, item := range v {
			out = append(out, ed.plainWithin(item, depth+1))
		}
		return out
	}
	return plainOther(v)
}

// plainOther is plain for a value of a type that JSON does not have.
func plainOther(v any) any {
	text, err := marshal(v)
	if err == nil {
		plain, err := unmarshal(text)
		if err == nil {
			return plain
		}
	}

	// A value that has no JSON becomes what package fit makes of it for the log.
	e := attestlog.Event{Action: "a", Actor: attestlog.Actor{ID: "a"}, Attributes: map[string]any{"v": v}}
	fit.Event(&e)
	if fitted, ok := e.Attributes["v"].(string); ok {
		return fitted
	}
	return diff.Redacted
}

// marshal is json.Marshal for values whose methods may panic, as on a nil
// receiver.
func marshal(v any) (text []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return json.Marshal(v)
}

// unmarshal reads JSON, and keeps all digits of its numbers.
func unmarshal(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// textOf returns the text that is hashed for a value: the value itself if it is a
// text, or else its JSON.
func textOf(v any) string {
	if s, ok := v.(string); ok {
		return s
	}

	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	var s string
	err = json.Unmarshal(text, &s)
	if err == nil {
		return s
	}
	return string(text)
}

// pathOf returns the names in a change's JSON Pointer, which may lack its first
// slash, as in "user/email".
func pathOf(pointer string) []string {
	if pointer == "" || pointer == "/" {
		return nil
	}

	names := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, token := range names {
		names[i] = jsonpointer.Unescape(token)
	}
	return names
}

func hasPrefix(path, prefix []string) bool {
	return len(path) >= len(prefix) && slices.Equal(path[:len(prefix)], prefix)
}

// memberOf returns a member of a plain object or an element of a plain array, and
// how to replace it.
func memberOf(v any, name string) (member any, set func(any), ok bool) {
	switch v := v.(type) {
	case map[string]any:
		member, ok = v[name]
		return member, func(to any) { v[name] = to }, ok
	case []any:
		i, err := strconv.Atoi(name)
		if err == nil && i >= 0 && i < len(v) {
			return v[i], func(to any) { v[i] = to }, true
		}
	}
	return nil, nil, false
}

// hasPath reports whether a plain value has something at a path.
func hasPath(v any, path []string) bool {
	for _, name := range path {
		member, _, ok := memberOf(v, name)
		if !ok {
			return false
		}
		v = member
	}
	return true
}

// replace replaces what a plain value of the editor's own has at a path, if it has
// something there.
func replace(v any, path []string, by func(any) any) {
	for i, name := range path {
		member, set, ok := memberOf(v, name)
		if !ok {
			return
		}
		if i == len(path)-1 {
			set(by(member))
		}
		v = member
	}
}
