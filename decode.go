package attestlog

import (
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"time"
)

// ParseEvent reads an event from JSON as callers write it. Declared fields
// that are null or empty are absent. It refuses unknown fields, duplicate
// names, numbers of magnitude 2^53 or more, invalid UTF-8, and the fields that
// only the log sets (v, sealed, erased, logged_time), with a *FieldError.
func ParseEvent(data []byte) (Event, error) {
	d := newDecoder(data)
	d.event()
	d.end()
	if d.err == nil {
		d.err = d.e.check()
	}
	return d.e, d.err
}

// UnmarshalJSON is ParseEvent.
func (e *Event) UnmarshalJSON(data []byte) (err error) {
	*e, err = ParseEvent(data)
	return err
}

// A decoder reads events and leaves.
type decoder struct {
	scanner
	leaf    bool // a leaf, not a caller's event
	e       Event
	logged  time.Time
	sealed  []Seal
	version float64
	names   []string // of the objects being read, to find duplicates

	room [32]string // for names and the scanner's path, as most events need
}

func newDecoder(data []byte) *decoder {
	d := &decoder{scanner: scanner{data: data}}
	d.path, d.names = d.room[:0:8], d.room[8:8]
	return d
}

// fieldNames are the declared ones, which need no memory of their own then.
var fieldNames = func() map[string]string {
	names := map[string]string{}
	for _, name := range []string{
		"action", "actor", "attributes", "changes", "duration_us", "host", "id", "ip", "logged_time", "message", "method", "module", "name", "new",
		"old", "on_behalf_of", "op", "operation", "original", "outcome", "path", "reason", "request", "route", "sealed", "service", "session",
		"source", "span_id", "status", "targets", "tenant", "time", "trace", "trace_id", "type", "user_agent", "v",
	} {
		names[name] = name
	}
	return names
}()

// object reads the members of a declared object; member reads the value.
func (d *decoder) object(member func(name string) bool) {
	if d.peek() == 'n' && !d.leaf {
		d.value()
		return
	}
	from := len(d.names)
	d.enter('{')
	for k, first := d.key(true), false; k != nil; k = d.key(first) {
		name, declared := fieldNames[string(k)]
		if !declared {
			name = string(k)
		}
		for _, seen := range d.names[from:] {
			if seen == name {
				d.fail("duplicate name %q", name)
				return
			}
		}
		d.names = append(d.names, name)
		d.path = append(d.path, name)
		if !member(name) {
			d.fail("unknown field")
			return
		}
		if d.err != nil {
			return
		}
		d.path = d.path[:len(d.path)-1]
	}
	d.names = d.names[:from]
}

// text reads a declared string.
func (d *decoder) text(to *string) bool {
	if d.peek() != '"' {
		if v := d.value(); d.err == nil && (v != nil || d.leaf) {
			d.fail("not a string")
		}
		return true
	}
	*to = string(d.str())
	return true
}

func (d *decoder) int(to *int64) bool {
	if c := d.peek(); c != '-' && c-'0' > 9 {
		if v := d.value(); d.err == nil && (v != nil || d.leaf) {
			d.fail("not a whole number")
		}
		return true
	}
	f := d.number()
	if *to = int64(f); float64(*to) != f {
		d.fail("not a whole number")
	}
	return true
}

func (d *decoder) time(to *time.Time) bool {
	var text string
	if d.text(&text); d.err != nil || text == "" {
		return true
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		d.fail("not an RFC 3339 time such as 2026-01-02T15:04:05Z")
		return true
	}
	*to = t.UTC()
	return true
}

func (d *decoder) event() {
	e := &d.e
	d.object(func(name string) bool {
		switch name {
		case "id":
			return d.text(&e.ID)
		case "time":
			return d.time(&e.Time)
		case "tenant":
			return d.text(&e.Tenant)
		case "service":
			return d.text(&e.Service)
		case "module":
			return d.text(&e.Module)
		case "action":
			return d.text(&e.Action)
		case "operation":
			return d.text(&e.Operation)
		case "outcome":
			return d.text((*string)(&e.Outcome))
		case "reason":
			return d.text(&e.Reason)
		case "message":
			return d.text(&e.Message)
		case "actor":
			d.object(d.actor)
		case "source":
			d.object(d.source)
		case "targets":
			d.list(d.target)
		case "request":
			d.object(d.request)
		case "trace":
			d.object(d.trace)
		case "changes":
			d.list(d.change)
		case "attributes":
			d.attributes()
		case "original":
			return d.original()
		case "v", "sealed", "logged_time":
			return d.logOnly(name)
		case "erased":
			d.fail("set only by the log")
		default:
			return false
		}
		return true
	})
}

