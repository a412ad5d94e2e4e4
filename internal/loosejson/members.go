package loosejson

import (
	"bytes"
	"fmt"
	"iter"
)

// A Member is one member of a JSON object. Raw and Text are parts of what was
// read.
type Member struct {
	Name string
	Raw  []byte // the value, without the white space around it
	Text []byte // the name, the colon and the value
}

// Members yields the members of a JSON object in their order, each name as
// often as it comes. It reads no more of the values than their brackets and
// strings, so a bad one spoils no other; Decode says whether a value is JSON. It
// yields an error for what is no member, and in the end for what is no object.
func Members(raw []byte) iter.Seq2[Member, error] {
	return func(yield func(Member, error) bool) {
		list(raw, '{', "object", func(d *decoder) bool {
			start := d.pos
			name := d.str()
			d.expect(':')
			if err := d.err; err != nil {
				d.err, d.pos = nil, start
				d.span()
				return yield(Member{}, err)
			}
			value := d.span()
			return yield(Member{name, value, trim(raw[start:d.pos])}, nil)
		}, func(err error) { yield(Member{}, err) })
	}
}

// Items is Members for the items of a JSON array. One may be empty, which is no
// JSON.
func Items(raw []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		list(raw, '[', "array", func(d *decoder) bool { return yield(d.span(), nil) }, func(err error) { yield(nil, err) })
	}
}

// list reads what stands between an opening bracket and its closing one, in
// parts with commas between.
func list(raw []byte, open byte, kind string, part func(*decoder) bool, fail func(error)) {
	d := &decoder{data: raw}
	if !d.accept(open) {
		fail(fmt.Errorf("not a JSON %s", kind))
		return
	}
	closing := open + 2 // in ASCII
	if !d.accept(closing) {
		for {
			d.space()
			if !part(d) {
				return
			}
			if d.accept(closing) {
				break
			}
			if d.expect(','); d.err != nil {
				fail(d.err)
				return
			}
		}
	}
	if d.space(); d.pos < len(d.data) {
		d.syntax()
		fail(d.err)
	}
}

// span passes over what stands before the next comma or closing bracket that is
// neither in brackets nor in a string, and returns it.
func (d *decoder) span() []byte {
	d.space()
	start, depth := d.pos, 0
	for d.pos < len(d.data) {
		switch d.data[d.pos] {
		case '"':
			d.skipString()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return trim(d.data[start:d.pos])
			}
			depth--
		case ',':
			if depth == 0 {
				return trim(d.data[start:d.pos])
			}
		}
		d.pos++
	}
	return trim(d.data[start:d.pos])
}

func (d *decoder) skipString() { d.pos = SkipString(d.data, d.pos) }

// SkipString returns the position after the string that begins at pos, or after
// all of data if it does not end.
func SkipString(data []byte, pos int) int {
	for pos++; pos < len(data); pos++ {
		switch data[pos] {
		case '"':
			return pos + 1
		case '\\':
			pos++
		}
	}

	return len(data) // an escape may have led past the end
}

func trim(b []byte) []byte { return bytes.Trim(b, whiteSpace) }

// whiteSpace is JSON's.
const whiteSpace = " \t\r\n"
