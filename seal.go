package attestlog

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
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
	b := append(room[:0], sealDomain...)
	b = append(b, d.Salt[:]...)
	b = appendLength(b, d.Pointer)
	b = appendLength(b, d.Value)
	return sha256.Sum256(b)
}

func appendDigest(dst []byte, digest [32]byte) []byte {
	return base64.StdEncoding.AppendEncode(dst, digest[:])
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

// sealable lists them in the order of their pointers' UTF-16 units, which is
// also the order of the sealed object's names.
var sealable = []struct {
	pointer string
	field   sealField
	of      func(*Event) *string
}{
	{"/actor/id", sealActorID, func(e *Event) *string { return &e.Actor.ID }},
	{"/actor/name", sealActorName, func(e *Event) *string { return &e.Actor.Name }},
	{"/actor/on_behalf_of", sealActorOnBehalfOf, func(e *Event) *string { return &e.Actor.OnBehalfOf }},
	{"/actor/session", sealActorSession, func(e *Event) *string { return &e.Actor.Session }},
	{"/message", sealMessage, func(e *Event) *string { return &e.Message }},
	{"/original", sealOriginal, nil},
	{"/reason", sealReason, func(e *Event) *string { return &e.Reason }},
	{"/request/path", sealRequestPath, func(e *Event) *string { return &e.Request.Path }},
	{"/source/host", sealSourceHost, func(e *Event) *string { return &e.Source.Host }},
	{"/source/ip", sealSourceIP, func(e *Event) *string { return &e.Source.IP }},
	{"/source/user_agent", sealSourceUserAgent, func(e *Event) *string { return &e.Source.UserAgent }},
}

const attributesPointer = "/attributes/"

// A sealSet says which fields are sealed. It is immutable.
type sealSet struct {
	fields     sealField
	attributes map[string]bool // top-level names
}

func (s *sealSet) has(f sealField) bool { return s.fields&f != 0 }

// newSealSet checks pointers; "/original" is always among the result.
func newSealSet(pointers []string) (sealSet, error) {
	set := sealSet{fields: sealOriginal}
	for _, p := range pointers {
		if name, ok := attributeName(p); ok {
			if set.attributes == nil {
				set.attributes = map[string]bool{}
			}
			set.attributes[name] = true
			continue
		}
		f, ok := fieldOf(p)
		if !ok {
			return sealSet{}, fmt.Errorf("sealed pointer %q: not a field that can be sealed", p)
		}
		set.fields |= f
	}
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

// any reports whether e has a field that s seals. It names the fields one by
// one because a call through sealable would move every event to the heap.
func (s *sealSet) any(e *Event) bool {
	if len(e.Original) > 0 ||
		s.has(sealActorID) && e.Actor.ID != "" ||
		s.has(sealActorName) && e.Actor.Name != "" ||
		s.has(sealActorOnBehalfOf) && e.Actor.OnBehalfOf != "" ||
		s.has(sealActorSession) && e.Actor.Session != "" ||
		s.has(sealMessage) && e.Message != "" ||
		s.has(sealReason) && e.Reason != "" ||
		s.has(sealRequestPath) && e.Request.Path != "" ||
		s.has(sealSourceHost) && e.Source.Host != "" ||
		s.has(sealSourceIP) && e.Source.IP != "" ||
		s.has(sealSourceUserAgent) && e.Source.UserAgent != "" {
		return true
	}
	for name := range s.attributes {
		if _, ok := e.Attributes[name]; ok {
			return true
		}
	}
	return false
}

// seal returns the seals of e's fields, in the order that a leaf lists them,
// and their disclosures.
func (s *sealSet) seal(e *Event, random *entropy) ([]Seal, []Disclosure, error) {
	out := sealer{
		random: random, values: make([]byte, 0, 256+len(e.Original)),
		seals: make([]Seal, 0, 4), disclosures: make([]Disclosure, 0, 4),
	}
	for i := range sealable {
		f := &sealable[i]
		value := ""
		switch {
		case f.field == sealOriginal && len(e.Original) > 0:
			value = originalText(e.Original)
		case f.field != sealOriginal && s.has(f.field):
			value = *f.of(e)
		}
		if value != "" {
			out.text(f.pointer, value)
		}
	}
	if len(s.attributes) == 0 {
		return out.seals, out.disclosures, out.err
	}
	for name := range s.attributes {
		if v, ok := e.Attributes[name]; ok && out.err == nil {
			at := len(out.values)
			out.values, out.err = appendValue(out.values, v, "attributes."+name, attributesDepth+1)
			out.add(attributePointer(name), at)
		}
	}
	slices.SortFunc(out.seals, func(a, b Seal) int { return compareUTF16(a.Pointer, b.Pointer) })
	slices.SortFunc(out.disclosures, func(a, b Disclosure) int { return compareUTF16(a.Pointer, b.Pointer) })
	return out.seals, out.disclosures, out.err
}

// A sealer collects seals; the first error sticks.
type sealer struct {
	random      *entropy
	values      []byte // of all disclosures
	seals       []Seal
	disclosures []Disclosure
	err         error
}

func (s *sealer) text(pointer, value string) {
	at := len(s.values)
	var ok bool
	if s.values, ok = appendString(s.values, value); !ok && s.err == nil {
		s.err = &FieldError{Field: strings.ReplaceAll(pointer[1:], "/", "."), Rule: "not valid UTF-8"}
	}
	s.add(pointer, at)
}

// add seals the value that was appended from at on.
func (s *sealer) add(pointer string, at int) {
	d := Disclosure{Pointer: pointer, Value: s.values[at:len(s.values):len(s.values)]}
	s.random.Read(d.Salt[:])
	s.disclosures = append(s.disclosures, d)
	s.seals = append(s.seals, Seal{pointer, d.Digest()})
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
		if f := &sealable[i]; f.pointer == pointer && f.of != nil {
			if *f.of(e) != "" {
				return fmt.Errorf("%s is both clear and sealed", pointer)
			}
			*f.of(e) = text
			return nil
		}
	}
	return fmt.Errorf("%s cannot be sealed", pointer)
}
