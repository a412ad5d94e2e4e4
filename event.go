package attestlog

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/field"
)

// Bounds of a single event. They are part of the format: see docs/format.md.
const (
	MaxID       = 128     // bytes in an id
	MaxAction   = 255     // bytes in an action
	MaxLeaf     = 65_535  // bytes in a leaf
	MaxOriginal = 1 << 20 // bytes in an original
	MaxDepth    = 64      // nesting of attributes and changes
)

// ReservedPrefix starts the actions that only the log itself writes, such as
// "attestlog.restore". Append refuses them.
const ReservedPrefix = "attestlog."

// Outcome says how an action ended. The empty Outcome is an absent one.
type Outcome string

// The outcomes an event may carry.
const (
	Success Outcome = "success"
	Failure Outcome = "failure"
	Unknown Outcome = "unknown"
)

// An Event is what a caller submits: who did what, to what, when, from where,
// with what outcome. Only Action and Actor.ID are required. An empty field is
// an absent one; there is no difference between "" and not given.
//
// All strings must be valid UTF-8. Times lie between the years 1678 and 2261.
type Event struct {
	// ID is the caller's idempotency key, at most MaxID bytes. Defaults to a
	// new UUIDv7. An ID that is not a UUIDv7 needs a Time.
	ID string
	// Time is when it happened. Defaults to when Append or Record was called.
	Time time.Time

	Tenant  string // whose event it is
	Service string // which program reports it
	Module  string // which part of the program

	// Action is what was done, at most MaxAction bytes: by convention a
	// dotted name such as "mail.view". Required.
	Action string
	// Operation is the kind of action: create, read, update, delete, login,
	// logout, export, import, execute, approve, deny, …
	Operation string
	Outcome   Outcome
	Reason    string // why, when the outcome is not success

	Actor   Actor
	Source  Source
	Targets []Target
	Request Request
	Trace   Trace
	Changes []Change
	Message string

	// Attributes holds anything else: nil, bool, string, numbers below 2^53
	// in magnitude, []any, map[string]any, json.RawMessage, and whatever
	// encoding/json can marshal. Numbers are read back as float64.
	Attributes map[string]any

	// Original is a foreign record's exact bytes where one was imported, at
	// most MaxOriginal. It is always sealed.
	Original []byte
}

// An Actor is who did it. ID is required.
type Actor struct {
	ID         string
	Type       string // user, service, system or anonymous
	Name       string
	Session    string
	OnBehalfOf string // the id of the principal the actor acted for
}

// A Source is where an action came from. What is not an IP address goes to
// Host.
type Source struct {
	IP        string
	UserAgent string
	Host      string
}

// A Target is something the action was done to.
type Target struct {
	ID   string
	Type string
	Name string
}

// A Request is the HTTP or RPC request that carried the action.
type Request struct {
	ID         string
	Method     string
	Path       string
	Route      string
	Status     int   // 0 is absent
	DurationUS int64 // microseconds, 0 is absent
}

// A Trace holds the W3C trace context ids.
type Trace struct {
	TraceID string
	SpanID  string
}

// A Change is one field before and after. A nil Old or New is absent; JSON's
// null is json.RawMessage("null").
type Change struct {
	Path string
	Op   string
	Old  any
	New  any
}

// check reports the first rule of docs/format.md that e breaks. The encoder
// checks what it meets on its way: UTF-8, numbers, depth. It also writes the
// address in its one form. The limits are those of the table of fields, checked
// without looking anything up.
func (e *Event) check() error {
	switch {
	case e.Action == "":
		return &FieldError{Field: "action", Rule: "required"}
	case len(e.Action) > MaxAction:
		return &FieldError{Field: "action", Rule: "longer than 255 bytes"}
	case e.Actor.ID == "":
		return &FieldError{Field: "actor.id", Rule: `required ("anonymous" is a value)`}
	case len(e.ID) > MaxID:
		return &FieldError{Field: "id", Rule: "longer than 128 bytes"}
	case len(e.Original) > MaxOriginal:
		return &FieldError{Field: "original", Rule: "longer than 1 MiB"}
	case e.Request.DurationUS < 0 || e.Request.DurationUS >= canon.MaxNumber:
		return &FieldError{Field: "request.duration_us", Rule: "outside 0 to 2^53-1"}
	case e.Request.Status < 0 || int64(e.Request.Status) >= canon.MaxNumber:
		return &FieldError{Field: "request.status", Rule: "outside 0 to 2^53-1"}
	}

	switch e.Outcome {
	case "", Success, Failure, Unknown:
	default:
		return &FieldError{Field: "outcome", Rule: "not success, failure or unknown"}
	}

	switch e.Actor.Type {
	case "", "user", "service", "system", "anonymous":
	default:
		return &FieldError{Field: "actor.type", Rule: "not user, service, system or anonymous"}
	}

	if e.Source.IP != "" {
		addr, err := netip.ParseAddr(e.Source.IP)
		if err != nil {
			return &FieldError{Field: "source.ip", Rule: "not an IP address (a name goes to source.host)"}
		}
		if !addr.Is4() { // which has only one form
			e.Source.IP = addr.String()
		}
	}

	if !e.Time.IsZero() && outsideTimes(e.Time) {
		return timeError()
	}
	return nil
}

