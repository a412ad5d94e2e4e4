package verify

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/idkey"
)

// leafFacts are what the verifier must know of a leaf. The slices alias it.
type leafFacts struct {
	id, tenant, service, action []byte
	time, logged                int64 // nanoseconds since 1970
	sealed                      []attestlog.Seal
}

// read gets the facts in one pass over the leaf's members. It checks what it
// needs, not that the leaf is canonical: attestlog.ParseLeaf does that.
func (f *leafFacts) read(leaf []byte) error {
	*f = leafFacts{sealed: f.sealed[:0]}
	var when, logged []byte

	s := canon.Scanner{Data: leaf, Trusted: true}
	for name := range s.Members() {
		switch string(name) {
		case "time":
			when = s.Text()
		case "logged_time":
			logged = s.Text()
		case "id":
			f.id = s.Text()
		case "tenant":
			f.tenant = s.Text()
		case "service":
			f.service = s.Text()
		case "action":
			f.action = s.Text()
		case "sealed":
			f.seals(&s)
		default:
			s.Skip()
		}
	}
	s.End()
	if s.Err != nil {
		return s.Err
	}

	// Without these, the entry has no key and no place in time.
	var ok bool
	f.time, ok = canon.ParseTime(when, 9)
	if !ok {
		return errors.New("has no time")
	}
	f.logged, ok = canon.ParseTime(logged, 6)
	if !ok {
		return errors.New("has no logged_time")
	}
	if len(f.id) == 0 {
		return errors.New("has no id")
	}
	return nil
}

func (f *leafFacts) seals(s *canon.Scanner) {
	for pointer := range s.Members() {
		seal := attestlog.Seal{Pointer: string(pointer)}
		text := s.Text()

		var digest [33]byte // one byte more than a digest has in base64's 44
		if len(text) != base64.StdEncoding.EncodedLen(len(seal.Digest)) {
			s.Fail("seal %s is not 32 bytes in base64", pointer)
			return
		}
		n, err := base64.StdEncoding.Strict().Decode(digest[:], text)
		if err != nil || n != len(seal.Digest) {
			s.Fail("seal %s is not 32 bytes in base64", pointer)
			return
		}

		copy(seal.Digest[:], digest[:])
		f.sealed = append(f.sealed, seal)
	}
}

// key returns the key of the entry's id.
func (f *leafFacts) key() attestlog.IDKey {
	return idkey.Of(f.id, f.time, f.tenant, f.service)
}

// missing checks the disclosures against the seals and returns the pointers of
// those that are not there. Both are in the same order.
func (f *leafFacts) missing(disclosures []attestlog.Disclosure) ([]string, error) {
	var missing []string
	next := 0
	for i := range f.sealed {
		seal := &f.sealed[i]
		if next == len(disclosures) || disclosures[next].Pointer != seal.Pointer {
			missing = append(missing, seal.Pointer)
			continue
		}
		if disclosures[next].Digest() != seal.Digest {
			return nil, fmt.Errorf("disclosure %s does not match its seal", seal.Pointer)
		}
		next++
	}

	if next < len(disclosures) {
		return nil, fmt.Errorf("disclosure %s has no seal", disclosures[next].Pointer)
	}
	return missing, nil
}
