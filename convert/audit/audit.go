// Package audit reads the audit log that many Go services keep in PostgreSQL, and
// the JSON Lines file that they write next to it:
//
//	audit_log(id BIGSERIAL, timestamp TIMESTAMPTZ, event_type VARCHAR(50),
//	          username VARCHAR(255), ip_address VARCHAR(45), query TEXT,
//	          mail_id VARCHAR(255), success BOOLEAN, detail TEXT)
//
//	{"timestamp":"2026-03-01T10:00:00Z","event_type":"login","username":"alice",
//	 "ip_address":"192.0.2.7","success":true,"detail":"second factor"}
//
// A record becomes an event as follows:
//
//	timestamp   time
//	event_type  action
//	username    actor.id
//	ip_address  source.ip, or source.host if it is not an IP address
//	query       attributes.query
//	mail_id     target mail/…
//	success     outcome
//	detail      message
//	id          attributes.audit.id, of a row
//
// Columns that are NULL are named in attributes.audit.null. A record that cannot
// be restored from these fields to the letter, such as one with an IP address
// that is not in its usual form, is also the event's original. RecordOf maps
// back: it returns the same record that became the event.
//
// Ids of rows, which have an id of their own, are those of convert.ID without a
// source; those of lines are those of convert.IDs with the file's name. The table and the
// file hold the same records: import only one of them.
package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/fit"
)

// Format starts the ids of events.
const Format = "audit"

// Attribute is the name of the attribute that holds what has no field.
const Attribute = "audit"

// A Record is a row of the table, or a line of the file, which has no ID. Nil is
// NULL, or absent.
type Record struct {
	ID        int64      `json:"id,omitempty"`
	Timestamp *time.Time `json:"timestamp"`
	EventType *string    `json:"event_type"`
	Username  *string    `json:"username"`
	IPAddress *string    `json:"ip_address"`
	Query     *string    `json:"query,omitempty"`
	MailID    *string    `json:"mail_id,omitempty"`
	Success   *bool      `json:"success"`
	Detail    *string    `json:"detail,omitempty"`
	// Far is a timestamp that RFC 3339 cannot write: "infinity", "-infinity", or
	// microseconds since 1970. Timestamp is nil then.
	Far string `json:"far,omitempty"`
	// Escaped is set in the original of an event if fit.Escape wrote the record's
	// texts, because one of them was not UTF-8.
	Escaped bool `json:"escaped,omitempty"`
}

// Event returns the record's event, without an id.
func (r *Record) Event() attestlog.Event {
	e := r.inFields()

	// The record is kept as a whole if it does not come back out of the fields.
	fitted := e
	fit.Event(&fitted)
	back, err := fromFields(fit.Restore(fitted))
	if err != nil || !back.equal(r) {
		e.Original, _ = json.Marshal(r.escaped()) // strings, numbers and times
	}
	return e
}

// RecordOf returns the record that an event was made of. It fails for an event
// that was not made of one.
func RecordOf(e attestlog.Event) (Record, error) {
	if len(e.Original) > 0 {
		if r, _, err := parse(e.Original); err == nil {
			if r.Escaped {
				r.mapTexts(fit.Unescape)
				r.Escaped = false
			}
			return r, nil
		}
	}
	return fromFields(fit.Restore(e))
}

// foreignIDs is added to an entry's index to make the id of a record that has none. A
// larger number would not be exact in JavaScript.
const foreignIDs = 1 << 52

// Of returns the record that an entry is shown as: the one that it was made of, or,
// for an entry of another program, what its fields say. It always has an ID.
func Of(e *attestlog.Entry) Record {
	r, err := RecordOf(e.Event)
	if err != nil {
		success := e.Outcome == attestlog.Success
		r = Record{EventType: &e.Action, Username: &e.Actor.ID, Success: &success, Detail: &e.Message}
		r.IPAddress, r.Query, r.MailID = new(string), new(string), new(string)
		r.SetTime(e.Time)
	}
	if r.ID == 0 {
		r.ID = foreignIDs + int64(e.Index)
	}
	return r
}

// escaped returns the record with texts that JSON can hold.
func (r *Record) escaped() Record {
	out := *r
	for _, f := range out.texts() {
		if *f != nil && !utf8.ValidString(**f) {
			out.Escaped = true
		}
	}
	if out.Escaped {
		out.mapTexts(fit.Escape)
	}
	return out
}

// mapTexts replaces the record's texts by others. The texts that it was given do
// not change.
func (r *Record) mapTexts(fn func(string) string) {
	for _, f := range r.texts() {
		if *f != nil {
			text := fn(**f)
			*f = &text
		}
	}
}

func (r *Record) texts() []**string {
	return []**string{&r.EventType, &r.Username, &r.IPAddress, &r.Query, &r.MailID, &r.Detail}
}

