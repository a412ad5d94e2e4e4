package attestlog

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A leafWriter writes an event as RFC 8785 JSON. Names are written in their
// order by hand; the tests compare with a general canonicalizer.
type leafWriter struct {
	buf      []byte
	seals    *sealSet // what to leave out
	sealed   []Seal
	id       []byte // the id where the event has none
	loggedAt int    // where the logged time begins in buf
	sealedAt int    // where the sealed object's first name begins
	plain    bool   // an event as a caller writes it: no log's fields, originals in clear
	err      error
}

func (w *leafWriter) comma() {
	if w.buf[len(w.buf)-1] != '{' {
		w.buf = append(w.buf, ',')
	}
}

// text writes a member unless its value is empty. name is quoted, with its
// colon; field is the dotted name for errors.
func (w *leafWriter) text(name, value, field string) {
	if value == "" {
		return
	}
	w.comma()
	w.buf = append(w.buf, name...)
	var ok bool
	if w.buf, ok = appendString(w.buf, value); !ok && w.err == nil {
		w.err = &FieldError{Field: field, Rule: "not valid UTF-8"}
	}
}

func (w *leafWriter) number(name string, n int64) {
	if n != 0 {
		w.comma()
		w.buf = append(w.buf, name...)
		w.buf = strconv.AppendInt(w.buf, n, 10)
	}
}

// open begins an object member; closed removes it again if it stayed empty.
func (w *leafWriter) open(name string) int {
	at := len(w.buf)
	w.comma()
	w.buf = append(w.buf, name...)
	w.buf = append(w.buf, '{')
	return at
}

func (w *leafWriter) closed(at int) {
	if w.buf[len(w.buf)-1] == '{' {
		w.buf = w.buf[:at]
		return
	}
	w.buf = append(w.buf, '}')
}

func (w *leafWriter) leaf(e *Event, logged string) {
	w.buf = append(w.buf, '{')
	w.text(`"action":`, e.Action, "action")
	w.actor(&e.Actor)
	w.attributes(e.Attributes)
	w.changes(e.Changes)
	if w.id != nil {
		w.comma()
		w.buf = append(w.buf, `"id":"`...)
		w.buf = append(w.buf, w.id...)
		w.buf = append(w.buf, '"')
	} else {
		w.text(`"id":`, e.ID, "id")
	}
	if !w.plain {
		w.comma()
		w.buf = append(w.buf, `"logged_time":"`...)
		w.loggedAt = len(w.buf)
		w.buf = append(w.buf, logged...)
		w.buf = append(w.buf, '"')
	}
	w.unlessSealed(sealMessage, `"message":`, e.Message, "message")
	w.text(`"module":`, e.Module, "module")
	w.text(`"operation":`, e.Operation, "operation")
	if w.plain && len(e.Original) > 0 {
		w.text(`"original":`, originalText(e.Original), "original")
	}
	w.text(`"outcome":`, string(e.Outcome), "outcome")
	w.unlessSealed(sealReason, `"reason":`, e.Reason, "reason")
	w.request(&e.Request)
	w.sealedMember()
	w.text(`"service":`, e.Service, "service")
	w.source(&e.Source)
	w.targets(e.Targets)
	w.text(`"tenant":`, e.Tenant, "tenant")
	if !e.Time.IsZero() {
		w.comma()
		w.buf = append(w.buf, `"time":"`...)
		w.buf = appendTime(w.buf, e.Time, 9)
		w.buf = append(w.buf, '"')
	}
	at := w.open(`"trace":`)
	w.text(`"span_id":`, e.Trace.SpanID, "trace.span_id")
	w.text(`"trace_id":`, e.Trace.TraceID, "trace.trace_id")
	w.closed(at)
	if !w.plain {
		w.buf = append(w.buf, `,"v":1`...)
	}
	w.buf = append(w.buf, '}')
}

func (w *leafWriter) unlessSealed(f sealField, name, value, field string) {
	if !w.seals.has(f) {
		w.text(name, value, field)
	}
}

func (w *leafWriter) actor(a *Actor) {
	at := w.open(`"actor":`)
	w.unlessSealed(sealActorID, `"id":`, a.ID, "actor.id")
	w.unlessSealed(sealActorName, `"name":`, a.Name, "actor.name")
	w.unlessSealed(sealActorOnBehalfOf, `"on_behalf_of":`, a.OnBehalfOf, "actor.on_behalf_of")
	w.unlessSealed(sealActorSession, `"session":`, a.Session, "actor.session")
	w.text(`"type":`, a.Type, "actor.type")
	w.closed(at)
}

func (w *leafWriter) source(s *Source) {
	at := w.open(`"source":`)
	w.unlessSealed(sealSourceHost, `"host":`, s.Host, "source.host")
	w.unlessSealed(sealSourceIP, `"ip":`, s.IP, "source.ip")
	w.unlessSealed(sealSourceUserAgent, `"user_agent":`, s.UserAgent, "source.user_agent")
	w.closed(at)
}

