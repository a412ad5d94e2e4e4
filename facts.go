package attestlog

import (
	"encoding/base64"
	"errors"
	"fmt"
)

// leafFacts are what the verifier must know of a leaf. The slices alias it.
type leafFacts struct {
	id, tenant, service, action []byte
	time, logged                int64
	sealed                      []Seal
}

// read gets the facts in one pass over the leaf's members. It checks what it
// needs, not that the leaf is canonical: ParseLeaf does that.
func (f *leafFacts) read(leaf []byte) error {
	*f = leafFacts{sealed: f.sealed[:0]}
	s := scanner{data: leaf, trusted: true}
	s.enter('{')
	var at, logged []byte
	for k, first := s.key(true), false; k != nil; k = s.key(first) {
		switch string(k) {
		case "time":
			at = s.str()
		case "logged_time":
			logged = s.str()
		case "id":
			f.id = s.str()
		case "tenant":
			f.tenant = s.str()
		case "service":
			f.service = s.str()
		case "action":
			f.action = s.str()
		case "sealed":
			f.seals(&s)
		default:
			s.skip()
		}
	}
	s.end()
	if s.err != nil {
		return s.err
	}
	var ok bool
	if f.time, ok = instant(at, 9); !ok {
		return errors.New("has no time")
	}
	if f.logged, ok = instant(logged, 6); !ok {
		return errors.New("has no logged_time")
	}
	if len(f.id) == 0 {
		return errors.New("has no id")
	}
	return nil
}

func (f *leafFacts) seals(s *scanner) {
	s.enter('{')
	for k, first := s.key(true), false; k != nil; k = s.key(first) {
		var room [33]byte
		seal := Seal{Pointer: string(k)}
		text := s.str()
		if len(text) != 44 {
			s.fail("seal %s is not 32 bytes in base64", k)
			return
		}
		n, err := base64.StdEncoding.Strict().Decode(room[:], text)
		if err != nil || n != len(seal.Digest) {
			s.fail("seal %s is not 32 bytes in base64", k)
			return
		}
		copy(seal.Digest[:], room[:])
		f.sealed = append(f.sealed, seal)
	}
}

func (f *leafFacts) key() IDKey {
	if key, ok := uuidV7(f.id); ok {
		return key
	}
	return hashedKey(f.id, f.time, f.tenant, f.service)
}

// missing checks the disclosures against the seals and returns the pointers
// of those that are not there.
func (f *leafFacts) missing(disclosures []Disclosure) ([]string, error) {
	if len(f.sealed) == 0 && len(disclosures) == 0 {
		return nil, nil
	}
	var missing []string
	next := 0
	for i := range f.sealed {
		s := &f.sealed[i]
		if next == len(disclosures) || disclosures[next].Pointer != s.Pointer {
			missing = append(missing, s.Pointer)
			continue
		}
		if disclosures[next].Digest() != s.Digest {
			return nil, fmt.Errorf("disclosure %s does not match its seal", s.Pointer)
		}
		next++
	}
	if next < len(disclosures) {
		return nil, fmt.Errorf("disclosure %s has no seal", disclosures[next].Pointer)
	}
	return missing, nil
}
