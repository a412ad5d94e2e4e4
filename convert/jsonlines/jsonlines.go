// Package jsonlines reads records in JSON Lines (jsonlines.org): one JSON
// object a line. Each line is one of these, tried in this order:
//
// An entry as a log's follower and export write it. It becomes the event that
// it was, id and time included, with disclosed values in their places; the
// attribute "imported" holds what the old log had added: its index, its
// logged_time, and the pointers of erased fields. A disclosure that does not
// match its seal is refused. A line that holds only a checkpoint is skipped.
//
//	{"index":7,"leaf":{…},"disclosures":{"/source/ip":{…}}}
//
// A native event, as attestlog.ParseEvent reads it. Without an id it gets one
// of convert.IDs; without a time it gets its id's, if that is a UUIDv7.
//
//	{"action":"mail.view","actor":{"id":"alice"}}
//
// Any other object. Names that many programs share find their fields, by the
// tables in this package; what does not stays in the attributes under its own
// name, and the line is the original. The id is one of convert.IDs, so equal
// lines of one source are events of their own.
//
//	{"ts":"2026-01-02T03:04:05Z","event":"login","user":"alice","ip":"192.0.2.7"}
//
// A record without a time has the start of 1970 (convert.Undated): another
// time would be another on the second import.
package jsonlines

import (
	"bytes"
	"errors"
	"io"
	"iter"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/fit"
)

// Format starts the ids of records that have none.
const Format = "jsonl"

// Read is a convert.Reader. Blank lines and a byte order mark are skipped.
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

// event reads one line. The event keeps none of its bytes.
func event(line []byte, ids *convert.IDs) (attestlog.Event, error) {
	if bytes.HasPrefix(line, []byte(`{"index":`)) {
		if e, ok, err := exported(line); ok {
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
	if at, ok := convert.UUIDTime(e.ID); ok && e.Time.IsZero() {
		e.Time = at
	}
	if e.Time.IsZero() {
		fit.Undated(&e)
	}
	fit.Event(&e)
	return e
}
