package loosejson

import (
	"bytes"
	"errors"
	"iter"
)

// A Member is one member of a JSON object. Raw and Text are parts of the text
// that was read.
type Member struct {
	Name string
	Raw  []byte // the value, without the white space around it
	Text []byte // the name, the colon and the value
}

// Members yields the members of a JSON object in their order, each as often as
// it comes. It looks for no more than the brackets and strings of their values,
// so that one that is not JSON does not spoil the others: Decode tells whether a
// value is JSON.
//
// In the place of a part that is not a member, Members yields an error. If raw
// is not an object, an error comes last.
func Members(raw []byte) iter.Seq2[Member, error] {
	return func(yield func(Member, error) bool) {
		d := &decoder{data: raw}
		if !d.accept('{') {
			yield(Member{}, errors.New("not a JSON object"))
			return
		}
		for range d.parts('}') {
			m, err := d.member()
			if !yield(m, err) {
				return
			}
		}
		if d.err != nil {
			yield(Member{}, d.err)
		}
	}
}

// Items yields the items of a JSON array as Members does an object's members. An
// item may be empty, which is not JSON.
func Items(raw []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		d := &decoder{data: raw}
		if !d.accept('[') {
			yield(nil, errors.New("not a JSON array"))
			return
		}
		for range d.parts(']') {
			if !yield(d.span(), nil) {
				return
			}
		}
		if d.err != nil {
			yield(nil, d.err)
		}
	}
}

// parts yields at the beginning of each part of a container, whose opening
// bracket has been read and whose parts are separated by commas. The loop's body
// reads the part. What is wrong between the parts or after the closing bracket
// is d's error after the loop.
func (d *decoder) parts(closing byte) iter.Seq[struct{}] {
	return func(yield func(struct{}) bool) {
		more := false
		for !d.accept(closing) {
			if more {
				d.expect(',')
				if d.err != nil {
					return
				}
			}
			d.space()
			if !yield(struct{}{}) {
				return
			}
			more = true
		}
		d.end()
	}
}

// member reads a member. If there is none, it skips what is in its place.
func (d *decoder) member() (Member, error) {
	start := d.pos
	name := d.str()
	d.expect(':')
	if d.err != nil {
		err := d.err
		d.err = nil
		d.pos = start
		d.span()
		return Member{}, err
	}

	value := d.span()
	return Member{name, value, trim(d.data[start:d.pos])}, nil
}

// span skips what is before the next comma or closing bracket that is neither in
// brackets nor in a string, and returns it.
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
// all of data if the string does not end.
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

// trim removes JSON's white space around b.
func trim(b []byte) []byte { return bytes.Trim(b, " \t\r\n") }
