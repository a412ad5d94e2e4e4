package convert

import (
	"bufio"
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
// events returns the events of one object, which it may keep; with an error
// too if a part of it could not be read. A byte order mark is skipped.
func Objects(r io.Reader, source, wrapper string, events func(raw []byte) ([]attestlog.Event, error)) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		s := newSplitter(r, wrapper)
		for {
			raw, err := s.next()
			if err == io.EOF {
				return
			}
			var refused *RecordError
			if err == nil {
				var all []attestlog.Event
				all, err = events(raw)
				for i := range all {
					if !yield(all[i], nil) {
						return
					}
				}
				if err == nil {
					continue
				}
				err = s.refuse(err)
			}
			if errors.As(err, &refused) {
				refused.Source = source
			}
			if !yield(attestlog.Event{}, err) || refused == nil {
				return
			}
		}
	}
}

// One is the result of Objects' events for an object that is one event.
func One(e attestlog.Event, err error) ([]attestlog.Event, error) {
	if err != nil {
		return nil, err
	}
	return []attestlog.Event{e}, nil
}

// A splitter finds records: objects that stand outside of all others but a
// wrapper. It checks no more of their syntax than it takes to find
// their ends, and to find the next record behind one that is torn: an object
// cannot begin where a name or a comma is due, and a string does not go on in
// the next line.
type splitter struct {
	r       *bufio.Reader
	at      position
	start   position       // of the record
	record  int            // its number, from 1
	wrapper *regexp.Regexp // of a wrapper's start, or nil
	name    string         // the wrapper's list
	wrapped bool           // inside the wrapper
	buf     []byte
	open    []byte // the closing brackets that the record needs
}

type position struct {
	offset int64
	line   int // from 1
}

// A wrapper's start is looked for in this many bytes.
const wrapperRoom = 4096

func newSplitter(r io.Reader, wrapper string) *splitter {
	s := &splitter{r: bufio.NewReaderSize(r, 64<<10), at: position{line: 1}, name: wrapper}
	if wrapper != "" {
		s.wrapper = regexp.MustCompile(`^\{[ \t\r\n]*"` + regexp.QuoteMeta(wrapper) + `"[ \t\r\n]*:[ \t\r\n]*\[`)
	}
	return s
}

var (
	errTorn      = errors.New("the record is torn")
	errNotObject = errors.New("not a JSON object")
)

// next returns the next record, a *RecordError without its source for
// one that must be skipped, or io.EOF or another error of the reader's.
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
			return s.object()
		default:
			if c == 0xEF && s.at.offset == 1 && s.skipBOM() {
				continue
			}
			s.begin(1)
			return nil, s.other(c)
		}
	}
}

func (s *splitter) read() (byte, error) {
	c, err := s.r.ReadByte()
	if err == nil {
		s.at.offset++
		if c == '\n' {
			s.at.line++
		}
	}
	return c, err
}

func (s *splitter) unread(c byte) {
	s.r.UnreadByte() // cannot fail after ReadByte
	s.at.offset--
	if c == '\n' {
		s.at.line--
	}
}

// begin starts a record whose first back bytes have been read.
func (s *splitter) begin(back int64) {
	s.record++
	s.start = position{s.at.offset - back, s.at.line}
}

func (s *splitter) refuse(err error) error {
	return &RecordError{Record: s.record, Line: s.start.line, Offset: s.start.offset, Err: err}
}

func (s *splitter) fail(err error) error {
	if err == io.EOF {
		return err
	}
	return fmt.Errorf("byte %d: %w", s.at.offset, err)
}

// enterWrapper consumes the start of a wrapper, whose brace has been read.
func (s *splitter) enterWrapper() bool {
	if s.wrapper == nil {
		return false
	}
	s.unread('{')
	ahead, _ := s.r.Peek(wrapperRoom)
	start := s.wrapper.Find(ahead)
	n := max(1, len(start))
	s.at.offset += int64(n)
	s.at.line += bytes.Count(start, []byte{'\n'})
	s.r.Discard(n)
	return start != nil
}

func (s *splitter) skipBOM() bool {
	rest, _ := s.r.Peek(2)
	if string(rest) != "\xBB\xBF" {
		return false
	}
	s.r.Discard(2)
	s.at.offset += 2
	return true
}

// object reads a record whose brace has been read. The result is the caller's.
func (s *splitter) object() ([]byte, error) {
	s.buf, s.open = append(s.buf[:0], '{'), append(s.open[:0], '}')
	tooLong := false
	last := byte('{') // the last byte that was neither white space nor in a string
	for len(s.open) > 0 {
		c, err := s.read()
		if err == io.EOF {
			s.wrapped = false // reported once
			return nil, s.refuse(errTorn)
		} else if err != nil {
			return nil, s.fail(err)
		}
		lineStart := s.buf[len(s.buf)-1] == '\n'
		if !s.fits(last, c) || c == '{' && lineStart && !s.wrapped {
			s.unread(c)
			return nil, s.refuse(errTorn)
		}
		if len(s.buf) >= MaxRecord {
			tooLong = true
			s.buf = s.buf[:0]
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
			return s.refuse(errTorn)
		case err != nil:
			return s.fail(err)
		case c == '\n':
			return s.refuse(errTorn)
		}
		if len(s.buf) >= MaxRecord {
			*tooLong = true
			s.buf = s.buf[:0]
		}
		s.buf = append(s.buf, c)
		switch {
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
		ahead, _ := s.r.Peek(1)
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
