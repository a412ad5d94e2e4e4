package fit

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// notes are keyed by JSON Pointers into the event.
//
// While an event is being made, its attribute NotesName holds them as this type,
// which tells them from an attribute of a foreign record that has the same name.
type notes map[string]note

// A note is described in the package comment.
type note struct {
	as     string
	name   string
	was    string
	bytes  int // of the whole value, where it is cut
	items  int // the same for lists and objects
	sha256 string
}

// maxNote bounds the JSON of a cut value's note in bytes, without its pointer.
const maxNote = 128

// cut reports whether the value's rest is lost.
func (n note) cut() bool { return n.bytes > 0 || n.items > 0 || n.name == "cut" }

// has reports whether a word is one of those in the note's "as".
func (n note) has(as string) bool { return slices.Contains(strings.Fields(n.as), as) }

// value returns the note as JSON has it.
func (n note) value() map[string]any {
	m := map[string]any{}
	for name, text := range map[string]string{"as": n.as, "name": n.name, "was": n.was, "sha256": n.sha256} {
		if text != "" {
			m[name] = text
		}
	}
	if n.bytes > 0 {
		m["bytes"] = float64(n.bytes)
	}
	if n.items > 0 {
		m["items"] = float64(n.items)
	}
	return m
}

func (s notes) clone() notes {
	if s == nil {
		return notes{}
	}
	return maps.Clone(s)
}

// add sets the note of a pointer. What an earlier note says about the name stays.
func (s notes) add(pointer string, n note) {
	if n.name == "" {
		n.name = s[pointer].name
	}
	s[pointer] = n
}

func (s notes) addAll(other notes) {
	for pointer, n := range other {
		s.add(pointer, n)
	}
}

func (s notes) value() map[string]any {
	m := make(map[string]any, len(s))
	for pointer, n := range s {
		m[pointer] = n.value()
	}
	return m
}

// MarshalJSON writes the notes of an event that was never given to Event.
func (s notes) MarshalJSON() ([]byte, error) { return json.Marshal(s.value()) }

// size bounds the JSON of the notes in bytes.
func (s notes) size() int {
	size := 0
	for pointer, n := range s {
		size += len(`"":{},`) + jsonLen(pointer)
		for name, v := range n.value() {
			size += jsonLen(name) + len(`"":,`)
			if text, ok := v.(string); ok {
				size += jsonLen(text) + len(`""`)
			} else {
				size += len("9007199254740992")
			}
		}
	}
	return size
}

// parseNotes reads the notes of an event that was read from JSON. What does not
// have the form of a note is read as an empty one.
func parseNotes(v any) notes {
	all, _ := v.(map[string]any)
	out := notes{}
	for pointer, v := range all {
		m, _ := v.(map[string]any)
		var n note
		n.as, _ = m["as"].(string)
		n.name, _ = m["name"].(string)
		n.was, _ = m["was"].(string)
		n.sha256, _ = m["sha256"].(string)

		bytes, _ := m["bytes"].(float64)
		items, _ := m["items"].(float64)
		n.bytes = int(bytes)
		n.items = int(items)

		out[pointer] = n
	}
	return out
}

// jsonLen bounds the length of s in JSON in bytes, without quotes.
func jsonLen(s string) int {
	n := len(s)
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			n++
		case c < 0x20:
			n += len(`\u0000`) - 1
		}
	}
	return n
}