func (d *decoder) actor(name string) bool {
	a := &d.e.Actor
	switch name {
	case "id":
		return d.text(&a.ID)
	case "type":
		return d.text(&a.Type)
	case "name":
		return d.text(&a.Name)
	case "session":
		return d.text(&a.Session)
	case "on_behalf_of":
		return d.text(&a.OnBehalfOf)
	}
	return false
}

func (d *decoder) source(name string) bool {
	s := &d.e.Source
	switch name {
	case "ip":
		d.text(&s.IP)
		if addr, err := netip.ParseAddr(s.IP); err == nil {
			s.IP = addr.String()
		}
		return true
	case "user_agent":
		return d.text(&s.UserAgent)
	case "host":
		return d.text(&s.Host)
	}
	return false
}

func (d *decoder) request(name string) bool {
	r := &d.e.Request
	switch name {
	case "id":
		return d.text(&r.ID)
	case "method":
		return d.text(&r.Method)
	case "path":
		return d.text(&r.Path)
	case "route":
		return d.text(&r.Route)
	case "status":
		n := int64(r.Status)
		d.int(&n)
		r.Status = int(n)
		return true
	case "duration_us":
		return d.int(&r.DurationUS)
	}
	return false
}

func (d *decoder) trace(name string) bool {
	switch name {
	case "trace_id":
		return d.text(&d.e.Trace.TraceID)
	case "span_id":
		return d.text(&d.e.Trace.SpanID)
	}
	return false
}

// list reads an array of declared objects.
func (d *decoder) list(item func()) {
	if d.peek() == 'n' && !d.leaf {
		d.value()
		return
	}
	d.enter('[')
	for first := true; d.item(first); first = false {
		item()
	}
}

func (d *decoder) target() {
	var t Target
	d.object(func(name string) bool {
		switch name {
		case "id":
			return d.text(&t.ID)
		case "type":
			return d.text(&t.Type)
		case "name":
			return d.text(&t.Name)
		}
		return false
	})
	d.e.Targets = append(d.e.Targets, t)
}

func (d *decoder) change() {
	var c Change
	d.object(func(name string) bool {
		switch name {
		case "path":
			return d.text(&c.Path)
		case "op":
			return d.text(&c.Op)
		case "old":
			c.Old = orNull(d.value())
		case "new":
			c.New = orNull(d.value())
		default:
			return false
		}
		return true
	})
	d.e.Changes = append(d.e.Changes, c)
}

// orNull keeps a null that was given apart from an absent value.
func orNull(v any) any {
	if v == nil {
		return json.RawMessage("null")
	}
	return v
}

func (d *decoder) attributes() {
	switch m := d.value().(type) {
	case map[string]any:
		if len(m) > 0 {
			d.e.Attributes = m
		} else if d.leaf {
			d.fail("empty")
		}
	case nil:
		if d.leaf {
			d.fail("not an object")
		}
	default:
		d.fail("not an object")
	}
}

func (d *decoder) original() bool {
	if d.leaf {
		d.fail("an original in clear")
		return true
	}
	var text string
	d.text(&text)
	b, err := originalBytes(text)
	if err != nil && d.err == nil {
		d.err = err
	}
	if len(b) > 0 {
		d.e.Original = b
	}
	return true
}

func (d *decoder) logOnly(name string) bool {
	switch {
	case !d.leaf:
		d.fail("set only by the log")
	case name == "v":
		d.version = d.number()
	case name == "logged_time":
		return d.time(&d.logged)
	case name == "sealed":
		d.object(func(pointer string) bool {
			var text string
			d.text(&text)
			seal := Seal{Pointer: pointer}
			digest, err := base64.StdEncoding.Strict().DecodeString(text)
			if err != nil || len(digest) != len(seal.Digest) {
				d.fail("not 32 bytes in base64")
			}
			copy(seal.Digest[:], digest)
			d.sealed = append(d.sealed, seal)
			return true
		})
	}
	return true
}
