package fit

import (
	"encoding/json"
	"maps"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
)

// NotesName names the attribute that says what was mapped: an object from RFC
// 6901 pointers into the event to notes. A note's "as" says what the value
// there is, in words with a space between:
//
//	escaped   text with bytes that are not UTF-8, written by Escape
//	number    the digits of a number of magnitude 2^53 or more, or not finite
//	json      the JSON text of a value nested too deep, or of one cut short
//	repeated  the values of a name that the object had more than once
//	empty     a reserved value in the place of none: UnknownAction, UnknownActor
//	reserved  an action of the core's own, behind ForeignPrefix
//	unknown   in /time: the record has none, and 1970 stands for it
//	was       another value was not allowed there; the note's "was" has it
//
// A "name" of escaped, renamed or cut says the same of the member's name. A
// value with "bytes" (or "items") was too long: the event holds its beginning,
// the note its full length and SHA-256. A cut string ends in "~" and the first
// 32 hexadecimal digits of it.
//
//	{"/attributes/uid":{"as":"number"},"/message":{"bytes":91234,"sha256":"…"}}
const NotesName = "attestlog_mapped"

// Values that stand for none, with an "empty" note.
const (
	UnknownAction = "unknown.action"
	UnknownActor  = "unknown.actor"
)

// ForeignPrefix goes before an action that the core reserves for itself.
const ForeignPrefix = "foreign."

// Undated gives an event whose record has no time the start of 1970, and a
// note that says so: a time of the import's would make the second import of
// the record another event. Bound keeps the note.
func Undated(e *attestlog.Event) {
	e.Time = time.Unix(0, 0).UTC()
	e.Attributes = Foreign(e.Attributes)
	set, _ := e.Attributes[NotesName].(notes)
	set = set.clone()
	set.add("/time", note{as: "unknown"})
	e.Attributes[NotesName] = set
}

// Foreign returns a foreign record's members as attributes. A member that has
// the notes' own name is renamed, with a note.
func Foreign(members map[string]any) map[string]any {
	out := maps.Clone(members)
	if out == nil {
		out = map[string]any{}
	}
	v, taken := out[NotesName]
	if _, ours := v.(notes); ours || !taken {
		return out
	}
	name := FreeName(out, NotesName+"_")
	out[name] = v
	out[NotesName] = notes{attributePointer(name): {name: "renamed"}}
	return out
}

// FreeName returns name with as many underscores as it takes.
func FreeName(m map[string]any, name string) string {
	for {
		if _, taken := m[name]; !taken {
			return name
		}
		name += "_"
	}
}

func attributePointer(names ...string) string {
	var b strings.Builder
	b.WriteString("/attributes")
	for _, name := range names {
		b.WriteByte('/')
		b.WriteString(pointerEscapes.Replace(name))
	}
	return b.String()
}

// RFC 6901, Section 3.
var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// notes are keyed by pointer.
type notes map[string]note

type note struct {
	as     string
	name   string
	was    string
	bytes  int // the full length where the value is cut
	items  int // the same for lists
	sha256 string
}

func (s notes) clone() notes {
	if s == nil {
		return notes{}
	}
	return maps.Clone(s)
}

// add keeps what another note of the pointer says about the name.
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

// noteRoom bounds what the note of a cut value takes, without its pointer.
const noteRoom = 128

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

func (s notes) value() map[string]any {
	m := make(map[string]any, len(s))
	for pointer, n := range s {
		m[pointer] = n.value()
	}
	return m
}

// MarshalJSON is for an event that was never given to Bound.
func (s notes) MarshalJSON() ([]byte, error) { return json.Marshal(s.value()) }

// size bounds the notes' JSON in bytes.
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

// parseNotes reads notes from an event that went through JSON.
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
		n.bytes, n.items = int(bytes), int(items)
		out[pointer] = n
	}
	return out
}

// jsonLen bounds the length of s in JSON, without quotes.
func jsonLen(s string) int {
	n := len(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			n++
		case c < 0x20:
			n += 5
		}
	}
	return n
}
