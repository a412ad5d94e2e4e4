package fit

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/attestlog/attestlog"
)

// maxClear bounds an event's JSON without its original, in bytes. The rest of
// a leaf is for the time and the seals that the log adds.
const maxClear = attestlog.MaxLeaf - 4096

// limits are tried in turn until an event fits: the longest string, and a
// quarter of the longest container, in bytes. 0 is no limit.
var limits = [...]int{0, 16 << 10, 4 << 10, 1 << 10, 256, 64}

// Bound maps an event that the core would refuse to one that it accepts, and
// leaves any other as it is. What it changes, it notes in the attribute
// NotesName, so that Restore can map it back:
//
//   - bytes that are not UTF-8 are escaped by Escape;
//   - numbers of magnitude 2^53 or more, and those that are not finite, become
//     strings of their digits;
//   - values nested too deep, values that encoding/json cannot marshal, and
//     invalid json.RawMessage become strings;
//   - an empty action or actor id becomes UnknownAction or UnknownActor;
//   - an action that the core reserves gets ForeignPrefix;
//   - an outcome, actor type or number that is not allowed moves to the note,
//     and what is not an IP address to the host, or else to the note;
//   - a time outside the years 1678 to 2261 moves to the note, and so does the
//     lack of one where the id needs it; the start of 1970 stands for it.
//
// What is too long is cut, and its note holds the length and the SHA-256: an
// id over 128 bytes, an action over 255, an original over 1 MiB and, in an
// event that would not fit a leaf, first the longest strings and containers,
// last the attributes that come last by name. Only cut values cannot be mapped
// back; where there is an original, it has them.
//
// Bound changes neither the maps nor the slices that the event came with.
func Event(e *attestlog.Event) {
	for i, limit := range limits {
		b := bounder{e: *e, limit: limit, notes: notes{}, fold: i == len(limits)-1}
		if b.event(); b.fold || !b.full && b.size+b.notes.size() <= maxClear {
			*e = b.e
			return
		}
	}
}

// A bounder makes one try at an event.
type bounder struct {
	e     attestlog.Event
	limit int
	fold  bool // drop attributes that do not fit
	full  bool // the event cannot fit: what is left to do is left out
	notes notes
	size  int // of the JSON, but for notes and original
}

func (b *bounder) event() {
	b.size = 1024 // all names of declared fields, and the times
	for _, step := range [...]func(){
		b.declared, b.times, b.enums, b.address, b.texts, b.targets, b.changes, b.original, b.attributes,
	} {
		if step(); b.full {
			return
		}
	}
}

// most bounds what the targets, the changes or an attribute take, with their
// notes: without a limit, all that is left, and if they take more the event
// cannot fit.
func (b *bounder) most() int {
	if b.limit > 0 {
		return 4*b.limit + noteRoom
	}
	return max(1, maxClear-b.size-b.notes.size())
}

// keep adds what has been walked to the event, of which the same step had from
// bytes, unless that is more than most.
func (b *bounder) keep(w *walk, from *int, most int) bool {
	if *from += w.size + w.notes.size(); w.over || *from > most {
		b.full = b.limit == 0
		return false
	}
	b.size += w.size
	b.notes.addAll(w.notes)
	return true
}

func (b *bounder) note(pointer string, n note) { b.notes.add(pointer, n) }

// declared puts reserved values for what is required.
func (b *bounder) declared() {
	e := &b.e
	switch {
	case e.Action == "":
		e.Action = UnknownAction
		b.note("/action", note{as: "empty"})
	case strings.HasPrefix(e.Action, attestlog.ReservedPrefix):
		e.Action = ForeignPrefix + e.Action
		b.note("/action", note{as: "reserved"})
	}
	if e.Actor.ID == "" {
		e.Actor.ID = UnknownActor
		b.note("/actor/id", note{as: "empty"})
	}
}

// Times are kept as signed 64-bit nanoseconds since 1970.
const minYear, maxYear = 1678, 2261

const wasTime = "2006-01-02T15:04:05.999999999Z07:00"

func (b *bounder) times() {
	e := &b.e
	switch year := e.Time.UTC().Year(); {
	case e.Time.IsZero():
		if e.ID == "" || isUUIDv7(e.ID) {
			return
		}
		b.note("/time", note{as: "unknown"})
	case year < minYear || year > maxYear:
		b.note("/time", note{as: "was", was: e.Time.UTC().Format(wasTime)})
	default:
		return
	}
	e.Time = time.Unix(0, 0).UTC()
}

// isUUIDv7 reports whether the core takes the key from the id alone.
func isUUIDv7(id string) bool {
	return attestlog.KeyOf(id, time.Unix(0, 0), "", "") == attestlog.KeyOf(id, time.Unix(1, 0), "", "")
}

// UUIDTime returns the time in an id that is a UUIDv7 (RFC 9562, Section 5.7).
func UUIDTime(id string) (time.Time, bool) {
	if !isUUIDv7(id) {
		return time.Time{}, false
	}
	key := attestlog.KeyOf(id, time.Time{}, "", "")
	return time.UnixMilli(int64(binary.BigEndian.Uint64(key[:]) >> 16)).UTC(), true
}

