package attestlog

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"time"
)

// A Leaf is a decoded leaf: the clear fields, the seals and the logged time.
type Leaf struct {
	Event      Event
	LoggedTime time.Time
	Sealed     []Seal
}

// ParseLeaf reads a leaf's exact bytes. It accepts what this package writes
// and nothing else: the same leaf is written back byte for byte.
func ParseLeaf(leaf []byte) (Leaf, error) {
	l, err := decodeLeaf(leaf)
	if err != nil {
		return Leaf{}, err
	}
	set := sealSet{fields: sealOriginal}
	w := leafWriter{buf: make([]byte, 0, len(leaf)), seals: &set, sealed: l.Sealed}
	e := l.Event
	if err := checkClear(&e, l.Sealed); err != nil {
		return Leaf{}, err
	}
	w.leaf(&e, string(appendTime(nil, l.LoggedTime, 6)))
	if w.err != nil {
		return Leaf{}, w.err
	}
	if string(w.buf) != string(leaf) {
		return Leaf{}, errors.New("leaf is not canonical (RFC 8785, or a rule of docs/format.md)")
	}
	return l, nil
}

// checkClear checks the rules of an event whose sealed fields are left out.
func checkClear(e *Event, sealed []Seal) error {
	probe := *e
	probe.Attributes = maps.Clone(e.Attributes)
	for i, s := range sealed {
		if i > 0 && !lessUTF16(sealed[i-1].Pointer, s.Pointer) {
			return errors.New("sealed: names are not in order")
		}
		if err := disclose(&probe, s.Pointer, sealProbe(s.Pointer)); err != nil {
			return err
		}
	}
	if e.ID == "" {
		return &FieldError{Field: "id", Rule: "required"}
	}
	if e.Time.IsZero() {
		return &FieldError{Field: "time", Rule: "required"}
	}
	return probe.check()
}

// sealProbe is a value that is valid wherever a seal may stand.
func sealProbe(pointer string) []byte {
	if pointer == "/source/ip" {
		return []byte(`"::"`)
	}
	return []byte(`"x"`)
}

// decodeLeaf reads a leaf without the proof that it is canonical.
func decodeLeaf(leaf []byte) (Leaf, error) {
	d := newDecoder(leaf)
	d.leaf = true
	d.event()
	d.end()
	if d.err == nil && d.version != 1 {
		d.fail("v is not 1")
	}
	return Leaf{d.e, d.logged, d.sealed}, d.err
}

// sealedEvent puts disclosures in their places, after checking each against
// its seal, and returns the pointers of those that are missing.
func (l *Leaf) sealedEvent(disclosures []Disclosure) (e Event, erased []string, err error) {
	e = l.Event
	found := 0
	for _, s := range l.Sealed {
		at := -1
		for i := range disclosures {
			if disclosures[i].Pointer == s.Pointer {
				at = i
			}
		}
		if at < 0 {
			erased = append(erased, s.Pointer)
			continue
		}
		found++
		if disclosures[at].Digest() != s.Digest {
			return e, erased, fmt.Errorf("disclosure %s does not match its seal", s.Pointer)
		}
		if err := disclose(&e, s.Pointer, disclosures[at].Value); err != nil {
			return e, erased, err
		}
	}
	if found != len(disclosures) {
		return e, erased, errors.New("a disclosure without its seal")
	}
	return e, erased, nil
}

// LeafTime returns the time of a leaf, in nanoseconds since 1970, without
// decoding the rest. It reports false for what is not a leaf.
func LeafTime(leaf []byte) (int64, bool) {
	// The name's last occurrence is the leaf's own member: what stands behind
	// it has no names of the caller's, and inside strings quotes are escaped.
	const name = `"time":"`
	const size = len("2006-01-02T15:04:05.000000000Z")
	at := bytes.LastIndex(leaf, []byte(name)) + len(name)
	if at < len(name) || at+size >= len(leaf) || leaf[at+size] != '"' {
		return 0, false
	}
	return instant(leaf[at:at+size], 9)
}

// instant reads a time with a fixed number of fractional digits.
func instant(text []byte, digits int) (int64, bool) {
	end := len("2006-01-02T15:04:05.") + digits
	if len(text) != end+1 || text[end] != 'Z' {
		return 0, false
	}
	number := func(from, to int) (n int) {
		for _, c := range text[from:to] {
			n = n*10 + int(c-'0')
		}
		return n
	}
	seconds := int64(unixDay(number(0, 4), number(5, 7), number(8, 10)))*86_400 + int64(number(11, 13)*3_600+number(14, 16)*60+number(17, 19))
	frac := number(20, end)
	for i := digits; i < 9; i++ {
		frac *= 10
	}
	return seconds*int64(time.Second) + int64(frac), true
}

// unixDay returns the days from 1970-01-01 to a day of the Gregorian calendar, of
// which a year begins in March here.
func unixDay(year, month, day int) int {
	if month -= 3; month < 0 {
		year, month = year-1, month+12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*month+2)/5 + day - 719_469
}
