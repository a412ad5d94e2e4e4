package attestlog

import (
	"strconv"
	"strings"
)

// number reads a number.
func (s *scanner) number() float64 {
	s.peek()
	start := s.pos
	digits := func() bool {
		from := s.pos
		for s.pos < len(s.data) && s.data[s.pos]-'0' <= 9 {
			s.pos++
		}
		return s.pos > from
	}
	next := func(set string) bool {
		if s.pos < len(s.data) && strings.IndexByte(set, s.data[s.pos]) >= 0 {
			s.pos++
			return true
		}
		return false
	}
	next("-")
	if !next("0") && !digits() {
		s.syntax()
		return 0
	}
	if next(".") && !digits() {
		s.syntax()
		return 0
	}
	if next("eE") {
		next("+-")
		if !digits() {
			s.syntax()
			return 0
		}
	}
	f, err := strconv.ParseFloat(string(s.data[start:s.pos]), 64)
	if err != nil || f <= -maxNumber || f >= maxNumber {
		s.fail("a number of magnitude 2^53 or more")
		return 0
	}
	return f
}

// value reads any value, numbers as float64.
func (s *scanner) value() any {
	switch c := s.peek(); {
	case s.err != nil:
		return nil
	case c == '{':
		m := map[string]any{}
		s.enter('{')
		for k, first := s.key(true), true; k != nil; k = s.key(first) {
			first = false
			name := string(k)
			if _, dup := m[name]; dup {
				s.fail("duplicate name %q", name)
				return nil
			}
			m[name] = s.value()
		}
		return m
	case c == '[':
		a := []any{}
		s.enter('[')
		for first := true; s.item(first); first = false {
			a = append(a, s.value())
		}
		return a
	case c == '"':
		return string(s.str())
	case c == '-' || c-'0' <= 9:
		return s.number()
	}
	for _, lit := range [...]struct {
		text  string
		value any
	}{{"null", nil}, {"true", true}, {"false", false}} {
		if strings.HasPrefix(string(s.data[s.pos:min(len(s.data), s.pos+5)]), lit.text) {
			s.pos += len(lit.text)
			return lit.value
		}
	}
	s.syntax()
	return nil
}

// skip passes over any value that was checked before.
func (s *scanner) skip() {
	switch c := s.peek(); {
	case s.err != nil:
	case s.trusted && (c == '{' || c == '['):
		s.skipContainer()
	case c == '{':
		s.enter('{')
		for first := true; s.key(first) != nil; first = false {
			s.skip()
		}
	case c == '[':
		s.enter('[')
		for first := true; s.item(first); first = false {
			s.skip()
		}
	case c == '"':
		s.str()
	case s.trusted:
		for s.pos < len(s.data) && strings.IndexByte(",]}", s.data[s.pos]) < 0 {
			s.pos++
		}
	default:
		s.value()
	}
}

// skipContainer passes over an object or array by its brackets alone.
func (s *scanner) skipContainer() {
	depth := 0
	for i := s.pos; i < len(s.data); i++ {
		switch s.data[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				s.pos = i + 1
				return
			}
		case '"':
			for i++; i < len(s.data) && s.data[i] != '"'; i++ {
				if s.data[i] == '\\' {
					i++
				}
			}
		}
	}
	s.pos = len(s.data)
	s.syntax()
}
