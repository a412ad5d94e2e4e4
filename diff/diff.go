// Package diff compares two states of a value, and returns what differs as the
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
	Max      = 100    // changes; the rest is summed up in one more
	MaxValue = 2_048  // bytes of an old or new value, as JSON, before it is cut
	maxPath  = 512    // bytes of a path before it is cut
	maxBytes = 32_768 // of all changes together
	maxDepth = 32     // of values in values
	maxNodes = 20_000 // values that are looked at, on both sides together
)

// leafDepth is how deep an old or new value is nested in a leaf.
const leafDepth = 4

// Redacted is shown in a Change in place of a value that must not be shown.
const Redacted = "[redacted]"

// Changes returns what differs between two structs or maps, or pointers to
// them, in the order of their paths. Paths are JSON Pointers (RFC 6901), and the
// operations are add, remove and replace (RFC 6902). A nil is a value that was
// not there, or is no longer.
//
//	type User struct {
//		ID       string
//		Email    string   `json:"email"`
//		Password string   `audit:",redact"` // that it changed is shown, not what it was
//		Cache    string   `audit:"-"`       // not looked at
//		Roles    []Role   `audit:"roles"`   // under this name
//	}
//	type Role struct {
//		Name string `audit:"name,key"` // tells the elements of a slice apart
//		Site string
//	}
//
// A field's name is that in its audit tag, or else in its json tag, or else its
// own. A field with the json tag "-" is not looked at unless it has an audit
// tag. A value that is redacted on one side is redacted on the other.
//
// Structs and maps are compared member by member, and slices of structs with a
// key element by element, under the key. Everything else is compared as a whole,
// by its JSON. A struct that has audit tags is looked into even if it is a
// json.Marshaler. A value that cannot be written as JSON is shown as the name of
// its type.
//
// Of a value of more than MaxValue bytes, the beginning of its JSON is shown,
// with its length and SHA-256. If there are more than Max changes, or 32 KiB of
// them, the first are returned, and one of the operation "truncated" that says
// how many there were. Values nested deeper than 32, and those after the first
// 20,000, are not looked at.
func Changes(old, new any) []attestlog.Change {
	w := walker{budget: maxNodes}
	before := w.node(reflect.ValueOf(old), 0)
	after := w.node(reflect.ValueOf(new), 0)

	var d differ
	d.diff("", before, after, false)
	if d.full {
		rest := map[string]any{"changes": d.found, "kept": len(d.changes)}
		return append(d.changes, attestlog.Change{Op: "truncated", New: rest})
	}
	return d.changes
}

// A differ gathers changes.
type differ struct {
	changes []attestlog.Change
	size    int  // of changes in bytes, about
	found   int  // changes, and those that were left out
	full    bool // one was left out, and all after it are
}

// diff adds what differs between two nodes. redacted says that something around
// them is to be redacted as a whole.
func (d *differ) diff(path string, old, new *node, redacted bool) {
	if old == nil && new == nil {
		return
	}

	redacted = redacted || old.isRedacted() || new.isRedacted()
	switch {
	case old == nil:
		d.add(path, "add", nil, new, redacted)

	case new == nil:
		d.add(path, "remove", old, nil, redacted)

	case old.members != nil && new.members != nil && !redacted:
		for _, name := range old.names(new) {
			d.diff(path+"/"+jsonpointer.Escape(name), old.members[name], new.members[name], false)
		}

	case !bytes.Equal(old.json(plain), new.json(plain)):
		// What is to be redacted on one side only is likely to be on the other
		// too, where nothing says so.
		redacted = redacted || old.hides() != new.hides()
		d.add(path, "replace", old, new, redacted)
	}
}

func (d *differ) add(path, op string, old, new *node, redacted bool) {
	d.found++
	d.full = d.full || len(d.changes) == Max
	if d.full {
		return
	}

	if len(path) > maxPath {
		path = cut(path, maxPath/2)
	}
	c := attestlog.Change{Path: path, Op: op, Old: old.value(redacted), New: new.value(redacted)}

	d.size += sizeOf(&c)
	if d.size > maxBytes {
		d.full = true
		return
	}
	d.changes = append(d.changes, c)
}

// sizeOf returns about how many bytes a change takes in a leaf.
func sizeOf(c *attestlog.Change) int {
	const names = 40 // "path", "op", "old" and "new", with what is around them
	size := len(c.Path) + len(c.Op) + names
	for _, v := range []any{c.Old, c.New} {
		switch v := v.(type) {
		case json.RawMessage:
			size += len(v)
		case string:
			size += 2 * len(v) // with its escapes
		}
	}
	return size
}

// value returns what a Change shows of a node.
func (n *node) value(redacted bool) any {
	if n == nil {
		return nil
	}
	if redacted {
		return Redacted
	}

	text := n.json(shown)
	if len(text) > MaxValue {
		return cut(string(text), MaxValue/4)
	}
	if !fitsLeaf(text) {
		return string(text) // it has a number that a leaf cannot hold
	}
	return json.RawMessage(text)
}

// fitsLeaf reports whether a leaf can hold a value.
func fitsLeaf(text []byte) bool {
	_, err := canon.AppendValue(nil, json.RawMessage(text), "", leafDepth)
	return err == nil
}

// cut returns the beginning of a text, of at most most bytes, and what tells the
// whole text from others.
func cut(text string, most int) string {
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return fmt.Sprintf("%s… [cut: %d bytes, SHA-256 %x]", text[:most], len(text), sha256.Sum256([]byte(text)))
}
