package attestlog

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// DefaultSealed are the pointers that a log seals unless its Config says
// otherwise. "/original" is sealed always.
var DefaultSealed = []string{"/actor/name", "/source/ip", "/source/user_agent"}

// A Seal is what a leaf holds of a sealed field: its RFC 6901 pointer and
// SHA-256("attestlog/v1/sealed\n" ‖ salt ‖ u32be length ‖ pointer ‖ u32be
// length ‖ JCS(value)).
type Seal struct {
	Pointer string
	Digest  [32]byte
}

// A Disclosure is a sealed field's value, kept outside the leaf so that it can
// be erased while every hash and proof stays.
type Disclosure struct {
	Pointer string
	Salt    [16]byte
	Value   []byte // RFC 8785 JSON, a string for every declared field
}

const sealDomain = "attestlog/v1/sealed\n"

// Digest returns the digest that d's seal must hold.
func (d *Disclosure) Digest() [32]byte {
	var room [512]byte
	return sha256.Sum256(d.appendSealed(room[:0]))
}

// appendSealed appends what a seal is the digest of.
func (d *Disclosure) appendSealed(dst []byte) []byte {
	return appendLength(appendSealHead(dst, &d.Salt, d.Pointer), d.Value)
}

// appendSealHead appends what stands before the value in what a seal is the
// digest of.
func appendSealHead(dst []byte, salt *[16]byte, pointer string) []byte {
	dst = append(dst, sealDomain...)
	dst = append(dst, salt[:]...)
	return appendLength(dst, pointer)
}

// cutSealed returns the disclosure that sealed begins with, as appendSealed
// wrote it, and what stands behind it. The value is of sealed's bytes.
func cutSealed(sealed []byte) (d Disclosure, rest []byte) {
	rest = sealed[len(sealDomain)+copy(d.Salt[:], sealed[len(sealDomain):]):]
	pointer, rest := cutLength(rest)
	d.Pointer = pointerText(pointer)
	d.Value, rest = cutLength(rest)
	return d, rest
}

// pointerText returns a pointer as a string, which for a declared field is no
// new one.
func pointerText(pointer []byte) string {
	for i := range sealable {
		if p := sealable[i].pointer; p == string(pointer) {
			return p
		}
	}
	return string(pointer)
}

// sealField numbers the declared fields that can be sealed.
type sealField uint16

const (
	sealActorID sealField = 1 << iota
	sealActorName
	sealActorOnBehalfOf
	sealActorSession
	sealMessage
	sealOriginal
	sealReason
	sealRequestPath
	sealSourceHost
	sealSourceIP
	sealSourceUserAgent
)

// A sealedPlace is where an event has a value that is sealed: a declared field,
// or if that is 0 an attribute.
type sealedPlace struct {
	pointer   string
	field     sealField
	attribute string
}

// sealable lists the declared fields in the order of their pointers' UTF-16
// units, which is also the order of the sealed object's names.
var sealable = []sealedPlace{
	{pointer: "/actor/id", field: sealActorID},
	{pointer: "/actor/name", field: sealActorName},
	{pointer: "/actor/on_behalf_of", field: sealActorOnBehalfOf},
	{pointer: "/actor/session", field: sealActorSession},
	{pointer: "/message", field: sealMessage},
	{pointer: "/original", field: sealOriginal},
	{pointer: "/reason", field: sealReason},
	{pointer: "/request/path", field: sealRequestPath},
	{pointer: "/source/host", field: sealSourceHost},
	{pointer: "/source/ip", field: sealSourceIP},
	{pointer: "/source/user_agent", field: sealSourceUserAgent},
}

// of returns where e has the field; the original is no string and has nil. A
// switch, because a call of what stands in a table would move every event to
// the heap.
func (f sealField) of(e *Event) *string {
	switch f {
	case sealActorID:
		return &e.Actor.ID
	case sealActorName:
		return &e.Actor.Name
	case sealActorOnBehalfOf:
		return &e.Actor.OnBehalfOf
	case sealActorSession:
		return &e.Actor.Session
	case sealMessage:
		return &e.Message
	case sealReason:
		return &e.Reason
	case sealRequestPath:
		return &e.Request.Path
	case sealSourceHost:
		return &e.Source.Host
	case sealSourceIP:
		return &e.Source.IP
	case sealSourceUserAgent:
		return &e.Source.UserAgent
	}
	return nil
}

