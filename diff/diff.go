// Package diff tells what became different between two states of a value, as the
// changes of an event.
package diff

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"reflect"
	"unicode/utf8"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/jsonpointer"
)

// Bounds of what Changes returns.
const (
	Max      = 100    // changes, before the rest is summed up in one
	MaxValue = 2_048  // bytes of an old or new value, as JSON, before it is cut
	maxPath  = 512    // bytes of a path before it is cut
	maxBytes = 32_768 // of all changes together
	maxDepth = 32     // values within values
	maxNodes = 20_000 // values in both that are looked at
)

// leafDepth is how deep an old or new value is nested in a leaf.
const leafDepth = 4

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
// tag. What is redacted on one side is on the other. Structs and maps are
// compared member by member, slices of structs with a key element by element
// under the key, and all else as a whole by its JSON; a struct that has audit
// tags is looked into even if it is a json.Marshaler. A value that cannot be
// written as JSON is its type's name.
//
// A value of more than MaxValue bytes becomes the beginning of its JSON
// with its length and SHA-256. Of more than Max changes, or 32 KiB of
// them, the first are kept, and a last one of the operation "truncated" says how
// many there were. Values nested deeper than 32, and those beyond the first
// 20,000, are not looked at.
func Changes(old, new any) []attestlog.Change {
	r := reader{left: maxNodes}
	d := differ{}
	d.diff("", r.value(reflect.ValueOf(old), 0), r.value(reflect.ValueOf(new), 0), false)
	kept, size := 0, 0
	for ; kept < min(len(d.changes), Max); kept++ {
		if size += d.sizes[kept]; size > maxBytes {
			break
		}
	}
	if kept < len(d.changes) {
		rest := map[string]any{"changes": len(d.changes), "kept": kept}
		d.changes = append(d.changes[:kept:kept], attestlog.Change{Op: "truncated", New: rest})
	}
	return d.changes
}

type differ struct {
	changes []attestlog.Change
	sizes   []int // bytes of each, about
}

func (d *differ) diff(path string, old, new *tree, hidden bool) {
	hidden = hidden || old != nil && old.hidden || new != nil && new.hidden
	switch {
	case old == nil && new == nil:
	case old == nil:
		d.add(path, "add", nil, new, hidden)
	case new == nil:
		d.add(path, "remove", old, nil, hidden)
	case old.members != nil && new.members != nil && !hidden:
		for _, name := range old.names(new) {
			d.diff(path+"/"+jsonpointer.Escape(name), old.members[name], new.members[name], hidden)
		}
	default:
		if !bytes.Equal(old.json(false), new.json(false)) {
			// What only one side says is to be redacted may be on the other.
			hidden = hidden || old.hides() != new.hides()
			d.add(path, "replace", old, new, hidden)
		}
	}
}

// hides reports whether anything within is to be redacted.
func (t *tree) hides() bool {
	if t.hidden || t.shown != nil && !bytes.Equal(t.shown, t.raw) {
		return true
	}
	for _, member := range t.members {
		if member.hides() {
			return true
		}
	}
	return false
}

func (d *differ) add(path, op string, old, new *tree, hidden bool) {
	if len(path) > maxPath {
		path = fmt.Sprintf("%s… [cut: %d bytes, SHA-256 %x]", head(path, maxPath/2), len(path), sha256.Sum256([]byte(path)))
	}
	c := attestlog.Change{Path: path, Op: op, Old: old.value(hidden), New: new.value(hidden)}
	size := len(path) + len(op) + 40
	for _, v := range []any{c.Old, c.New} {
		if raw, ok := v.(json.RawMessage); ok {
			size += len(raw)
		} else if s, ok := v.(string); ok {
			size += 2 * len(s) // with its escapes
		}
	}
	d.changes, d.sizes = append(d.changes, c), append(d.sizes, size)
}

// value returns what a Change shows.
func (t *tree) value(hidden bool) any {
	switch {
	case t == nil:
		return nil
	case hidden:
		return Redacted
	}
	text := t.json(true)
	_, err := canon.AppendValue(nil, json.RawMessage(text), "", leafDepth)
	if err == nil && len(text) <= MaxValue {
		return json.RawMessage(text)
	}
	if len(text) <= MaxValue {
		return string(text) // with a number that a leaf cannot hold
	}
	return fmt.Sprintf("%s… [cut: %d bytes, SHA-256 %x]", head(string(text), MaxValue/4), len(text), sha256.Sum256(text))
}

// head returns the beginning of a text, of most bytes at most.
func head(s string, most int) string {
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
