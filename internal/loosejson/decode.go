package loosejson

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/attestlog/attestlog"
)

// MaxNest is how many containers deep an attribute's value may be: the event
// and its attributes are two of attestlog.MaxDepth.
const MaxNest = attestlog.MaxDepth - 2

// Repeated holds the values of a name that an object has more than once, in
// their order.
type Repeated []any

// A JSONText is a value's JSON text, where the value is nested too deep. Only
// its brackets have been checked.
type JSONText string

// MaxValues bounds the values of a record: JSON values inside others, cells of a
// row, keys of a CEF extension.
const MaxValues = 100_000

// ErrTooMany is returned for a record of more than MaxValues values.
var ErrTooMany = fmt.Errorf("more than %d values", MaxValues)

// Decode reads JSON as foreign programs write it, and loses nothing that
// encoding/json does: objects are map[string]any with every value of a name
// that comes more than once in a Repeated; numbers are json.Number; strings
// hold the bytes as they are, valid UTF-8 or not, and a lone surrogate as its
// three bytes. Control characters in strings are let pass. Bound knows how to
// put all of it into an event. More than MaxValues values inside others are
// ErrTooMany.
func Decode(data []byte) (any, error) {
	d := decoder{data: data}
	v := d.value(0)
	if d.space(); d.err == nil && d.pos < len(d.data) {
		d.syntax()
	}
	if d.err != nil {
		return nil, d.err
	}
	return v, nil
}

// A decoder's first error sticks in err and ends the reading.
type decoder struct {
	data   []byte
	pos    int
	values int // inside others
	err    error
}

func (d *decoder) syntax() {
	switch {
	case d.err != nil:
	case d.pos >= len(d.data):
		d.err = fmt.Errorf("not JSON: unexpected end at byte %d", d.pos)
	default:
		d.err = fmt.Errorf("not JSON: unexpected %q at byte %d", d.data[d.pos], d.pos)
	}
}

// space skips white space and returns the byte behind it, or 0.
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
	switch c := d.space(); {
	case (c == '{' || c == '[') && depth > MaxNest:
		return d.deep()
	case c == '{':
		return d.object(depth)
	case c == '[':
		return d.array(depth)
	case c == '"':
		return d.str()
	case c == '-' || c-'0' <= 9:
		return d.number()
	}
	for _, lit := range [...]struct {
		text  string
		value any
	}{{"null", nil}, {"true", true}, {"false", false}} {
		if end := d.pos + len(lit.text); end <= len(d.data) && string(d.data[d.pos:end]) == lit.text {
			d.pos = end
			return lit.value
		}
	}
	d.syntax()
	return nil
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

// deep passes over a container without recursion.
func (d *decoder) deep() any {
	start := d.pos
	var open []byte
	for d.err == nil && d.pos < len(d.data) {
		switch c := d.data[d.pos]; c {
		case '"':
			d.skipString()
			continue
		case '{', '[':
			open = append(open, c+2) // ASCII has the closing bracket two further
		case '}', ']':
			if open[len(open)-1] != c {
				d.syntax()
				return nil
			}
			if open = open[:len(open)-1]; len(open) == 0 {
				d.pos++
				return JSONText(d.data[start:d.pos])
			}
		}
		d.pos++
	}
	d.syntax()
	return nil
}

func (d *decoder) number() any {
	start := d.pos
	digits := func() bool {
		from := d.pos
		for d.pos < len(d.data) && d.data[d.pos]-'0' <= 9 {
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
	ok := next('0', '0') || digits()
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

// escaped reads the rest of a string whose first escape is at pos.
func (d *decoder) escaped(start int) string {
	out := append([]byte(nil), d.data[start:d.pos]...)
	for d.err == nil && d.pos < len(d.data) {
		switch c := d.data[d.pos]; c {
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

func (d *decoder) escape(out []byte) []byte {
	if d.pos >= len(d.data) {
		d.syntax()
		return out
	}
	c := d.data[d.pos]
	switch c {
	case '"', '\\', '/':
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

// unicode reads the rest of a \u escape, and of the one behind it if they are
// a pair.
func (d *decoder) unicode(out []byte) []byte {
	r, ok := d.hex4(d.pos + 1)
	if !ok {
		d.syntax()
		return out
	}
	d.pos += 5
	if !utf16.IsSurrogate(r) {
		return utf8.AppendRune(out, r)
	}
	if d.pos+1 < len(d.data) && d.data[d.pos] == '\\' && d.data[d.pos+1] == 'u' {
		if low, ok := d.hex4(d.pos + 2); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				d.pos += 6
				return utf8.AppendRune(out, pair)
			}
		}
	}
	return append(out, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
}

func (d *decoder) hex4(at int) (rune, bool) {
	if at+4 > len(d.data) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(d.data[at:at+4]), 16, 16)
	return rune(n), err == nil
}

// Add adds a value under a name that may have others already: then all of them
// are a Repeated.
func Add(m map[string]any, name string, value any) {
	before, again := m[name]
	switch all, ok := before.(Repeated); {
	case !again:
		m[name] = value
	case ok:
		m[name] = append(all, value)
	default:
		m[name] = Repeated{before, value}
	}
}

// MarshalJSON keeps the text that was read, or quotes it if it is not JSON.
func (t JSONText) MarshalJSON() ([]byte, error) {
	if json.Valid([]byte(t)) {
		return []byte(t), nil
	}
	return json.Marshal(string(t))
}
