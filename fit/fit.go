// Package fit fits any event into the rules of a log, and maps it back.
//
// A log refuses what has no place in a leaf: invalid UTF-8, a number of
// magnitude 2^53 or more, an event without an actor. Middleware and the readers
// of foreign records must not lose an event for its content. They call Record
// or Event, which maps such an event to one that the log accepts. Restore maps
// it back.
//
// # Notes
//
// What Event changes, it notes in the attribute NotesName: an object from JSON
// Pointers (RFC 6901) into the event to notes.
//
//	{"/attributes/uid":{"as":"number"},"/message":{"bytes":91234,"sha256":"…"}}
//
// A note's "as" says what the value there is, in one or more of these words,
// with a space between them:
//
//	escaped   text that Escape wrote, because it had bytes that are not UTF-8
//	number    the digits of a number that is not finite or of magnitude 2^53 or more
//	json      the JSON text of a value that is nested too deep or was cut
//	repeated  the values of a name that the object had more than once
//	empty     a reserved value, UnknownAction or UnknownActor, in place of an empty one
//	reserved  an action that the log reserves for itself, after ForeignPrefix
//	unknown   1970, in /time, because the record has no time
//	was       nothing or a default; the value was not allowed, and the note's "was" has it
//
// A note's "name" says the same of the member's name: escaped, renamed or cut.
//
// A note with "bytes" (or "items") is that of a value that was too long. The
// event holds its beginning, the note its full length and SHA-256. A string that
// was cut ends in "~" and the first 32 hexadecimal digits of its SHA-256.
package fit

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/jsonpointer"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// NotesName is the name of the attribute that holds the notes.
const NotesName = "attestlog_mapped"

// Reserved values, in place of an empty action and an empty actor id.
const (
	UnknownAction = "unknown.action"
	UnknownActor  = "unknown.actor"
)

// ForeignPrefix goes before an action that the log reserves for itself.
const ForeignPrefix = "foreign."

// Event maps an event that a log would refuse to one that it accepts, and
// leaves any other event as it is. What it changes, it notes:
//
//   - bytes that are not UTF-8 are escaped by Escape;
//   - numbers of magnitude 2^53 or more, and those that are not finite, become
//     strings of their digits;
//   - values that are nested too deep, values that encoding/json cannot marshal,
//     and invalid json.RawMessage become strings;
//   - an empty action or actor id becomes UnknownAction or UnknownActor;
//   - an action that the log reserves gets ForeignPrefix;
//   - an outcome, actor type or number that is not allowed moves to the note,
//     and an IP address that is not one moves to the host, or to the note if
//     there is a host;
//   - a time outside the years 1678 to 2261 becomes the start of 1970 and moves
//     to the note, and a missing one that the id needs becomes the start of 1970.
//
// What is too long is cut: an id over 128 bytes, an action over 255, an original
// over 1 MiB and, in an event that would not fit a leaf, first the longest
// strings and containers, last the attributes that come last by name. Only
// values that were cut cannot be mapped back; if there is an original, it has
// them.
//
// Event does not change the maps and slices that the event came with.
func Event(e *attestlog.Event) {
	for i, limit := range limits {
		a := attempt{event: *e, limit: limit, last: i == len(limits)-1, notes: notes{}}
		a.run()
		if a.last || a.fits() {
			*e = a.event
			return
		}
	}
}

// Restore undoes what the notes of an event say, and removes those notes.
// Numbers come back as json.Number, values that were nested too deep as
// json.RawMessage, those of repeated names as loosejson.Repeated. What was cut
// stays as it is, with its note.
//
// Restore does not change the maps and slices that the event came with.
func Restore(e attestlog.Event) attestlog.Event {
	r := restorer{parseNotes(e.Attributes[NotesName])}
	r.declared(&e)
	r.targets(&e)
	r.changes(&e)
	r.attributes(&e)
	return e
}

// Record records an event, as Event fits it if the log refuses it for its
// content.
func Record(ctx context.Context, r attestlog.Recorder, e attestlog.Event) error {
	err := r.Record(ctx, e)
	if err == nil {
		return nil
	}

	var field *attestlog.FieldError
	if errors.As(err, &field) || errors.Is(err, attestlog.ErrTooLarge) {
		fitted := e // a copy, so that only events that are refused go to the heap
		Event(&fitted)
		err = r.Record(ctx, fitted)
	}

	return err
}

// epoch is the time of events whose own time is unknown or not allowed.
var epoch = time.Unix(0, 0).UTC()

// Undated gives an event whose record has no time the start of 1970, and a note
// that says so. With the time of the import, importing the record again would
// add another event.
//
// The note is Event's to write out: call Event afterwards.
func Undated(e *attestlog.Event) {
	e.Time = epoch
	e.Attributes = Foreign(e.Attributes)

	set, _ := e.Attributes[NotesName].(notes)
	set = set.clone()
	set.add("/time", note{as: "unknown"})
	e.Attributes[NotesName] = set
}

// Foreign returns a foreign record's members as attributes: a copy of the map. A
// member that has the notes' own name is renamed, with a note.
//
// The note is Event's to write out: call Event afterwards.
func Foreign(members map[string]any) map[string]any {
	out := maps.Clone(members)
	if out == nil {
		out = map[string]any{}
	}

	v, taken := out[NotesName]
	if _, ours := v.(notes); ours || !taken {
		return out
	}

	name := loosejson.Put(out, NotesName+"_", v)
	out[NotesName] = notes{jsonpointer.Join("attributes", name): {name: "renamed"}}
	return out
}
