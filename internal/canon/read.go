package canon

import (
	"bytes"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A Scanner reads JSON strictly, part by part, from Data on at Pos. The first
// error sticks in Err; every method does nothing after it, and iterators end.
//
// It accepts white space, and names in any order: that a text is canonical is
// found out by writing again what was read.
type Scanner struct {
	Data  []byte
	Pos   int
	Depth int      // of the containers around Pos
	Path  []string // names of the enclosing values, for errors
	Err   error    // of type *Error

	// Trusted says that the text was checked when it was written. Then the
	// scanner only finds its parts, and Skip passes over containers by their
	// brackets alone.
	Trusted bool
}

// Fail records an error at the current path, unless there is one already.
func (s *Scanner) Fail(format string, args ...any) {
	if s.Err == nil {
		s.Err = &Error{strings.Join(s.Path, "."), fmt.Sprintf(format, args...)}
	}
}

// unexpected fails because of the byte at Pos, or the end there.
func (s *Scanner) unexpected() {
	if s.Err != nil {
		return
	}
	if s.Pos >= len(s.Data) {
		s.Fail("not JSON: unexpected end at byte %d", s.Pos)
		return
	}
	s.Fail("not JSON: unexpected %q at byte %d", s.Data[s.Pos], s.Pos)
}

func (s *Scanner) skipSpace() {
	for s.Pos < len(s.Data) {
		switch s.Data[s.Pos] {
		case ' ', '\t', '\n', '\r':
			s.Pos++
		default:
			return
		}
	}
}

// Peek returns the next byte that is not white space, or 0 at the end.
func (s *Scanner) Peek() byte {
	if s.Pos < len(s.Data) && s.Data[s.Pos] > ' ' {
		return s.Data[s.Pos]
	}

	s.skipSpace()
	if s.Err != nil || s.Pos >= len(s.Data) {
		return 0
	}
	return s.Data[s.Pos]
}

// accept reads c if it comes next.
func (s *Scanner) accept(c byte) bool {
	if s.Err == nil && s.Peek() == c {
		s.Pos++
		return true
	}
	return false
}

func (s *Scanner) expect(c byte) {
	if !s.accept(c) {
		s.unexpected()
	}
}

// End fails unless only white space follows.
func (s *Scanner) End() {
	if s.Err != nil {
		return
	}
	s.skipSpace()
	if s.Pos < len(s.Data) {
		s.unexpected()
	}
}

func (s *Scanner) enter(bracket byte) {
	s.Depth++
	if s.Depth > MaxDepth {
		s.Fail("nested deeper than %d", MaxDepth)
	}
	s.expect(bracket)
}

// Members reads an object: it yields each name, in the order of the text. The
// caller reads the value that follows before it goes on to the next name. A
// name may alias Data; duplicates are the caller's to find.
func (s *Scanner) Members() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		s.enter('{')
		first := true
		for {
			name := s.name(first)
			if name == nil || !yield(name) {
				return
			}
			first = false
		}
	}
}

// Items reads an array: it yields once for each value, which the caller reads.
func (s *Scanner) Items() iter.Seq[struct{}] {
	return func(yield func(struct{}) bool) {
		s.enter('[')
		first := true
		for s.item(first) && yield(struct{}{}) {
			first = false
		}
	}
}

// name returns the next name of the object, with its colon read, or nil at the
// object's end and after an error.
func (s *Scanner) name(first bool) []byte {
	if s.Err != nil {
		return nil
	}

	// Text that somebody changed since it was trusted may lack its colon: what is
	// not found the quick way is read the strict way.
	if s.Trusted {
		name := s.trustedName(first)
		if name != nil {
			return name
		}
	}

	if s.accept('}') {
		s.Depth--
		return nil
	}
	if !first {
		s.expect(',')
	}
	name := s.Text()
	s.expect(':')
	if s.Err != nil {
		return nil
	}
	return name
}

// trustedName is name for one without escapes in text without white space. It
// returns nil, having read nothing, for anything else.
func (s *Scanner) trustedName(first bool) []byte {
	rest := s.Data[s.Pos:]
	start := 0
	if !first {
		if len(rest) == 0 || rest[0] != ',' {
			return nil
		}
		start = 1
	}
	if len(rest) <= start || rest[start] != '"' {
		return nil
	}
	start++

	for i := start; i < len(rest)-1; i++ {
		switch rest[i] {
		case '\\':
			return nil
		case '"':
			if rest[i+1] != ':' {
				return nil
			}
			s.Pos += i + 2
			return rest[start:i:i]
		}
	}
	return nil
}

