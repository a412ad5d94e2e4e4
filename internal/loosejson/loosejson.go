// Package loosejson reads JSON as foreign programs write it, and loses nothing
// of it.
//
// It is not the reader that the log itself uses, which is strict: that one
// refuses repeated names, invalid UTF-8, lone surrogates, numbers that a float64
// does not hold, and values that are nested too deep, because what it reads is
// hashed and must mean one thing. A foreign record may have all of these, and
// must not be lost for it. This package keeps them as they are, and package fit
// puts them into an event.
package loosejson

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/attestlog/attestlog"
)

// MaxNest is how many containers deep an attribute's value may be: the event and
// its attributes are two of attestlog.MaxDepth.
const MaxNest = attestlog.MaxDepth - 2

// MaxValues bounds the values of a record: JSON values inside others, cells of a
// row, keys of a CEF extension.
const MaxValues = 100_000

// ErrTooMany is returned for a record of more than MaxValues values.
var ErrTooMany = fmt.Errorf("more than %d values", MaxValues)

// Repeated holds the values of a name that an object has more than once, in
// their order.
type Repeated []any

// A JSONText is the JSON text of a value that is nested too deep. Of its syntax,
// only brackets and strings have been checked.
type JSONText string

// MarshalJSON returns the text that was read, or a string of it if it is not
// JSON.
func (t JSONText) MarshalJSON() ([]byte, error) {
	if json.Valid([]byte(t)) {
		return []byte(t), nil
	}
	return json.Marshal(string(t))
}

// Add adds a value under a name. If the name has values already, all of them
// become a Repeated.
func Add(m map[string]any, name string, value any) {
	before, again := m[name]
	all, repeated := before.(Repeated)
	switch {
	case !again:
		m[name] = value
	case repeated:
		m[name] = append(all, value)
	default:
		m[name] = Repeated{before, value}
	}
}

// Put adds a value under a name that is not in the object: name, or name with as
// many underscores after it as that takes. It returns the name.
func Put(m map[string]any, name string, value any) string {
	for {
		if _, taken := m[name]; !taken {
			m[name] = value
			return name
		}
		name += "_"
	}
}

// Decode reads a JSON value. It accepts all that encoding/json accepts, and
// control characters within strings. The result differs where encoding/json
// would lose something:
//
//   - all values of a name that an object has more than once are in a Repeated;
//   - numbers are json.Number;
//   - strings hold their bytes as they are, valid UTF-8 or not, and a lone
//     surrogate as its three bytes;
//   - a container in more than MaxNest others is a JSONText.
//
// A value with more than MaxValues values inside it is ErrTooMany.
func Decode(data []byte) (any, error) {
	d := decoder{data: data}
	v := d.value(0)
	d.end()
	if d.err != nil {
		return nil, d.err
	}
	return v, nil
}

// A decoder reads data from pos on. Its first error ends the reading, and all
// later errors are dropped.
type decoder struct {
	data   []byte
	pos    int
	values int // that are inside others
	err    error
}

// syntax sets the error that the text at pos is not JSON.
func (d *decoder) syntax() {
	switch {
	case d.err != nil:
	case d.pos >= len(d.data):
		d.err = fmt.Errorf("not JSON: unexpected end at byte %d", d.pos)
	default:
		d.err = fmt.Errorf("not JSON: unexpected %q at byte %d", d.data[d.pos], d.pos)
	}
}

// space skips white space and returns the byte after it, or 0 at the end.
func (d *decoder) space() byte {
	for d.pos < len(d.data) {
		switch c := d.data[d.pos]; c {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return c
		}
	}
	return 0
}

// end expects the end of the data.
func (d *decoder) end() {
	d.space()
	if d.pos < len(d.data) {
		d.syntax()
	}
}

// accept skips c and the white space before it, if c is next.
func (d *decoder) accept(c byte) bool {
	if d.err == nil && d.space() == c && d.pos < len(d.data) {
		d.pos++
		return true
	}
	return false
}

func (d *decoder) expect(c byte) {
	if !d.accept(c) {
		d.syntax()
	}
}

// value reads a value inside depth containers.
func (d *decoder) value(depth int) any {
	if depth > 0 {
		d.values++
	}
	if d.values > MaxValues && d.err == nil {
		d.err = ErrTooMany
	}
	if d.err != nil {
		return nil
	}

	c := d.space()
	switch {
	case (c == '{' || c == '[') && depth > MaxNest:
		return d.deep()
	case c == '{':
		return d.object(depth)
	case c == '[':
		return d.array(depth)
	case c == '"':
		return d.str()
	case c == '-' || isDigit(c):
		return d.number()
	}

	switch {
	case d.literal("null"):
		return nil
	case d.literal("true"):
		return true
	case d.literal("false"):
		return false
	}
	d.syntax()
	return nil
}