func outsideTimes(t time.Time) bool { return t.Before(canon.MinTime) || t.After(canon.MaxTime) }

func timeError() error {
	return &FieldError{Field: "time", Rule: "outside the years 1678 to 2261"}
}

// base64Original marks an original that is not valid UTF-8, or that starts
// with the mark itself, so that the mapping is one to one.
const base64Original = "data:;base64,"

func originalText(b []byte) string {
	if utf8.Valid(b) && !strings.HasPrefix(string(b), base64Original) {
		return string(b)
	}
	return base64Original + base64.StdEncoding.EncodeToString(b)
}

func originalBytes(s string) ([]byte, error) {
	enc, ok := strings.CutPrefix(s, base64Original)
	if !ok {
		return []byte(s), nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(enc)
	if err != nil || originalText(b) != s {
		return nil, errors.New("not canonical base64 after " + base64Original)
	}
	return b, nil
}

// Text returns where the event has the text that a pointer names, such as
// "/actor/name", or nil if there is no such field: fields of targets and
// changes, numbers, attributes and the original are none.
func (e *Event) Text(pointer string) *string {
	id, ok := field.ByPointer(pointer)
	if !ok {
		return nil
	}
	return e.text(id)
}

// Number returns the number that a pointer names, such as "/request/status", or
// 0 if there is no such field.
func (e *Event) Number(pointer string) int64 {
	id, ok := field.ByPointer(pointer)
	if !ok {
		return 0
	}
	return e.number(id)
}

// SetNumber sets the number that a pointer names. It does nothing if there is no
// such field.
func (e *Event) SetNumber(pointer string, n int64) {
	id, ok := field.ByPointer(pointer)
	if ok {
		e.setNumber(id, n)
	}
}

// Text returns where the target has the text of a name in its JSON, such as
// "id", or nil if there is no such field.
func (t *Target) Text(name string) *string {
	id, ok := field.Target.Find([]byte(name))
	if !ok {
		return nil
	}
	return t.text(id)
}

// Text returns where the change has the text of a name in its JSON, such as "op",
// or nil if there is no such field: the old and the new value are none.
func (c *Change) Text(name string) *string {
	id, ok := field.Change.Find([]byte(name))
	if !ok {
		return nil
	}
	return c.text(id)
}

// text returns where the event has the text of a field, or nil if the field is
// no text of the event itself. It is a switch, because a call of a function in a
// table would move every event to the heap.
func (e *Event) text(id field.ID) *string {
	switch id {
	case field.EventID:
		return &e.ID
	case field.Tenant:
		return &e.Tenant
	case field.Service:
		return &e.Service
	case field.Module:
		return &e.Module
	case field.Action:
		return &e.Action
	case field.Operation:
		return &e.Operation
	case field.Outcome:
		return (*string)(&e.Outcome)
	case field.Reason:
		return &e.Reason
	case field.Message:
		return &e.Message

	case field.ActorID:
		return &e.Actor.ID
	case field.ActorType:
		return &e.Actor.Type
	case field.ActorName:
		return &e.Actor.Name
	case field.ActorSession:
		return &e.Actor.Session
	case field.ActorOnBehalfOf:
		return &e.Actor.OnBehalfOf

	case field.SourceIP:
		return &e.Source.IP
	case field.SourceHost:
		return &e.Source.Host
	case field.SourceUserAgent:
		return &e.Source.UserAgent

	case field.RequestID:
		return &e.Request.ID
	case field.RequestMethod:
		return &e.Request.Method
	case field.RequestPath:
		return &e.Request.Path
	case field.RequestRoute:
		return &e.Request.Route

	case field.TraceID:
		return &e.Trace.TraceID
	case field.TraceSpan:
		return &e.Trace.SpanID
	}
	return nil
}

// text is Event.text for a target.
func (t *Target) text(id field.ID) *string {
	switch id {
	case field.TargetID:
		return &t.ID
	case field.TargetType:
		return &t.Type
	case field.TargetName:
		return &t.Name
	}
	return nil
}

// text is Event.text for a change.
func (c *Change) text(id field.ID) *string {
	switch id {
	case field.ChangePath:
		return &c.Path
	case field.ChangeOp:
		return &c.Op
	}
	return nil
}

// number returns a field that is a number, or 0.
func (e *Event) number(id field.ID) int64 {
	switch id {
	case field.RequestStatus:
		return int64(e.Request.Status)
	case field.RequestDuration:
		return e.Request.DurationUS
	}
	return 0
}

// setNumber sets a field that is a number.
func (e *Event) setNumber(id field.ID, n int64) {
	switch id {
	case field.RequestStatus:
		e.Request.Status = int(n)
	case field.RequestDuration:
		e.Request.DurationUS = n
	}
}
