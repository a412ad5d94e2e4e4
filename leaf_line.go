package attestlog

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/attestlog/attestlog/internal/canon"
)

// AppendLine appends an entry as one line of JSON, without the line's end: the
// leaf's bytes verbatim, and the disclosures unless there are none.
//
//	{"index":7,"leaf":{…},"disclosures":{"/source/ip":{"salt":"…","value":"…"}}}
//
// A damaged entry has, in their place, what is wrong with it:
//
//	{"index":7,"damaged":"leaf: missing"}
func AppendLine(dst []byte, r *RawEntry) []byte {
	dst = append(dst, `{"index":`...)
	dst = strconv.AppendUint(dst, r.Index, 10)
	if r.Err != nil {
		dst = append(dst, `,"damaged":`...)
		dst, _ = canon.AppendString(dst, damageText(r.Err)) // which makes it valid UTF-8
		return append(dst, '}')
	}
	dst = append(dst, `,"leaf":`...)
	dst = append(dst, r.Leaf...)

	for i := range r.Disclosures {
		d := &r.Disclosures[i]
		if i == 0 {
			dst = append(dst, `,"disclosures":{`...)
		} else {
			dst = append(dst, ',')
		}
		dst, _ = canon.AppendString(dst, d.Pointer) // valid UTF-8, or it would not be stored
		dst = append(dst, `:{"salt":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, d.Salt[:])
		dst = append(dst, `","value":`...)
		dst = append(dst, d.Value...)
		dst = append(dst, '}')
	}
	if len(r.Disclosures) > 0 {
		dst = append(dst, '}')
	}

	return append(dst, '}')
}

// damageText says what is wrong with an entry. It may quote what somebody has written
// into the store.
func damageText(err error) string {
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		err = corrupt.Err
	}
	if corrupt != nil && corrupt.Where != "" {
		err = fmt.Errorf("%s: %w", corrupt.Where, corrupt.Err)
	}
	return storable(err).Error()
}

// damage is what damageText was made of.
func damage(index uint64, text string) *CorruptError {
	where, what, ok := strings.Cut(text, ": ")
	if !ok {
		where, what = "", text
	}
	return &CorruptError{index, where, errors.New(what)}
}

// ParseLine reads what AppendLine writes, and nothing else: the same line is
// written back byte for byte. The entry's leaf aliases line.
func ParseLine(line []byte) (RawEntry, error) {
	var r RawEntry
	damagedAs, isDamaged := "", false
	s := canon.Scanner{Data: line}
	for name := range s.Members() {
		switch string(name) {
		case "index":
			r.Index = uint64(s.Number())
		case "leaf":
			r.Leaf = s.Raw()
		case "disclosures":
			r.Disclosures = readDisclosures(&s)
		case "damaged":
			damagedAs = string(s.Text())
			isDamaged = true
		default:
			s.Fail("unknown name %q in a line", name)
		}
	}
	s.End()
	if s.Err != nil {
		return RawEntry{}, fieldError(s.Err)
	}
	if isDamaged {
		r.Err = damage(r.Index, damagedAs)
	}

	if !bytes.Equal(AppendLine(make([]byte, 0, len(line)), &r), line) {
		return RawEntry{}, errors.New("line is not in the form of docs/format.md")
	}
	return r, nil
}

func readDisclosures(s *canon.Scanner) []Disclosure {
	var out []Disclosure
	for pointer := range s.Members() {
		d := Disclosure{Pointer: string(pointer)}
		for name := range s.Members() {
			switch string(name) {
			case "salt":
				salt, err := base64.StdEncoding.Strict().DecodeString(string(s.Text()))
				if err != nil || len(salt) != len(d.Salt) {
					s.Fail("salt is not 16 bytes in base64")
				}
				copy(d.Salt[:], salt)
			case "value":
				d.Value = s.Raw()
			default:
				s.Fail("unknown name %q in a disclosure", name)
			}
		}
		out = append(out, d)
	}
	return out
}