// item reports whether the array holds another value.
func (s *Scanner) item(first bool) bool {
	if s.Err != nil {
		return false
	}
	if s.accept(']') {
		s.Depth--
		return false
	}
	if !first {
		s.expect(',')
	}
	return s.Err == nil
}

// empty is what Text returns for "", because nil stands for an error.
var empty = []byte{}

// Text reads a string. The result aliases Data unless something was escaped. It
// is nil after an error, and only then.
func (s *Scanner) Text() []byte {
	s.expect('"')
	if s.Err != nil {
		return nil
	}

	// Trusted text without escapes is found by its quotes.
	start := s.Pos
	if s.Trusted {
		n := bytes.IndexByte(s.Data[start:], '"')
		if n >= 0 && bytes.IndexByte(s.Data[start:start+n], '\\') < 0 {
			s.Pos += n + 1
			return s.Data[start : start+n]
		}
	}

	for s.Pos < len(s.Data) {
		c := s.Data[s.Pos]
		switch {
		case special[c] == 0:
			s.Pos++

		case c == '"':
			text := s.Data[start:s.Pos]
			s.Pos++
			if text == nil {
				text = empty
			}
			return text

		case c == '\\':
			return s.escapedText(start)

		case c < utf8.RuneSelf:
			s.failControl(c)
			return nil

		default:
			n := s.rune()
			if n == 0 {
				return nil
			}
			s.Pos += n
		}
	}
	s.unexpected()
	return nil
}

func (s *Scanner) failControl(c byte) {
	s.Fail("control character 0x%02x in a string at byte %d", c, s.Pos)
}

// rune returns the length of the character at Pos, or 0 with an error.
func (s *Scanner) rune() int {
	r, n := utf8.DecodeRune(s.Data[s.Pos:])
	if r == utf8.RuneError && n == 1 {
		s.Fail("not valid UTF-8 at byte %d", s.Pos)
		return 0
	}
	return n
}

// escapedText reads the rest of a string that began at start and whose first
// escape is at Pos.
func (s *Scanner) escapedText(start int) []byte {
	// The rest of the string is about as long as what came before, as a guess.
	text := make([]byte, 0, 2*(s.Pos-start)+16)
	text = append(text, s.Data[start:s.Pos]...)

	for s.Pos < len(s.Data) {
		c := s.Data[s.Pos]
		switch {
		case c == '"':
			s.Pos++
			return text

		case c == '\\':
			text = s.appendUnescaped(text)
			if s.Err != nil {
				return nil
			}

		case c < 0x20:
			s.failControl(c)
			return nil

		case c < utf8.RuneSelf:
			text = append(text, c)
			s.Pos++

		default:
			n := s.rune()
			if n == 0 {
				return nil
			}
			text = append(text, s.Data[s.Pos:s.Pos+n]...)
			s.Pos += n
		}
	}
	s.unexpected()
	return nil
}