// inFields returns an event whose fields hold the record.
func (r *Record) inFields() attestlog.Event {
	var e attestlog.Event

	// A field holds NULL and an empty text alike, so the columns with NULL are named.
	var null []any
	text := func(name string, v *string) string {
		if v == nil {
			null = append(null, name)
			return ""
		}
		return *v
	}

	if r.Timestamp != nil {
		e.Time = r.Timestamp.UTC()
	} else {
		null = append(null, "timestamp") // also if it is Far, which is in the original
	}
	e.Action = text("event_type", r.EventType)
	e.Actor.ID = text("username", r.Username)
	e.Source.IP = text("ip_address", r.IPAddress)
	e.Message = text("detail", r.Detail)
	if id := text("mail_id", r.MailID); id != "" {
		e.Targets = []attestlog.Target{{Type: "mail", ID: id}}
	}

	e.Attributes = map[string]any{}
	if q := text("query", r.Query); q != "" {
		e.Attributes["query"] = q
	}

	switch {
	case r.Success == nil:
		null = append(null, "success")
		e.Outcome = attestlog.Unknown
	case *r.Success:
		e.Outcome = attestlog.Success
	default:
		e.Outcome = attestlog.Failure
	}

	own := map[string]any{}
	if r.ID != 0 {
		own["id"] = r.ID
	}
	if len(null) > 0 {
		own["null"] = null
	}
	e.Attributes[Attribute] = own

	if e.Time.IsZero() {
		fit.Undated(&e)
	}
	return e
}

// fromFields undoes inFields.
func fromFields(e attestlog.Event) (Record, error) {
	own, ok := e.Attributes[Attribute].(map[string]any)
	if !ok {
		return Record{}, errors.New("audit: the event was not made of a record")
	}

	null, _ := own["null"].([]any)
	text := func(name, v string) *string {
		if v == "" && slices.Contains(null, any(name)) {
			return nil
		}
		return &v
	}

	var mail string
	if len(e.Targets) == 1 {
		mail = e.Targets[0].ID
	}
	query, _ := e.Attributes["query"].(string)
	r := Record{
		EventType: text("event_type", e.Action),
		Username:  text("username", e.Actor.ID),
		IPAddress: text("ip_address", e.Source.IP),
		Query:     text("query", query),
		MailID:    text("mail_id", mail),
		Detail:    text("detail", e.Message),
	}
	if e.Outcome != attestlog.Unknown {
		success := e.Outcome == attestlog.Success
		r.Success = &success
	}
	if !slices.Contains(null, any("timestamp")) {
		t := e.Time
		r.Timestamp = &t
	}

	switch id := own["id"].(type) {
	case int64:
		r.ID = id
	case float64: // an entry is read back with float64 numbers
		r.ID = int64(id)
	case json.Number: // a large one, which fit.Restore restored
		r.ID, _ = id.Int64()
	}
	return r, nil
}

func (r *Record) equal(o *Record) bool {
	others := o.texts()
	for i, text := range r.texts() {
		if !equal(*text, *others[i]) {
			return false
		}
	}

	sameTime := r.Timestamp == o.Timestamp
	if r.Timestamp != nil && o.Timestamp != nil {
		sameTime = r.Timestamp.Equal(*o.Timestamp)
	}
	return sameTime && r.ID == o.ID && r.Far == o.Far && equal(r.Success, o.Success)
}

// equal reports whether both are nil, or both point to equal values.
func equal[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// parse reads a line. whole is whether the record's Line is that line.
func parse(line []byte) (r Record, whole bool, err error) {
	if err := json.Unmarshal(line, &r); err != nil {
		return r, false, err
	}
	return r, bytes.Equal(r.Line(), line), nil
}

// Line returns the record as the file has it, without the line's end: members in
// their order, and query, mail_id and detail only if they are not empty.
func (r *Record) Line() []byte {
	out := *r
	for _, f := range []**string{&out.Query, &out.MailID, &out.Detail} {
		if *f != nil && **f == "" {
			*f = nil
		}
	}

	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.Encode(out) // strings, numbers and times
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// LineOf returns the line of the file that an event was made of. It fails for an
// event that was not made of one.
func LineOf(e attestlog.Event) ([]byte, error) {
	if len(e.Original) > 0 {
		return e.Original, nil
	}
	r, err := RecordOf(e)
	return r.Line(), err
}

// Read is a convert.Reader of the file. A line that is not as Line writes it is
// also kept as the event's original.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	ids := convert.NewIDs(Format, source)
	return convert.ByLine(r, source, func(line []byte) (attestlog.Event, bool, error) {
		e, err := lineEvent(line, ids)
		return e, false, err
	})
}

func lineEvent(line []byte, ids *convert.IDs) (attestlog.Event, error) {
	r, whole, err := parse(line)
	if err != nil {
		return attestlog.Event{}, err
	}

	e := r.Event()
	if !whole || len(e.Original) > 0 {
		e.Original = bytes.Clone(line)
	}
	e.ID = ids.Next(line)
	fit.Event(&e)
	return e, nil
}
