// Package jsonlines reads JSON Lines as events: entries of a log, events of
// this log's own schema, and records of any other program.
//
// The format is that of jsonlines.org: one JSON object a line. Blank lines and
// a byte order mark are skipped.
//
//	{"index":7,"leaf":{…},"disclosures":{"/source/ip":{…}}}
//	{"action":"mail.view","actor":{"id":"alice"}}
//	{"ts":"2026-01-02T03:04:05Z","event":"login","user":"alice","ip":"192.0.2.7"}
//
// # Reading
//
// A line is one of these, tried in this order.
//
// An entry, as a log's follower and export write it (docs/format.md). It
// becomes the event that it was, id and time included, with disclosed values in
// their places. attributes.imported holds what the old log had added: its
// index, its logged_time, and the pointers of erased fields. A disclosure that
// does not match its seal is refused. A line that holds only a checkpoint is
// skipped.
//
// A native event, as attestlog.ParseEvent reads it. If it has no time, it gets
// that of its id, if the id is a UUIDv7.
//
// Any other object. It becomes an event as follows.
//
//	all fields  members with names that many programs share, by convert.Named
//
// Everything else stays in the attributes under its own name. The line's exact
// bytes are the original.
//
// A record without a time has the start of 1970 (fit.Undated): another time
// would be another one on the second import.
//
// # Ids
//
// Ids of native events without one, and of other objects, are those of
// convert.IDs with the source, so equal lines of one source are events of their
// own.
package jsonlines

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/fit"
)

// Format starts the ids of records that have none.
const Format = "jsonl"

// Read is a convert.Reader of lines.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewIDs(Format, source)
	return convert.ByLine(r, source, func(line []byte) (attestlog.Event, bool, error) {
		if isCheckpoint(line) {
			return attestlog.Event{}, true, nil
		}
		e, err := event(line, ids)
		return e, false, err
	})
}

// event maps one line. The event keeps nothing of it.
func event(line []byte, ids *convert.IDs) (attestlog.Event, error) {
	if bytes.HasPrefix(line, []byte(`{"index":`)) {
		if e, ok, err := entry(line); ok {
			return e, err
		}
	}
	if e, err := attestlog.ParseEvent(line); err == nil {
		return native(e, line, ids), nil
	}

	o, err := convert.DecodeObject(line)
	if err != nil {
		return attestlog.Event{}, err
	}

	// Read as another program's record it would become an event about an entry, with
	// disclosures that were never compared with their seals.
	if o.Object("leaf") != nil && o.Text("index") != "" {
		return attestlog.Event{}, errors.New("an entry that is not written as docs/format.md says")
	}

	e := attestlog.Event{ID: ids.Next(line), Original: bytes.Clone(line)}
	convert.Named(&e, o)
	convert.Finish(&e)
	return e, nil
}

// native completes a native event so that importing it again adds nothing.
func native(e attestlog.Event, line []byte, ids *convert.IDs) attestlog.Event {
	if e.ID == "" {
		e.ID = ids.Next(line)
	}
	if t, ok := convert.UUIDTime(e.ID); ok && e.Time.IsZero() {
		e.Time = t
	}
	if e.Time.IsZero() {
		fit.Undated(&e)
	}
	fit.Event(&e)
	return e
}

// isCheckpoint reports whether a line holds a signed checkpoint and nothing
// else.
func isCheckpoint(line []byte) bool {
	if !bytes.HasPrefix(line, []byte(`{"checkpoint":`)) {
		return false
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil || len(members) != 1 {
		return false
	}
	var note string
	if err := json.Unmarshal(members["checkpoint"], &note); err != nil {
		return false
	}
	_, err := attestlog.ParseCheckpoint([]byte(note))
	return err == nil
}