func (b *bounder) enums() {
	e := &b.e
	switch e.Outcome {
	case "", attestlog.Success, attestlog.Failure, attestlog.Unknown:
	default:
		b.was("/outcome", string(e.Outcome))
		e.Outcome = attestlog.Unknown
	}
	switch e.Actor.Type {
	case "", "user", "service", "system", "anonymous":
	default:
		b.was("/actor/type", e.Actor.Type)
		e.Actor.Type = ""
	}
	if n := int64(e.Request.Status); n < 0 || n >= maxNumber {
		b.was("/request/status", strconv.FormatInt(n, 10))
		e.Request.Status = 0
	}
	if n := e.Request.DurationUS; n < 0 || n >= maxNumber {
		b.was("/request/duration_us", strconv.FormatInt(n, 10))
		e.Request.DurationUS = 0
	}
}

// was notes a value that is not in the event. The note's own text is escaped
// and cut like any other.
func (b *bounder) was(pointer, value string) {
	w := walk{limit: b.hard(maxWas), notes: notes{}}
	text := w.text(value)
	n := w.notes["/"]
	n.as, n.was = strings.TrimSpace("was "+n.as), text
	b.note(pointer, n)
}

const maxWas = 4 << 10

// hard returns the smaller of a limit that always holds and the try's.
func (b *bounder) hard(limit int) int {
	if b.limit == 0 {
		return limit
	}
	return min(limit, b.limit)
}

// maxIP is longer than any address with a zone worth the name.
const maxIP = 128

func (b *bounder) address() {
	s := &b.e.Source
	if s.IP == "" {
		return
	}
	addr, err := netip.ParseAddr(s.IP)
	switch {
	case err == nil && len(s.IP) <= maxIP && utf8.ValidString(s.IP):
		s.IP = addr.String()
	case s.Host == "":
		s.IP, s.Host = "", s.IP
		b.note("/source/ip", note{as: "was"})
	default:
		b.was("/source/ip", s.IP)
		s.IP = ""
	}
}

// texts are the declared strings but for those of targets and changes. max is
// the core's own limit, or 0.
func texts(e *attestlog.Event) []struct {
	pointer string
	text    *string
	max     int
} {
	return []struct {
		pointer string
		text    *string
		max     int
	}{
		{"/id", &e.ID, attestlog.MaxID},
		{"/tenant", &e.Tenant, 0},
		{"/service", &e.Service, 0},
		{"/module", &e.Module, 0},
		{"/action", &e.Action, attestlog.MaxAction},
		{"/operation", &e.Operation, 0},
		{"/outcome", (*string)(&e.Outcome), 0},
		{"/reason", &e.Reason, 0},
		{"/actor/id", &e.Actor.ID, 0},
		{"/actor/type", &e.Actor.Type, 0},
		{"/actor/name", &e.Actor.Name, 0},
		{"/actor/session", &e.Actor.Session, 0},
		{"/actor/on_behalf_of", &e.Actor.OnBehalfOf, 0},
		{"/source/ip", &e.Source.IP, 0},
		{"/source/user_agent", &e.Source.UserAgent, 0},
		{"/source/host", &e.Source.Host, 0},
		{"/request/id", &e.Request.ID, 0},
		{"/request/method", &e.Request.Method, 0},
		{"/request/path", &e.Request.Path, 0},
		{"/request/route", &e.Request.Route, 0},
		{"/trace/trace_id", &e.Trace.TraceID, 0},
		{"/trace/span_id", &e.Trace.SpanID, 0},
		{"/message", &e.Message, 0},
	}
}

func (b *bounder) texts() {
	for _, f := range texts(&b.e) {
		if *f.text == "" {
			continue
		}
		w := walk{limit: b.limit, max: f.max, notes: notes{}}
		*f.text = w.text(*f.text)
		b.take(&w, f.pointer)
	}
}

// take adds a text's size, and its note to the one that its pointer has.
func (b *bounder) take(w *walk, pointer string) {
	b.size += w.size
	if n, ok := w.notes["/"]; ok {
		old := b.notes[pointer]
		n.as = strings.TrimSpace(old.as + " " + n.as)
		n.was = old.was
		b.note(pointer, n)
	}
}

func (b *bounder) targets() {
	given := slices.DeleteFunc(slices.Clone(b.e.Targets), func(t attestlog.Target) bool { return t == attestlog.Target{} })
	b.e.Targets = nil
	taken, most := 0, b.most()
	for i, t := range given {
		w := walk{limit: b.limit, path: []string{"targets", strconv.Itoa(i), ""}, notes: notes{}}
		w.size = len(`{"id":"","name":"","type":""},`)
		t.ID, t.Name, t.Type = w.member("id", t.ID), w.member("name", t.Name), w.member("type", t.Type)
		if !b.keep(&w, &taken, most) {
			b.note("/targets", note{items: len(given), sha256: b.digestOf(given)})
			return
		}
		b.e.Targets = append(b.e.Targets, t)
	}
}

// digestOf is digest of a value's JSON, but in vain if the event cannot fit.
func (b *bounder) digestOf(v any) string {
	if b.full {
		return ""
	}
	return digest(jsonOf(v))
}

func (b *bounder) original() {
	const max = attestlog.MaxOriginal
	text := b.e.Original
	if len(text) <= max {
		return
	}
	b.note("/original", note{bytes: len(text), sha256: digest(text)})
	end := max
	for end > max-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	b.e.Original = text[:end:end]
}

const maxNumber = 1 << 53

func finite(f float64) bool { return math.Abs(f) < maxNumber }
