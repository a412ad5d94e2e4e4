package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"

	"github.com/attestlog/attestlog"
)

// Objects reads a source's records where they are JSON objects one a line, one
// after the other, in arrays, or in the list of a wrapping object that begins
// with it, such as {"Records":[…]}; wrapper is that list's name, or "" for none.
// events yields the events of one object, which it may keep, and an error for
// each part of it that could not be read, whose text says which part that is:
// each counts as a record. A byte order mark is skipped.
func Objects(r io.Reader, source, wrapper string, events func(raw []byte) iter.Seq2[attestlog.Event, error]) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		s := newSplitter(r, wrapper)
		record := 0
		refuse := func(err error) error {
			return &RecordError{Source: source, Record: record, Line: s.start.line, Offset: s.start.offset, Err: err}
		}
		for {
			raw, err := s.next()
			var skipped *skipError
			switch {
			case err == io.EOF:
				return
			case errors.As(err, &skipped):
				record++
				if !yield(attestlog.Event{}, refuse(skipped.reason)) {
					return
				}
				continue
			case err != nil:
				yield(attestlog.Event{}, err)
				return
			}
			for e, err := range events(raw) {
				if record++; err != nil {
					e, err = attestlog.Event{}, refuse(err)
				}
				if !yield(e, err) {
					return
				}
			}
		}
	}
}

// One is what Objects' events yields for an object that is one event.
func One(e attestlog.Event, err error) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) { yield(e, err) }
}

// A splitter finds records: objects that stand outside of all others but a
// wrapper. It checks no more of their syntax than it takes to find
// their ends, and to find the next record behind one that is torn: an object
// cannot begin where a name or a comma is due, and a string does not go on in
// the next line. A torn record can have taken others for its own values, so what
// is read again begins with the first object in it that begins a line.
type splitter struct {
	input
	start   position       // of the record
	wrapper *regexp.Regexp // of a wrapper's start, or nil
	name    string         // the wrapper's list
	wrapped bool           // inside the wrapper
	buf     []byte         // the record so far
	open    []byte         // the closing brackets that the record needs
	inner   int            // where in buf the first object begins that begins a line, or 0
	failed  failures
}

// A wrapper's start is looked for in this many bytes.
const wrapperRoom = 4096

func newSplitter(r io.Reader, wrapper string) *splitter {
	s := &splitter{input: newInput(r), name: wrapper}
	if wrapper != "" {
		s.wrapper = regexp.MustCompile(`^\{[ \t\r\n]*"` + regexp.QuoteMeta(wrapper) + `"[ \t\r\n]*:[ \t\r\n]*\[`)
	}
	return s
}

var (
	errTorn      = errors.New("the record is torn")
	errNotObject = errors.New("not a JSON object")
)

// A skipError says why a record is passed over.
type skipError struct{ reason error }

func (e *skipError) Error() string { return e.reason.Error() }

// next returns the next record, a *skipError for one that must be skipped, or
// io.EOF or another error of the reader's. start is where the record begins.
func (s *splitter) next() ([]byte, error) {
	for {
		c, err := s.read()
		if err == io.EOF && s.wrapped {
			s.wrapped = false
			s.begin(0)
			return nil, s.refuse(fmt.Errorf("the input ends inside {%q:[", s.name))
		}
		if err != nil {
			return nil, s.fail(err)
		}
		switch c {
		case ' ', '\t', '\r', '\n', ',', '}', '[':
		case ']':
			s.wrapped = false
		case '{':
			if s.enterWrapper() {
				s.wrapped = true
				continue
			}
			s.begin(1)
			if ends, reason := s.failed.of(s.start.offset); reason != nil {
				for s.offset < ends {
					s.read()
				}
				s.wrapped = s.wrapped && len(s.peek(1)) > 0 // reported once
				return nil, s.refuse(reason)
			}
			return s.object()
		default:
			if c == 0xEF && s.offset == 1 && s.skipBOM() {
				continue
			}
			s.begin(1)
			return nil, s.other(c)
		}
	}
}

// begin starts a record whose first back bytes have been read.
func (s *splitter) begin(back int64) {
	s.start = position{s.offset - back, s.line}
}

func (s *splitter) refuse(err error) error { return &skipError{err} }

