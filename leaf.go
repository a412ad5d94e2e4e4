package attestlog

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/merkle"
)

// A Hash is a SHA-256 hash of a leaf or a node (RFC 6962, Section 2.1).
type Hash = merkle.Hash

// LeafHash returns SHA-256(0x00 ‖ leaf).
func LeafHash(leaf []byte) Hash { return merkle.LeafHash(leaf) }

// A Leaf is a decoded leaf: the clear fields, the seals and the logged time.
type Leaf struct {
	Event      Event
	LoggedTime time.Time
	Sealed     []Seal
}

// loggedDigits and timeDigits are the fractional digits of a leaf's times.
const (
	loggedDigits = 6
	timeDigits   = 9
)

// ParseLeaf reads a leaf's exact bytes. It accepts what this package writes and
// nothing else: the same leaf is written back byte for byte.
func ParseLeaf(leaf []byte) (Leaf, error) {
	l, err := decodeLeaf(leaf)
	if err != nil {
		return Leaf{}, err
	}
	err = l.checkClear()
	if err != nil {
		return Leaf{}, err
	}

	// What was left out of the leaf is left out again because it is not in the
	// event: nothing but the original has to be sealed.
	w := leafWriter{buf: make([]byte, 0, len(leaf)), sealed: l.Sealed}
	w.leaf(&l.Event, string(canon.AppendTime(nil, l.LoggedTime, loggedDigits)))
	if w.err != nil {
		return Leaf{}, w.err
	}
	if !bytes.Equal(w.buf, leaf) {
		return Leaf{}, errors.New("leaf is not canonical (RFC 8785, or a rule of docs/format.md)")
	}
	return l, nil
}

// decodeLeaf reads a leaf without the proof that it is canonical.
func decodeLeaf(leaf []byte) (Leaf, error) {
	d := newDecoder(leaf)
	d.leaf = true
	d.event()
	d.End()
	if d.Err == nil && d.version != 1 {
		d.Fail("v is not 1")
	}
	return Leaf{d.e, d.logged, d.sealed}, fieldError(d.Err)
}

// checkClear checks the rules of an event whose sealed fields are left out.
func (l *Leaf) checkClear() error {
	probe := l.Event
	probe.Attributes = maps.Clone(probe.Attributes)
	for i, s := range l.Sealed {
		if i > 0 && !canon.LessUTF16(l.Sealed[i-1].Pointer, s.Pointer) {
			return errors.New("sealed: names are not in order")
		}
		err := disclose(&probe, s.Pointer, sealProbe(s.Pointer))
		if err != nil {
			return err
		}
	}

	if l.Event.ID == "" {
		return &FieldError{Field: "id", Rule: "required"}
	}
	if l.Event.Time.IsZero() {
		return &FieldError{Field: "time", Rule: "required"}
	}
	return probe.check()
}

// sealProbe returns a value that is valid wherever a seal may be.
func sealProbe(pointer string) []byte {
	id, ok := field.ByPointer(pointer)
	if ok {
		f := id.Field()
		switch {
		case f.Kind == field.Address:
			return []byte(`"::"`)
		case f.Values != nil:
			return []byte(`"` + f.Values[0] + `"`)
		}
	}
	return []byte(`"x"`)
}

// disclosed returns the event with the disclosures in their places, after
// checking each against its seal, and the pointers of those that are missing.
func (l *Leaf) disclosed(disclosures []Disclosure) (e Event, missing []string, err error) {
	e = l.Event
	found := 0
	for _, s := range l.Sealed {
		i := slices.IndexFunc(disclosures, func(d Disclosure) bool { return d.Pointer == s.Pointer })
		if i < 0 {
			missing = append(missing, s.Pointer)
			continue
		}

		found++
		if disclosures[i].Digest() != s.Digest {
			return e, missing, fmt.Errorf("disclosure %s does not match its seal", s.Pointer)
		}
		err := disclose(&e, s.Pointer, disclosures[i].Value)
		if err != nil {
			return e, missing, err
		}
	}

	if found != len(disclosures) {
		return e, missing, errors.New("a disclosure without its seal")
	}
	return e, missing, nil
}

// LeafTime returns the event's time of a leaf, in nanoseconds since 1970,
// without decoding the rest. It reports false for what is not a leaf.
func LeafTime(leaf []byte) (int64, bool) {
	// The last occurrence of the name is the leaf's own member: the members
	// after it have no names of the caller's, and inside strings quotes are
	// escaped.
	const name = `"time":"`
	const length = len("2006-01-02T15:04:05.000000000Z")
	start := bytes.LastIndex(leaf, []byte(name))
	if start < 0 {
		return 0, false
	}

	start += len(name)
	if start+length >= len(leaf) || leaf[start+length] != '"' {
		return 0, false
	}
	return canon.ParseTime(leaf[start:start+length], timeDigits)
}