func (d *decoder) literal(text string) bool {
	end := d.pos + len(text)
	if end > len(d.data) || string(d.data[d.pos:end]) != text {
		return false
	}
	d.pos = end
	return true
}

func (d *decoder) object(depth int) any {
	m := map[string]any{}
	d.expect('{')
	if d.accept('}') {
		return m
	}

	for d.err == nil {
		d.space()
		name := d.str()
		d.expect(':')
		Add(m, name, d.value(depth+1))

		if d.accept('}') {
			break
		}
		d.expect(',')
	}
	return m
}

func (d *decoder) array(depth int) any {
	a := []any{}
	d.expect('[')
	if d.accept(']') {
		return a
	}

	for d.err == nil {
		a = append(a, d.value(depth+1))

		if d.accept(']') {
			break
		}
		d.expect(',')
	}
	return a
}

// deep skips a container without recursion, so that no depth overflows the
// stack.
func (d *decoder) deep() any {
	start := d.pos
	var open []byte // the closing brackets that are missing

	for d.err == nil && d.pos < len(d.data) {
		switch c := d.data[d.pos]; c {
		case '"':
			d.skipString()
			continue

		case '{', '[':
			open = append(open, closing(c))

		case '}', ']':
			if open[len(open)-1] != c {
				d.syntax()
				return nil
			}
			open = open[:len(open)-1]
			if len(open) == 0 {
				d.pos++
				return JSONText(d.data[start:d.pos])
			}
		}
		d.pos++
	}

	d.syntax()
	return nil
}

// closing returns the closing bracket of an opening one. In ASCII it is two
// further.
func closing(bracket byte) byte { return bracket + 2 }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number reads a number (RFC 8259, Section 6).
func (d *decoder) number() any {
	start := d.pos
	digits := func() bool {
		from := d.pos
		for d.pos < len(d.data) && isDigit(d.data[d.pos]) {
			d.pos++
		}
		return d.pos > from
	}
	next := func(a, b byte) bool {
		if d.pos < len(d.data) && (d.data[d.pos] == a || d.data[d.pos] == b) {
			d.pos++
			return true
		}
		return false
	}

	next('-', '-')
	ok := next('0', '0') || digits() // nothing but a fraction may follow a leading zero
	if ok && next('.', '.') {
		ok = digits()
	}
	if ok && next('e', 'E') {
		next('+', '-')
		ok = digits()
	}
	if !ok {
		d.syntax()
	}
	return json.Number(d.data[start:d.pos])
}

// str reads a string.
func (d *decoder) str() string {
	if d.pos >= len(d.data) || d.data[d.pos] != '"' {
		d.syntax()
		return ""
	}

	d.pos++
	start := d.pos
	for d.pos < len(d.data) {
		switch d.data[d.pos] {
		case '"':
			d.pos++
			return string(d.data[start : d.pos-1])
		case '\\':
			return d.escaped(start)
		}
		d.pos++
	}
	d.syntax()
	return ""
}

// escaped reads the rest of a string that begins at start and has its first
// escape at pos.
func (d *decoder) escaped(start int) string {
	out := append([]byte(nil), d.data[start:d.pos]...)
	for d.err == nil && d.pos < len(d.data) {
		c := d.data[d.pos]
		switch c {
		case '"':
			d.pos++
			return string(out)
		case '\\':
			d.pos++
			out = d.escape(out)
		default:
			out = append(out, c)
			d.pos++
		}
	}
	d.syntax()
	return ""
}

// escape appends what an escape stands for, whose backslash has been read.
func (d *decoder) escape(out []byte) []byte {
	if d.pos >= len(d.data) {
		d.syntax()
		return out
	}

	c := d.data[d.pos]
	switch c {
	case '"', '\\', '/': // stand for themselves
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return d.unicode(out)
	default:
		d.syntax()
		return out
	}
	d.pos++
	return append(out, c)
}

// unicode reads the rest of a \u escape, and the next one too if they are a
// surrogate pair.
func (d *decoder) unicode(out []byte) []byte {
	r, ok := d.hex4(d.pos + 1)
	if !ok {
		d.syntax()
		return out
	}
	d.pos += len("u0000")
	if !utf16.IsSurrogate(r) {
		return utf8.AppendRune(out, r)
	}

	if d.pos+1 < len(d.data) && d.data[d.pos] == '\\' && d.data[d.pos+1] == 'u' {
		if low, ok := d.hex4(d.pos + 2); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				d.pos += len(`\u0000`)
				return utf8.AppendRune(out, pair)
			}
		}
	}

	// A lone surrogate. AppendRune would write U+FFFD instead.
	return append(out, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
}

// hex4 reads the four hexadecimal digits at pos.
func (d *decoder) hex4(pos int) (rune, bool) {
	if pos+4 > len(d.data) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(d.data[pos:pos+4]), 16, 16)
	return rune(n), err == nil
}
