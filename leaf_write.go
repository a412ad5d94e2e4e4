package attestlog

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/field"
)

// A leafWriter writes an event as RFC 8785 JSON. Names are written in their
// order by hand; the tests compare with a general canonicalizer, and hold the
// writer to the table of fields.
type leafWriter struct {
	buf       []byte
	seals     *sealSet // what to leave out; nil: nothing but the original
	sealed    []Seal
	id        []byte // the id where the event has none
	loggedPos int    // where the logged time begins in buf
	sealsPos  int    // where the sealed object's first name begins
	plain     bool   // an event as a caller writes it: nothing of the log's, the original in clear
	err       error
}

// MarshalJSON writes e canonically (RFC 8785), with every field in clear.
func (e Event) MarshalJSON() ([]byte, error) {
	w := leafWriter{plain: true}
	w.leaf(&e, "")
	return w.buf, w.err
}

func (w *leafWriter) comma() {
	if w.buf[len(w.buf)-1] != '{' {
		w.buf = append(w.buf, ',')
	}
}

// raw writes a member whose value needs no escapes. name is quoted, with its
// colon and the value's quote.
func (w *leafWriter) raw(name string, value []byte) {
	w.comma()
	w.buf = append(w.buf, name...)
	w.buf = append(w.buf, value...)
	w.buf = append(w.buf, '"')
}

// text writes a member unless its value is empty or sealed. name is quoted, with
// its colon.
func (w *leafWriter) text(id field.ID, name, value string) {
	if value == "" || w.seals != nil && w.seals.fields.Has(id) {
		return
	}

	w.comma()
	w.buf = append(w.buf, name...)
	var ok bool
	w.buf, ok = canon.AppendString(w.buf, value)
	if !ok && w.err == nil {
		w.err = &FieldError{Field: id.Field().Path(), Rule: "not valid UTF-8"}
	}
}

func (w *leafWriter) number(name string, n int64) {
	if n == 0 {
		return
	}
	w.comma()
	w.buf = append(w.buf, name...)
	w.buf = strconv.AppendInt(w.buf, n, 10)
}

// instant writes a time as a member.
func (w *leafWriter) instant(name string, t time.Time) {
	if t.IsZero() {
		return
	}
	w.comma()
	w.buf = append(w.buf, name...)
	w.buf = append(w.buf, '"')
	w.buf = canon.AppendTime(w.buf, t, timeDigits)
	w.buf = append(w.buf, '"')
}

// open begins an object as a member, and returns where. closed removes it again
// if it stayed empty.
func (w *leafWriter) open(name string) int {
	start := len(w.buf)
	w.comma()
	w.buf = append(w.buf, name...)
	w.buf = append(w.buf, '{')
	return start
}

func (w *leafWriter) closed(start int) {
	if w.buf[len(w.buf)-1] == '{' {
		w.buf = w.buf[:start]
		return
	}
	w.buf = append(w.buf, '}')
}

// leaf writes the event, in the order of the members' names.
func (w *leafWriter) leaf(e *Event, logged string) {
	w.buf = append(w.buf, '{')

	w.text(field.Action, `"action":`, e.Action)
	w.actor(&e.Actor)
	w.attributes(e.Attributes)
	w.changes(e.Changes)

	// An id that the log made is not in the event, and needs no escapes.
	if w.id != nil {
		w.raw(`"id":"`, w.id)
	} else {
		w.text(field.EventID, `"id":`, e.ID)
	}

	if !w.plain {
		w.comma()
		w.buf = append(w.buf, `"logged_time":"`...)
		w.loggedPos = len(w.buf)
		w.buf = append(w.buf, logged...)
		w.buf = append(w.buf, '"')
	}

	w.text(field.Message, `"message":`, e.Message)
	w.text(field.Module, `"module":`, e.Module)
	w.text(field.Operation, `"operation":`, e.Operation)
	if w.plain && len(e.Original) > 0 {
		w.text(field.Original, `"original":`, originalText(e.Original))
	}
	w.text(field.Outcome, `"outcome":`, string(e.Outcome))
	w.text(field.Reason, `"reason":`, e.Reason)
	w.request(&e.Request)
	w.sealedObject()
	w.text(field.Service, `"service":`, e.Service)
	w.source(&e.Source)
	w.targets(e.Targets)
	w.text(field.Tenant, `"tenant":`, e.Tenant)
	w.instant(`"time":`, e.Time)
	w.trace(&e.Trace)
	if !w.plain {
		w.buf = append(w.buf, `,"v":1`...)
	}

	w.buf = append(w.buf, '}')
}

func (w *leafWriter) actor(a *Actor) {
	start := w.open(`"actor":`)
	w.text(field.ActorID, `"id":`, a.ID)
	w.text(field.ActorName, `"name":`, a.Name)
	w.text(field.ActorOnBehalfOf, `"on_behalf_of":`, a.OnBehalfOf)
	w.text(field.ActorSession, `"session":`, a.Session)
	w.text(field.ActorType, `"type":`, a.Type)
	w.closed(start)
}

func (w *leafWriter) source(s *Source) {
	start := w.open(`"source":`)
	w.text(field.SourceHost, `"host":`, s.Host)
	w.text(field.SourceIP, `"ip":`, s.IP)
	w.text(field.SourceUserAgent, `"user_agent":`, s.UserAgent)
	w.closed(start)
}

