package attestlog

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/netip"
	"time"

	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/field"
)

// ParseEvent reads an event from JSON as callers write it. Declared fields that
// are null or empty are absent. It refuses unknown fields, duplicate names,
// numbers of magnitude 2^53 or more, invalid UTF-8, and the fields that only the
// log sets (v, sealed, erased, logged_time), with a *FieldError.
func ParseEvent(data []byte) (Event, error) {
	d := newDecoder(data)
	d.event()
	d.End()
	if d.Err != nil {
		return d.e, fieldError(d.Err)
	}
	return d.e, d.e.check()
}

// UnmarshalJSON is ParseEvent.
func (e *Event) UnmarshalJSON(data []byte) error {
	var err error
	*e, err = ParseEvent(data)
	return err
}

// A decoder reads an event, or a leaf, which has an event and what the log adds
// to it.
type decoder struct {
	canon.Scanner
	leaf bool // a leaf, where nothing may be null or empty
	e    Event

	// What only a leaf has.
	logged  time.Time
	sealed  []Seal
	version float64

	names []string // of the objects being read, to find duplicates

	scratch [32]string // for names and the scanner's path, as most events need
}

func newDecoder(data []byte) *decoder {
	d := &decoder{Scanner: canon.Scanner{Data: data}}
	d.Path, d.names = d.scratch[:0:8], d.scratch[8:8]
	return d
}

// fieldError returns an error of package canon as a *FieldError.
func fieldError(err error) error {
	if err == nil {
		return nil // before the variable, which is on the heap
	}

	var rule *canon.Error
	if errors.As(err, &rule) {
		return &FieldError{Field: rule.Path, Rule: rule.Rule}
	}
	return err
}

// members reads an object. member reads the value of each name, and reports
// whether it knows the name.
func (d *decoder) members(member func(name []byte) bool) {
	if d.absent() {
		return
	}

	// The names of the objects around this one stay below first, so that one
	// slice does for all of them.
	first := len(d.names)
	for key := range d.Members() {
		name := nameText(key)
		for _, seen := range d.names[first:] {
			if seen == name {
				d.Fail("duplicate name %q", name)
				return
			}
		}
		d.names = append(d.names, name)

		d.Path = append(d.Path, name)
		if !member(key) {
			d.Fail("unknown field")
		}
		if d.Err != nil {
			return
		}
		d.Path = d.Path[:len(d.Path)-1]
	}
	d.names = d.names[:first]
}

// nameText returns a name as a string, which for a declared one is not a new
// one.
func nameText(name []byte) string {
	text, ok := declaredNames[string(name)]
	if ok {
		return text
	}
	return string(name)
}

var declaredNames = func() map[string]string {
	names := map[string]string{}
	add := func(name string) { names[name] = name }
	for _, f := range field.All() {
		add(f.Name)
		add(f.Object.Name())
	}
	for _, name := range []string{"attributes", "logged_time", "sealed", "v"} {
		add(name)
	}
	return names
}()

// absent reads the null of an object or a list that a caller does not give.
func (d *decoder) absent() bool {
	if d.Peek() != 'n' || d.leaf {
		return false
	}
	d.Value()
	return true
}

// text reads a declared string.
func (d *decoder) text(to *string) {
	if d.Peek() != '"' {
		v := d.Value()
		if d.Err == nil && (v != nil || d.leaf) {
			d.Fail("not a string")
		}
		return
	}
	*to = string(d.Text())
}

// integer reads a whole number, or nothing for a caller's null.
func (d *decoder) integer() (n int64, ok bool) {
	c := d.Peek()
	if c != '-' && c-'0' > 9 {
		v := d.Value()
		if d.Err == nil && (v != nil || d.leaf) {
			d.Fail("not a whole number")
		}
		return 0, false
	}

	f := d.Number()
	n = int64(f)
	if float64(n) != f {
		d.Fail("not a whole number")
	}
	return n, true
}

