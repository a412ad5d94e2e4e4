package attestlog

import (
	"crypto/sha256"
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
	return sha256.Sum256(d.appendSealed(room[:0]))
}

// appendSealed appends what a seal is the digest of.
func (d *Disclosure) appendSealed(dst []byte) []byte {
	dst = append(dst, sealDomain...)
	dst = append(dst, d.Salt[:]...)
	dst = appendLength(dst, d.Pointer)
	return appendLength(dst, d.Value)
}

// appendDigest appends a digest in base64, 12 bits at a time.
func appendDigest(dst []byte, digest *[32]byte) []byte {
	var out [44]byte
	for i, k := 0, 0; i < 30; i, k = i+3, k+4 {
		v := uint32(digest[i])<<16 | uint32(digest[i+1])<<8 | uint32(digest[i+2])
		*(*[2]byte)(out[k:]) = base64Pairs[v>>12]
		*(*[2]byte)(out[k+2:]) = base64Pairs[v&0xfff]
	}
	v := uint32(digest[30])<<10 | uint32(digest[31])<<2 // 18 bits
	*(*[2]byte)(out[40:]) = base64Pairs[v>>6]
	out[42], out[43] = base64Pairs[v&0x3f][1], '='
	return append(dst, out[:]...)
}

// base64Pairs are the two digits of each number of 12 bits.
var base64Pairs = func() (t [1 << 12][2]byte) {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range t {
		t[i] = [2]byte{digits[i>>6], digits[i&0x3f]}
	}
	return t
}()

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
}{
	{"/actor/id", sealActorID},
	{"/actor/name", sealActorName},
	{"/actor/on_behalf_of", sealActorOnBehalfOf},
	{"/actor/session", sealActorSession},
	{"/message", sealMessage},
	{"/original", sealOriginal},
	{"/reason", sealReason},
	{"/request/path", sealRequestPath},
	{"/source/host", sealSourceHost},
	{"/source/ip", sealSourceIP},
	{"/source/user_agent", sealSourceUserAgent},
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

// any reports whether e has a field that s seals.
func (s *sealSet) any(e *Event) bool {
	if len(e.Original) > 0 {
		return true
	}
	for i := range sealable {
		if f := sealable[i].field; s.has(f) && f != sealOriginal && *f.of(e) != "" {
			return true
		}
	}
	for name := range s.attributes {
		if _, ok := e.Attributes[name]; ok {
			return true
		}
	}
	return false
}

// seal returns the seals of e's fields, in the order that a leaf lists them, and
// their disclosures. The seals are r's.
func (s *sealSet) seal(r *room, e *Event) ([]Seal, []Disclosure, error) {
	var mem struct { // in one piece, which most events fill
		disclosures [3]Disclosure
		values      [192]byte
	}
	keep := &mem
	out := sealer{room: r, values: keep.values[:0], seals: r.seals[:0], disclosures: keep.disclosures[:0]}
	if len(e.Original) > 0 {
		out.values = make([]byte, 0, 256+len(e.Original))
	}
	for i := range sealable {
		f := &sealable[i]
		value := ""
		switch {
		case f.field == sealOriginal && len(e.Original) > 0:
			value = originalText(e.Original)
		case f.field != sealOriginal && s.has(f.field):
			value = *f.field.of(e)
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
	room        *room
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
	s.room.random.Read(d.Salt[:])
	s.disclosures = append(s.disclosures, d)
	s.room.sealed = d.appendSealed(s.room.sealed[:0])
	s.seals = append(s.seals, Seal{pointer, sha256.Sum256(s.room.sealed)})
	if cap(s.room.sealed) > 4096 { // an original, which few events have
		s.room.sealed = nil
	}
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