func (s *splitter) fail(err error) error {
	if err == io.EOF {
		return err
	}
	return fmt.Errorf("byte %d: %w", s.offset, err)
}

// enterWrapper consumes the start of a wrapper, whose brace has been read.
func (s *splitter) enterWrapper() bool {
	if s.wrapper == nil {
		return false
	}
	s.unread('{')
	start := s.wrapper.Find(s.peek(wrapperRoom))
	if start == nil {
		s.read()
		return false
	}
	s.skip(start)
	return true
}

func (s *splitter) skipBOM() bool {
	rest := s.peek(2)
	if string(rest) != "\xBB\xBF" {
		return false
	}
	s.skip(rest)
	return true
}

// object reads a record whose brace has been read. The result is the caller's.
func (s *splitter) object() ([]byte, error) {
	s.buf, s.open, s.inner = append(s.buf[:0], '{'), append(s.open[:0], '}'), 0
	tooLong := false
	last := byte('{') // the last byte that was neither white space nor in a string
	for len(s.open) > 0 {
		c, err := s.read()
		if err == io.EOF {
			s.wrapped = false // reported once
			return nil, s.again(errTorn)
		} else if err != nil {
			return nil, s.fail(err)
		}
		begins := c == '{' && s.buf[len(s.buf)-1] == '\n'
		switch {
		case !s.fits(last, c):
			s.unread(c)
			return nil, s.again(errTorn)
		case begins && tooLong && !s.wrapped:
			s.unread(c)
			return nil, s.refuse(ErrTooLong)
		case begins && !tooLong && s.inner == 0:
			s.inner = len(s.buf)
		}
		if s.full(&tooLong) {
			s.unread(c)
			return nil, s.again(ErrTooLong)
		}
		s.buf = append(s.buf, c)
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '{', '[':
			if len(s.open) >= MaxRecord {
				return nil, s.refuse(ErrTooLong)
			}
			s.open = append(s.open, c+2) // ASCII has the closing bracket two further
		case '}', ']':
			s.open = s.open[:len(s.open)-1]
		case '"':
			if err := s.str(&tooLong); err != nil {
				return nil, err
			}
		}
		last = c
	}
	if tooLong {
		return nil, s.refuse(ErrTooLong)
	}
	return bytes.Clone(s.buf), nil
}

// full makes room in buf for a byte. It reports whether there is none in a
// record that others can be read of; of any other, the rest is passed over.
func (s *splitter) full(tooLong *bool) bool {
	if len(s.buf) < MaxRecord {
		return false
	}
	if s.inner > 0 && !s.wrapped {
		return true
	}
	*tooLong, s.inner = true, 0
	s.buf = s.buf[:0]
	return false
}

// fits reports whether c can come behind last.
func (s *splitter) fits(last, c byte) bool {
	inner := s.open[len(s.open)-1]
	switch c {
	case '{':
		return last == ':' || inner == ']' && (last == '[' || last == ',')
	case '}', ']':
		return c == inner
	}
	return true
}

// str reads the rest of a string.
func (s *splitter) str(tooLong *bool) error {
	escaped := false
	for {
		c, err := s.read()
		switch {
		case err == io.EOF:
			s.wrapped = false
			return s.again(errTorn)
		case err != nil:
			return s.fail(err)
		}
		if s.full(tooLong) {
			s.unread(c)
			return s.again(ErrTooLong)
		}
		s.buf = append(s.buf, c)
		switch {
		case c == '\n':
			return s.again(errTorn)
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			return nil
		}
	}
}

// other passes over what is no object: one JSON value, or else the rest of the
// line.
func (s *splitter) other(c byte) error {
	const most = 4096
	token := []byte{c}
	for len(token) < most {
		ahead := s.peek(1)
		if len(ahead) == 0 || ahead[0] == '\n' {
			break
		}
		if c != '"' && bytes.IndexByte([]byte(" \t\r,]}"), ahead[0]) >= 0 {
			break
		}
		s.read()
		token = append(token, ahead[0])
		if c == '"' && ahead[0] == '"' && json.Valid(token) {
			break
		}
	}
	if json.Valid(token) {
		return s.refuse(errNotObject)
	}
	for {
		c, err := s.read()
		if err == io.EOF {
			break
		} else if err != nil {
			return s.fail(err)
		}
		if c == '\n' {
			break
		}
	}
	return s.refuse(errTorn)
}