// instant reads a time.
func (d *decoder) instant(to *time.Time) {
	var text string
	d.text(&text)
	if d.Err != nil || text == "" {
		return
	}

	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		d.Fail("not an RFC 3339 time such as 2026-01-02T15:04:05Z")
		return
	}
	*to = t.UTC()
}

func (d *decoder) event() {
	d.members(func(name []byte) bool {
		id, ok := field.Event.Find(name)
		if ok {
			d.field(id)
			return true
		}

		// What is no field is an object of fields, or a list of such objects.
		object, ok := field.ObjectNamed(name)
		switch {
		case object == field.Target:
			d.list(d.target)
			return true
		case object == field.Change:
			d.list(d.change)
			return true
		case ok:
			d.members(func(name []byte) bool { return d.member(object, name) })
			return true
		}

		switch string(name) {
		case "attributes":
			d.attributes()
			return true
		case "v", "sealed", "logged_time", "erased":
			d.logOnly(string(name))
			return true
		}
		return false
	})
}

// member reads a field of the actor, the source, the request or the trace.
func (d *decoder) member(object field.Object, name []byte) bool {
	id, ok := object.Find(name)
	if ok {
		d.field(id)
	}
	return ok
}

// field reads the value of a field of the event.
func (d *decoder) field(id field.ID) {
	switch id.Field().Kind {
	case field.Instant:
		d.instant(&d.e.Time)

	case field.Number:
		n, ok := d.integer()
		if ok {
			d.e.setNumber(id, n)
		}

	case field.Bytes:
		d.original()

	case field.Address:
		// Addresses are kept in one form, so that equal ones compare equal. One
		// that cannot be read is left for check, which names the field.
		to := d.e.text(id)
		d.text(to)
		addr, err := netip.ParseAddr(*to)
		if err == nil {
			*to = addr.String()
		}

	default:
		d.text(d.e.text(id))
	}
}

// list reads an array of declared objects.
func (d *decoder) list(item func()) {
	if d.absent() {
		return
	}
	for range d.Items() {
		item()
	}
}

func (d *decoder) target() {
	var t Target
	d.members(func(name []byte) bool {
		id, ok := field.Target.Find(name)
		if ok {
			d.text(t.text(id))
		}
		return ok
	})
	d.e.Targets = append(d.e.Targets, t)
}

func (d *decoder) change() {
	var c Change
	d.members(func(name []byte) bool {
		id, ok := field.Change.Find(name)
		switch {
		case !ok:
		case id == field.ChangeOld:
			c.Old = orNull(d.Value())
		case id == field.ChangeNew:
			c.New = orNull(d.Value())
		default:
			d.text(c.text(id))
		}
		return ok
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
	switch m := d.Value().(type) {
	case map[string]any:
		if len(m) > 0 {
			d.e.Attributes = m
		} else if d.leaf {
			d.Fail("empty")
		}
	case nil:
		if d.leaf {
			d.Fail("not an object")
		}
	default:
		d.Fail("not an object")
	}
}

func (d *decoder) original() {
	if d.leaf {
		d.Fail("an original in clear")
		return
	}

	var text string
	d.text(&text)
	b, err := originalBytes(text)
	if err != nil {
		d.Fail("%v", err)
	}
	if len(b) > 0 {
		d.e.Original = b
	}
}

// logOnly reads what only the log writes, and only into leaves.
func (d *decoder) logOnly(name string) {
	switch {
	case !d.leaf || name == "erased":
		d.Fail("set only by the log")
	case name == "v":
		d.version = d.Number()
	case name == "logged_time":
		d.instant(&d.logged)
	case name == "sealed":
		d.members(func(pointer []byte) bool {
			d.seal(string(pointer))
			return true
		})
	}
}

func (d *decoder) seal(pointer string) {
	var text string
	d.text(&text)

	seal := Seal{Pointer: pointer}
	digest, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(digest) != len(seal.Digest) {
		d.Fail("not 32 bytes in base64")
	}
	copy(seal.Digest[:], digest)
	d.sealed = append(d.sealed, seal)
}