func (w *leafWriter) request(r *Request) {
	start := w.open(`"request":`)
	w.number(`"duration_us":`, r.DurationUS)
	w.text(field.RequestID, `"id":`, r.ID)
	w.text(field.RequestMethod, `"method":`, r.Method)
	w.text(field.RequestPath, `"path":`, r.Path)
	w.text(field.RequestRoute, `"route":`, r.Route)
	w.number(`"status":`, int64(r.Status))
	w.closed(start)
}

func (w *leafWriter) trace(t *Trace) {
	start := w.open(`"trace":`)
	w.text(field.TraceSpan, `"span_id":`, t.SpanID)
	w.text(field.TraceID, `"trace_id":`, t.TraceID)
	w.closed(start)
}

// targets writes the targets that are not empty.
func (w *leafWriter) targets(targets []Target) {
	start := len(w.buf)
	for i := range targets {
		t := &targets[i]
		if *t == (Target{}) {
			continue
		}

		if len(w.buf) == start {
			w.comma()
			w.buf = append(w.buf, `"targets":[{`...)
		} else {
			w.buf = append(w.buf, `,{`...)
		}
		w.text(field.TargetID, `"id":`, t.ID)
		w.text(field.TargetName, `"name":`, t.Name)
		w.text(field.TargetType, `"type":`, t.Type)
		w.buf = append(w.buf, '}')
	}

	if len(w.buf) > start {
		w.buf = append(w.buf, ']')
	}
}

// How deep containers are in a leaf: the attributes object itself, and the old
// and new values of changes.
const (
	attributesDepth = 2
	changeDepth     = 4
)

func (w *leafWriter) changes(changes []Change) {
	if len(changes) == 0 {
		return
	}

	w.comma()
	w.buf = append(w.buf, `"changes":[{`...)
	for i := range changes {
		c := &changes[i]
		if i > 0 {
			w.buf = append(w.buf, `,{`...)
		}
		w.value(field.ChangeNew, `"new":`, c.New, changeDepth)
		w.value(field.ChangeOld, `"old":`, c.Old, changeDepth)
		w.text(field.ChangeOp, `"op":`, c.Op)
		w.text(field.ChangePath, `"path":`, c.Path)
		w.buf = append(w.buf, '}')
	}
	w.buf = append(w.buf, ']')
}

// value writes a member of any JSON value; nil is an absent one.
func (w *leafWriter) value(id field.ID, name string, v any, depth int) {
	if v == nil || w.err != nil {
		return
	}

	w.comma()
	w.buf = append(w.buf, name...)
	var err error
	w.buf, err = canon.AppendValue(w.buf, v, id.Field().Path(), depth)
	if err != nil {
		w.err = fieldError(err)
	}
}

func (w *leafWriter) attributes(m map[string]any) {
	var sealed map[string]bool
	if w.seals != nil {
		sealed = w.seals.attributes
	}
	if w.err != nil || !hasOther(m, sealed) {
		return
	}

	w.comma()
	w.buf = append(w.buf, `"attributes":`...)
	var err error
	w.buf, err = canon.AppendObject(w.buf, m, sealed, "attributes", attributesDepth)
	if err != nil {
		w.err = fieldError(err)
	}
}

// hasOther reports whether m has a name that is not in names.
func hasOther(m map[string]any, names map[string]bool) bool {
	if len(names) == 0 {
		return len(m) > 0
	}
	for name := range m {
		if !names[name] {
			return true
		}
	}
	return false
}

func (w *leafWriter) sealedObject() {
	if len(w.sealed) == 0 {
		return
	}

	start := w.open(`"sealed":`)
	w.sealsPos = len(w.buf)
	for i := range w.sealed {
		w.comma()
		w.seal(&w.sealed[i])
	}
	w.closed(start)
}

// zeroDigest is a digest that putDigest has yet to write.
const zeroDigest = `"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`

// seal writes a member of the sealed object.
func (w *leafWriter) seal(s *Seal) {
	start := len(w.buf)
	if strings.HasPrefix(s.Pointer, attributesPointer) {
		w.buf, _ = canon.AppendString(w.buf, s.Pointer) // checked when it was configured or read
	} else {
		// A declared field's pointer has nothing to escape.
		w.buf = append(w.buf, '"')
		w.buf = append(w.buf, s.Pointer...)
		w.buf = append(w.buf, '"')
	}

	w.buf = append(w.buf, ':')
	w.buf = append(w.buf, zeroDigest...)
	if s.Digest != [32]byte{} {
		putDigest(w.buf, start, &s.Digest)
	}
}

// putDigest writes a digest into the seal that begins at pos of a leaf, and
// returns where the next one begins.
func putDigest(leaf []byte, pos int, digest *[32]byte) int {
	s := canon.Scanner{Data: leaf, Pos: pos, Trusted: true}
	s.Text() // the pointer

	start := s.Pos + len(`:"`)
	end := start + base64.StdEncoding.EncodedLen(len(digest))
	base64.StdEncoding.Encode(leaf[start:end:end], digest[:])
	return end + len(`",`)
}