// appendUnescaped reads the escape at Pos, for U+10000 and above a pair of them.
func (s *Scanner) appendUnescaped(text []byte) []byte {
	s.Pos++ // the backslash
	if s.Pos >= len(s.Data) {
		s.unexpected()
		return nil
	}

	c := s.Data[s.Pos]
	i := strings.IndexByte(`"\/bfnrt`, c)
	if i >= 0 {
		s.Pos++
		return append(text, "\"\\/\b\f\n\r\t"[i])
	}
	if c != 'u' {
		s.unexpected()
		return nil
	}

	r := s.hex4(s.Pos + 1)
	if s.Err != nil {
		return nil
	}
	if utf16.IsSurrogate(r) {
		low := rune(-1)
		if s.Pos+10 < len(s.Data) && s.Data[s.Pos+5] == '\\' && s.Data[s.Pos+6] == 'u' {
			low = s.hex4(s.Pos + 7)
		}
		r = utf16.DecodeRune(r, low)
		if r == utf8.RuneError {
			s.Fail("lone surrogate at byte %d", s.Pos-1)
			return nil
		}
		s.Pos += len(`uXXXX\`)
	}
	s.Pos += len(`uXXXX`)
	return utf8.AppendRune(text, r)
}

// hex4 returns the number that four hexadecimal digits are.
func (s *Scanner) hex4(pos int) rune {
	if pos+4 > len(s.Data) {
		s.Pos = len(s.Data)
		s.unexpected()
		return -1
	}

	n, err := strconv.ParseUint(string(s.Data[pos:pos+4]), 16, 16)
	if err != nil {
		s.Fail("not JSON: bad \\u escape at byte %d", pos)
		return -1
	}
	return rune(n)
}

// Number reads a number of magnitude below MaxNumber.
func (s *Scanner) Number() float64 {
	s.Peek()
	start := s.Pos
	if !s.passNumber() {
		s.unexpected()
		return 0
	}

	f, err := strconv.ParseFloat(string(s.Data[start:s.Pos]), 64)
	if err != nil || f <= -MaxNumber || f >= MaxNumber {
		s.Fail("%v", errNumber)
		return 0
	}
	return f
}

// passNumber moves Pos past a number (RFC 8259, Section 6), or to where it is
// none.
func (s *Scanner) passNumber() bool {
	s.passOne("-")
	if !s.passOne("0") && !s.passDigits() {
		return false
	}
	if s.passOne(".") && !s.passDigits() {
		return false
	}
	if s.passOne("eE") {
		s.passOne("+-")
		return s.passDigits()
	}
	return true
}

// passOne passes one byte of set, if it comes next.
func (s *Scanner) passOne(set string) bool {
	if s.Pos < len(s.Data) && strings.IndexByte(set, s.Data[s.Pos]) >= 0 {
		s.Pos++
		return true
	}
	return false
}

func (s *Scanner) passDigits() bool {
	start := s.Pos
	for s.Pos < len(s.Data) && s.Data[s.Pos]-'0' <= 9 {
		s.Pos++
	}
	return s.Pos > start
}

// Value reads any value: objects as map[string]any, without duplicate names,
// arrays as []any, numbers as float64.
func (s *Scanner) Value() any {
	c := s.Peek()
	if s.Err != nil {
		return nil
	}

	switch {
	case c == '{':
		return s.object()
	case c == '[':
		items := []any{}
		for range s.Items() {
			items = append(items, s.Value())
		}
		return items
	case c == '"':
		return string(s.Text())
	case c == '-' || c-'0' <= 9:
		return s.Number()
	}

	for _, literal := range [...]struct {
		text  string
		value any
	}{{"null", nil}, {"true", true}, {"false", false}} {
		if bytes.HasPrefix(s.Data[s.Pos:], []byte(literal.text)) {
			s.Pos += len(literal.text)
			return literal.value
		}
	}
	s.unexpected()
	return nil
}

func (s *Scanner) object() any {
	m := map[string]any{}
	for key := range s.Members() {
		name := string(key)
		if _, duplicate := m[name]; duplicate {
			s.Fail("duplicate name %q", name)
			return nil
		}
		m[name] = s.Value()
	}
	return m
}

// Raw passes over any value and returns its bytes, with the white space before
// it. They alias Data.
func (s *Scanner) Raw() []byte {
	start := s.Pos
	s.Skip()
	return s.Data[start:s.Pos:s.Pos]
}

// Skip passes over any value. Of one that is not trusted, it finds the errors
// that Value does, except for duplicate names.
func (s *Scanner) Skip() {
	c := s.Peek()
	switch {
	case s.Err != nil:
	case s.Trusted && (c == '{' || c == '['):
		s.skipContainer()
	case c == '{':
		for range s.Members() {
			s.Skip()
		}
	case c == '[':
		for range s.Items() {
			s.Skip()
		}
	case c == '"':
		s.Text()
	case s.Trusted:
		for s.Pos < len(s.Data) && strings.IndexByte(",]}", s.Data[s.Pos]) < 0 {
			s.Pos++
		}
	default:
		s.Value()
	}
}

// skipContainer passes over an object or array by its brackets alone.
func (s *Scanner) skipContainer() {
	// Brackets in strings do not count.
	depth := 0
	for i := s.Pos; i < len(s.Data); i++ {
		switch s.Data[i] {
		case '{', '[':
			depth++

		case '}', ']':
			depth--
			if depth == 0 {
				s.Pos = i + 1
				return
			}

		case '"':
			i++
			for i < len(s.Data) && s.Data[i] != '"' {
				if s.Data[i] == '\\' {
					i++
				}
				i++
			}
		}
	}

	s.Pos = len(s.Data)
	s.unexpected()
}
