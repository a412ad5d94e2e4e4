package attestlog

import (
	"encoding/base64"
	"errors"
	"strconv"
)

// AppendLine appends an entry as one line of JSON, without the line's end: the
// leaf's bytes verbatim, and the disclosures unless there are none.
//
//	{"index":7,"leaf":{…},"disclosures":{"/source/ip":{"salt":"…","value":"…"}}}
func AppendLine(dst []byte, r *RawEntry) []byte {
	dst = append(dst, `{"index":`...)
	dst = strconv.AppendUint(dst, r.Index, 10)
	dst = append(dst, `,"leaf":`...)
	dst = append(dst, r.Leaf...)
	for i := range r.Disclosures {
		d := &r.Disclosures[i]
		if i == 0 {
			dst = append(dst, `,"disclosures":{`...)
		} else {
			dst = append(dst, ',')
		}
		dst, _ = appendString(dst, d.Pointer) // valid UTF-8, or it would not be stored
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

// ParseLine reads what AppendLine writes, and nothing else: the same line is
// written back byte for byte. The record's leaf aliases line.
func ParseLine(line []byte) (RawEntry, error) {
	var r RawEntry
	s := scanner{data: line}
	s.enter('{')
	for k, first := s.key(true), false; k != nil; k = s.key(first) {
		switch string(k) {
		case "index":
			r.Index = uint64(s.number())
		case "leaf":
			from := s.pos
			s.skip()
			r.Leaf = line[from:s.pos:s.pos]
		case "disclosures":
			r.Disclosures = s.disclosures()
		default:
			s.fail("unknown name %q in a line", k)
		}
	}
	s.end()
	if s.err != nil {
		return RawEntry{}, s.err
	}
	if string(AppendLine(make([]byte, 0, len(line)), &r)) != string(line) {
		return RawEntry{}, errors.New("line is not in the form of docs/format.md")
	}
	return r, nil
}

func (s *scanner) disclosures() []Disclosure {
	var out []Disclosure
	s.enter('{')
	for k, first := s.key(true), false; k != nil; k = s.key(first) {
		d := Disclosure{Pointer: string(k)}
		s.enter('{')
		for k, first := s.key(true), false; k != nil; k = s.key(first) {
			switch string(k) {
			case "salt":
				salt, err := base64.StdEncoding.Strict().DecodeString(string(s.str()))
				if err != nil || len(salt) != len(d.Salt) {
					s.fail("salt is not 16 bytes in base64")
				}
				copy(d.Salt[:], salt)
			case "value":
				from := s.pos
				s.skip()
				d.Value = s.data[from:s.pos:s.pos]
			default:
				s.fail("unknown name %q in a disclosure", k)
			}
		}
		out = append(out, d)
	}
	return out
}
