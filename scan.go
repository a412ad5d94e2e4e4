package attestlog

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A scanner reads JSON strictly: one value, valid UTF-8, no lone surrogates, no
// duplicate names, no number of magnitude 2^53 or more, bounded depth. The
// first error sticks in err; every method is a no-op after it.
type scanner struct {
	data  []byte
	pos   int
	depth int
	path  []string // names of the enclosing fields, for errors
	err   error

	trusted bool // the text was checked when it was written: only find its parts
}

func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = &FieldError{Field: strings.Join(s.path, "."), Rule: fmt.Sprintf(format, args...)}
	}
}

func (s *scanner) syntax() {
	switch {
	case s.err != nil:
	case s.pos >= len(s.data):
		s.fail("not JSON: unexpected end at byte %d", s.pos)
	default:
		s.fail("not JSON: unexpected %q at byte %d", s.data[s.pos], s.pos)
	}
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek returns the next byte that is not white space, or 0 at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) && s.data[s.pos] > ' ' {
		return s.data[s.pos]
	}
	s.space()
	if s.err != nil || s.pos >= len(s.data) {
		return 0
	}
	return s.data[s.pos]
}

// accept consumes c if it comes next.
func (s *scanner) accept(c byte) bool {
	if s.err == nil && s.peek() == c {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) expect(c byte) {
	if !s.accept(c) {
		s.syntax()
	}
}

// end fails unless only white space is left.
func (s *scanner) end() {
	if s.err == nil && s.peek() != 0 || s.err == nil && s.pos < len(s.data) {
		s.syntax()
	}
}

// enter opens an object or array; leave is called by key and item at its end.
func (s *scanner) enter(c byte) {
	if s.depth++; s.depth > MaxDepth {
		s.fail("nested deeper than %d", MaxDepth)
	}
	s.expect(c)
}

// key returns the next name of the object, with its colon consumed, or nil at
// the object's end and after an error. first is true for the first call.
func (s *scanner) key(first bool) []byte {
	if s.err != nil {
		return nil
	}
	if s.trusted {
		if name := s.trustedKey(first); name != nil {
			return name
		}
	}
	if s.accept('}') {
		s.depth--
		return nil
	}
	if !first {
		s.expect(',')
	}
	name := s.str()
	s.expect(':')
	if s.err != nil {
		return nil
	}
	return name
}

// trustedKey is key for a name without escapes in text without white space; it
// returns nil, having read nothing, for anything else.
func (s *scanner) trustedKey(first bool) []byte {
	rest := s.data[s.pos:]
	at := 0
	if !first {
		if len(rest) == 0 || rest[0] != ',' {
			return nil
		}
		at = 1
	}
	if len(rest) <= at || rest[at] != '"' {
		return nil
	}
	at++
	for i := at; i < len(rest)-1; i++ {
		switch rest[i] {
		case '\\':
			return nil
		case '"':
			if rest[i+1] != ':' {
				return nil
			}
			s.pos += i + 2
			return rest[at:i:i]
		}
	}
	return nil
}

// item reports whether the array holds another value.
func (s *scanner) item(first bool) bool {
	if s.err != nil {
		return false
	}
	if s.accept(']') {
		s.depth--
		return false
	}
	if !first {
		s.expect(',')
	}
	return s.err == nil
}

var noBytes = []byte{}

// str reads a string. The result aliases the input where nothing was escaped.
func (s *scanner) str() []byte {
	s.expect('"')
	if s.err != nil {
		return nil
	}
	start := s.pos
	if s.trusted {
		if n := bytes.IndexByte(s.data[start:], '"'); n >= 0 && bytes.IndexByte(s.data[start:start+n], '\\') < 0 {
			s.pos += n + 1
			return s.data[start : start+n]
		}
	}
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		if special[c] == 0 {
			s.pos++
			continue
		}
		if c < utf8.RuneSelf {
			switch {
			case c == '"':
				out := s.data[start:s.pos]
				s.pos++
				if out == nil {
					out = noBytes
				}
				return out
			case c == '\\':
				return s.escaped(start)
			default:
				s.fail("control character 0x%02x in a string at byte %d", c, s.pos)
				return nil
			}
		}
		r, n := utf8.DecodeRune(s.data[s.pos:])
		if r == utf8.RuneError && n == 1 {
			s.fail("not valid UTF-8 at byte %d", s.pos)
			return nil
		}
		s.pos += n
	}
	s.syntax()
	return nil
}

// escaped reads the rest of a string whose first escape is at pos.
func (s *scanner) escaped(start int) []byte {
	out := append(make([]byte, 0, 2*(s.pos-start)+16), s.data[start:s.pos]...)
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		switch {
		case c == '"':
			s.pos++
			return out
		case c == '\\':
			out = s.escape(out)
			if s.err != nil {
				return nil
			}
		case c < 0x20:
			s.fail("control character 0x%02x in a string at byte %d", c, s.pos)
			return nil
		case c < utf8.RuneSelf:
			out = append(out, c)
			s.pos++
		default:
			r, n := utf8.DecodeRune(s.data[s.pos:])
			if r == utf8.RuneError && n == 1 {
				s.fail("not valid UTF-8 at byte %d", s.pos)
				return nil
			}
			out = append(out, s.data[s.pos:s.pos+n]...)
			s.pos += n
		}
	}
	s.syntax()
	return nil
}

func (s *scanner) escape(out []byte) []byte {
	s.pos++
	if s.pos >= len(s.data) {
		s.syntax()
		return nil
	}
	c := s.data[s.pos]
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		s.pos++
		return append(out, "\"\\/\b\f\n\r\t"[i])
	}
	if c != 'u' {
		s.syntax()
		return nil
	}
	r := s.hex4(s.pos + 1)
	if utf16.IsSurrogate(r) {
		low := rune(-1)
		if s.pos+10 < len(s.data) && s.data[s.pos+5] == '\\' && s.data[s.pos+6] == 'u' {
			low = s.hex4(s.pos + 7)
		}
		r = utf16.DecodeRune(r, low)
		if r == utf8.RuneError {
			s.fail("lone surrogate at byte %d", s.pos-1)
			return nil
		}
		s.pos += 6
	}
	s.pos += 5
	return utf8.AppendRune(out, r)
}

func (s *scanner) hex4(at int) rune {
	if at+4 > len(s.data) {
		s.pos = len(s.data)
		s.syntax()
		return -1
	}
	n, err := strconv.ParseUint(string(s.data[at:at+4]), 16, 16)
	if err != nil {
		s.fail("not JSON: bad \\u escape at byte %d", at)
		return -1
	}
	return rune(n)
}