func (w *leafWriter) request(r *Request) {
	at := w.open(`"request":`)
	w.number(`"duration_us":`, r.DurationUS)
	w.text(`"id":`, r.ID, "request.id")
	w.text(`"method":`, r.Method, "request.method")
	w.unlessSealed(sealRequestPath, `"path":`, r.Path, "request.path")
	w.text(`"route":`, r.Route, "request.route")
	w.number(`"status":`, int64(r.Status))
	w.closed(at)
}

func (w *leafWriter) targets(targets []Target) {
	at := len(w.buf)
	for i := range targets {
		t := &targets[i]
		if *t == (Target{}) {
			continue
		}
		if len(w.buf) == at {
			w.comma()
			w.buf = append(w.buf, `"targets":[{`...)
		} else {
			w.buf = append(w.buf, `,{`...)
		}
		w.text(`"id":`, t.ID, "targets.id")
		w.text(`"name":`, t.Name, "targets.name")
		w.text(`"type":`, t.Type, "targets.type")
		w.buf = append(w.buf, '}')
	}
	if len(w.buf) > at {
		w.buf = append(w.buf, ']')
	}
}

// How deep containers stand in a leaf: the attributes object itself, and the
// old and new values of changes.
const (
	attributesDepth = 2
	changeDepth     = 4
)

func (w *leafWriter) attributes(m map[string]any) {
	if len(m) == 0 || w.err != nil {
		return
	}
	skip := w.seals.attributes
	if len(skip) > 0 && !slices.ContainsFunc(mapNames(m), func(n string) bool { return !skip[n] }) {
		return
	}
	w.comma()
	w.buf = append(w.buf, `"attributes":`...)
	w.buf, w.err = appendObject(w.buf, m, skip, "attributes", attributesDepth)
}

func mapNames(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	return names
}

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
		w.changed(`"new":`, c.New, "changes.new")
		w.changed(`"old":`, c.Old, "changes.old")
		w.text(`"op":`, c.Op, "changes.op")
		w.text(`"path":`, c.Path, "changes.path")
		w.buf = append(w.buf, '}')
	}
	w.buf = append(w.buf, ']')
}

func (w *leafWriter) changed(name string, v any, field string) {
	if v == nil || w.err != nil {
		return
	}
	w.comma()
	w.buf = append(w.buf, name...)
	w.buf, w.err = appendValue(w.buf, v, field, changeDepth)
}

func (w *leafWriter) sealedMember() {
	if len(w.sealed) == 0 {
		return
	}
	at := w.open(`"sealed":`)
	w.sealedAt = len(w.buf)
	for i := range w.sealed {
		w.comma()
		w.buf = appendSeal(w.buf, w.sealed[i].Pointer)
		if digest := &w.sealed[i].Digest; *digest != [32]byte{} { // which stands there
			putDigest(w.buf, digest)
		}
	}
	w.closed(at)
}

// appendSeal appends a member of the sealed object, with a digest of zeros.
func appendSeal(dst []byte, pointer string) []byte {
	if strings.HasPrefix(pointer, attributesPointer) {
		dst, _ = appendString(dst, pointer) // checked when it was configured or read
	} else { // a declared field's has nothing to escape
		dst = append(append(append(dst, '"'), pointer...), '"')
	}
	return append(dst, zeroDigest...)
}

const zeroDigest = `:"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`

// putDigest writes the digest of the seal that dst ends with.
func putDigest(dst []byte, digest *[32]byte) {
	base64.StdEncoding.Encode(dst[len(dst)-len(`"`)-44:], digest[:])
}

// appendTime appends t in RFC 3339, UTC, with exactly digits fractional digits, 9
// at most.
func appendTime(dst []byte, t time.Time, digits int) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	start := len(dst)
	dst = append(dst, "0000-00-00T00:00:00.000000000"[:20+digits]...)
	out := dst[start:]
	putDigits(out[:4], year)
	putDigits(out[5:7], int(month))
	putDigits(out[8:10], day)
	putDigits(out[11:13], hour)
	putDigits(out[14:16], minute)
	putDigits(out[17:19], second)
	frac := t.Nanosecond()
	for i := digits; i < 9; i++ {
		frac /= 10
	}
	putDigits(out[20:], frac)
	return append(dst, 'Z')
}

// putDigits writes n in decimal over dst, from its end.
func putDigits(dst []byte, n int) {
	for i, rest := len(dst)-1, uint32(n); i >= 0; i-- {
		dst[i] = byte('0' + rest%10)
		rest /= 10
	}
}

// MarshalJSON writes e canonically (RFC 8785), with every field in clear.
func (e Event) MarshalJSON() ([]byte, error) {
	w := leafWriter{seals: &sealSet{}, plain: true}
	w.leaf(&e, "")
	return w.buf, w.err
}
