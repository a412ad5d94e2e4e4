package attestlog

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/jsonpointer"
)

// DefaultSealed are the pointers that a log seals unless its Config says
// otherwise. "/original" is always sealed.
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

// Digest returns the digest that d's seal must hold.
func (d *Disclosure) Digest() [32]byte {
	var buf [512]byte // so that most values need no copy on the heap
	return sha256.Sum256(d.appendSealed(buf[:0]))
}

const sealDomain = "attestlog/v1/sealed\n"

// appendSealed appends the bytes of which a seal is the digest.
func (d *Disclosure) appendSealed(dst []byte) []byte {
	dst = appendSealHead(dst, &d.Salt, d.Pointer)
	return canon.AppendPrefixed(dst, d.Value)
}

// appendSealHead appends the bytes before the value.
func appendSealHead(dst []byte, salt *[16]byte, pointer string) []byte {
	dst = append(dst, sealDomain...)
	dst = append(dst, salt[:]...)
	return canon.AppendPrefixed(dst, pointer)
}

// cutSealed returns the disclosure that sealed begins with, as appendSealed
// wrote it, and the rest. The value aliases sealed.
func cutSealed(sealed []byte) (d Disclosure, rest []byte) {
	rest = sealed[len(sealDomain):]
	rest = rest[copy(d.Salt[:], rest):]

	pointer, rest := canon.CutPrefixed(rest)
	d.Pointer = pointerText(pointer)
	d.Value, rest = canon.CutPrefixed(rest)
	return d, rest
}

// pointerText returns a pointer as a string, which for a declared field is not a
// new one.
func pointerText(pointer []byte) string {
	for _, id := range field.Sealable() {
		declared := id.Field().Pointer()
		if declared == string(pointer) {
			return declared
		}
	}
	return string(pointer)
}

// A sealedPlace is where an event has a value that is sealed: an attribute, or
// else a declared field.
type sealedPlace struct {
	pointer     string
	path        string // dotted, for errors
	field       field.ID
	isAttribute bool
	attribute   string
}

// A sealSet says which fields are sealed. It is immutable. The zero sealSet
// seals nothing.
type sealSet struct {
	fields     field.Set
	attributes map[string]bool // top-level names
	places     []sealedPlace   // of both, in the order of the sealed object's names
}

// newSealSet checks pointers; "/original" is always among the result.
func newSealSet(pointers []string) (sealSet, error) {
	var set sealSet
	set.fields.Add(field.Original)
	for _, p := range pointers {
		err := set.add(p)
		if err != nil {
			return sealSet{}, fmt.Errorf("sealed pointer %q: %v", p, err)
		}
	}

	for _, id := range field.Sealable() {
		if set.fields.Has(id) {
			f := id.Field()
			set.places = append(set.places, sealedPlace{pointer: f.Pointer(), path: f.Path(), field: id})
		}
	}
	slices.SortFunc(set.places, func(a, b sealedPlace) int { return canon.CompareUTF16(a.pointer, b.pointer) })
	return set, nil
}

func (s *sealSet) add(pointer string) error {
	if !utf8.ValidString(pointer) {
		return fmt.Errorf("not valid UTF-8")
	}

	name, ok := attributeName(pointer)
	if ok {
		if s.attributes == nil {
			s.attributes = map[string]bool{}
		}
		if !s.attributes[name] {
			s.attributes[name] = true
			s.places = append(s.places, sealedPlace{pointer: pointer, path: "attributes." + name, isAttribute: true, attribute: name})
		}
		return nil
	}

	id, ok := field.ByPointer(pointer)
	if !ok || !id.Field().Sealable {
		return fmt.Errorf("not a field that can be sealed")
	}
	s.fields.Add(id)
	return nil
}

// has reports whether values under a pointer are sealed.
func (s *sealSet) has(pointer string) bool {
	name, ok := attributeName(pointer)
	if ok {
		return s.attributes[name]
	}
	id, ok := field.ByPointer(pointer)
	return ok && s.fields.Has(id)
}

const attributesPointer = "/attributes/"

// attributeName returns the top-level attribute that a pointer names.
func attributeName(pointer string) (string, bool) {
	token, ok := strings.CutPrefix(pointer, attributesPointer)
	if !ok || strings.Contains(token, "/") {
		return "", false
	}
	name := jsonpointer.Unescape(token)
	return name, jsonpointer.Escape(name) == token
}

// seal seals e's fields into s, in the order in which a leaf lists them.
func (set *sealSet) seal(s *scratch, e *Event) error {
	for i := range set.places {
		place := &set.places[i]
		if place.isAttribute {
			err := s.sealAttribute(place, e)
			if err != nil {
				return err
			}
			continue
		}

		text := ""
		if place.field != field.Original {
			text = *e.text(place.field)
		} else if len(e.Original) > 0 {
			text = originalText(e.Original)
		}
		// An absent field has no seal: whether there was one is no secret.
		if text == "" {
			continue
		}

		start := s.beginSeal(place.pointer)
		var ok bool
		s.buf, ok = canon.AppendString(s.buf, text)
		if !ok {
			return &FieldError{Field: place.path, Rule: "not valid UTF-8"}
		}
		s.endSeal(place.pointer, start)
	}
	return nil
}

func (s *scratch) sealAttribute(place *sealedPlace, e *Event) error {
	v, ok := e.Attributes[place.attribute]
	if !ok {
		return nil
	}

	start := s.beginSeal(place.pointer)
	var err error
	s.buf, err = canon.AppendValue(s.buf, v, place.path, attributesDepth+1)
	if err != nil {
		return fieldError(err)
	}
	s.endSeal(place.pointer, start)
	return nil
}

// disclose puts a disclosed value in its place. It fails if the place is taken:
// a field is either clear or sealed.
func disclose(e *Event, pointer string, value []byte) error {
	s := canon.Scanner{Data: value, Path: []string{pointer}, Depth: attributesDepth}
	v := s.Value()
	s.End()
	if s.Err != nil {
		return fieldError(s.Err)
	}

	name, ok := attributeName(pointer)
	if ok {
		_, clear := e.Attributes[name]
		if clear {
			return fmt.Errorf("%s is both clear and sealed", pointer)
		}
		if e.Attributes == nil {
			e.Attributes = map[string]any{}
		}
		e.Attributes[name] = v
		return nil
	}

	// Every declared field that can be sealed is a text, and an empty one would
	// have been absent.
	text, ok := v.(string)
	if !ok || text == "" {
		return fmt.Errorf("%s is not a string", pointer)
	}

	id, ok := field.ByPointer(pointer)
	switch {
	case !ok || !id.Field().Sealable:
		return fmt.Errorf("%s cannot be sealed", pointer)

	case id == field.Original:
		b, err := originalBytes(text)
		if err != nil {
			return &FieldError{Field: "original", Rule: err.Error()}
		}
		e.Original = b
		return nil
	}

	place := e.text(id)
	if *place != "" {
		return fmt.Errorf("%s is both clear and sealed", pointer)
	}
	*place = text
	return nil
}