const attributesPointer = "/attributes/"

// A sealSet says which fields are sealed. It is immutable.
type sealSet struct {
	fields     sealField
	attributes map[string]bool // top-level names
	places     []sealedPlace   // of both, in the order of the sealed object's names
}

func (s *sealSet) has(f sealField) bool { return s.fields&f != 0 }

// newSealSet checks pointers; "/original" is always among the result.
func newSealSet(pointers []string) (sealSet, error) {
	set := sealSet{fields: sealOriginal}
	for _, p := range pointers {
		if !utf8.ValidString(p) {
			return sealSet{}, fmt.Errorf("sealed pointer %q: not valid UTF-8", p)
		}
		if name, ok := attributeName(p); ok {
			if set.attributes == nil {
				set.attributes = map[string]bool{}
			}
			if !set.attributes[name] {
				set.attributes[name] = true
				set.places = append(set.places, sealedPlace{pointer: p, attribute: name})
			}
			continue
		}
		f, ok := fieldOf(p)
		if !ok {
			return sealSet{}, fmt.Errorf("sealed pointer %q: not a field that can be sealed", p)
		}
		set.fields |= f
	}
	for _, p := range sealable {
		if set.has(p.field) {
			set.places = append(set.places, p)
		}
	}
	slices.SortFunc(set.places, func(a, b sealedPlace) int { return compareUTF16(a.pointer, b.pointer) })
	return set, nil
}

func fieldOf(pointer string) (sealField, bool) {
	for i := range sealable {
		if sealable[i].pointer == pointer {
			return sealable[i].field, true
		}
	}
	return 0, false
}

// attributeName returns the top-level attribute that a pointer names (RFC
// 6901, Section 4).
func attributeName(pointer string) (string, bool) {
	name, ok := strings.CutPrefix(pointer, attributesPointer)
	if !ok || strings.Contains(name, "/") {
		return "", false
	}
	name = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
	return name, attributePointer(name) == pointer
}

func attributePointer(name string) string {
	return attributesPointer + strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

// seal seals e's fields into r, in the order in which a leaf lists them.
func (s *sealSet) seal(r *room, e *Event) (err error) {
	for i := range s.places {
		p := &s.places[i]
		if p.field == 0 {
			if v, ok := e.Attributes[p.attribute]; ok {
				at := r.beginSeal(p.pointer)
				if r.buf, err = appendValue(r.buf, v, "attributes."+p.attribute, attributesDepth+1); err != nil {
					return err
				}
				r.endSeal(p.pointer, at)
			}
			continue
		}
		value := ""
		if p.field != sealOriginal {
			value = *p.field.of(e)
		} else if len(e.Original) > 0 {
			value = originalText(e.Original)
		}
		if value == "" {
			continue
		}
		at := r.beginSeal(p.pointer)
		var ok bool
		if r.buf, ok = appendString(r.buf, value); !ok {
			return &FieldError{Field: strings.ReplaceAll(p.pointer[1:], "/", "."), Rule: "not valid UTF-8"}
		}
		r.endSeal(p.pointer, at)
	}
	return nil
}

// disclose puts a disclosed value in its place. It fails when the place is
// taken: a field is either clear or sealed.
func disclose(e *Event, pointer string, value []byte) error {
	s := scanner{data: value, path: []string{pointer}, depth: attributesDepth}
	v := s.value()
	s.end()
	if s.err != nil {
		return s.err
	}
	if name, ok := attributeName(pointer); ok {
		if _, clear := e.Attributes[name]; clear {
			return fmt.Errorf("%s is both clear and sealed", pointer)
		}
		if e.Attributes == nil {
			e.Attributes = map[string]any{}
		}
		e.Attributes[name] = v
		return nil
	}
	text, ok := v.(string)
	if !ok || text == "" {
		return fmt.Errorf("%s is not a string", pointer)
	}
	if pointer == "/original" {
		b, err := originalBytes(text)
		if err != nil {
			return err
		}
		e.Original = b
		return nil
	}
	for i := range sealable {
		if f := &sealable[i]; f.pointer == pointer {
			if *f.field.of(e) != "" {
				return fmt.Errorf("%s is both clear and sealed", pointer)
			}
			*f.field.of(e) = text
			return nil
		}
	}
	return fmt.Errorf("%s cannot be sealed", pointer)
}
