package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"sort"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// Objects reads a source's records if they are JSON objects: one a line, one
// after the other, in arrays, or in the list of a wrapping object that begins with
// it, such as {"Records":[…]}. wrapper is that list's name, or "" for none. A byte
// order mark is skipped.
//
// events yields the events of one object, whose text it may keep, and an error
// for each part of the object that could not be read; its text says which part
// that is. Each of them counts as a record.
func Objects(
	r io.Reader, source, wrapper string, events func(raw []byte) iter.Seq2[attestlog.Event, error],
) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		s := newSplitter(r, wrapper)
		record := 0
		refused := func(err error) error {
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
				if !yield(attestlog.Event{}, refused(skipped.reason)) {
					return
				}
				continue
			case err != nil:
				yield(attestlog.Event{}, err)
				return
			}

			for e, err := range events(raw) {
				record++
				if err != nil {
					e = attestlog.Event{}
					err = refused(err)
				}
				if !yield(e, err) {
					return
				}
			}
		}
	}
}

// One is what the events of Objects yields for an object that is one event.
func One(e attestlog.Event, err error) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) { yield(e, err) }
}

// Items is what the events of Objects yields for an object that is a list of
// records: event maps each item by itself, so that a bad one spoils no other. The
// item is the event's to keep. lists are the texts of the list, which comes more
// than once if its name is repeated. name is the list's in errors, such as
// "hits.hits[1]: …".
func Items(lists [][]byte, name string, event func(item []byte) (attestlog.Event, error)) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		i := 0
		for _, list := range lists {
			for item, err := range loosejson.Items(list) {
				var e attestlog.Event
				if err == nil {
					e, err = event(bytes.Clone(item))
				}
				if err != nil {
					err = fmt.Errorf("%s[%d]: %w", name, i, err)
				}
				if !yield(e, err) {
					return
				}
				i++
			}
		}
	}
}

// A splitter finds records: objects that are not inside others, except inside a
// wrapper.
//
// It checks no more of their syntax than it takes to find where they end, and to
// find the next record after one that is torn. A record is torn where an object
// begins though a name or a comma must come, where a bracket does not fit, or
// where a string goes on in the next line. By then it may have taken the records
// that follow for its own values. So what it has read is read again, from its
// first inner object on that begins a line.
type splitter struct {
	input
	wrapper *regexp.Regexp // matches the start of a wrapper, or nil
	name    string         // of the wrapper's list
	wrapped bool           // the next record is in a wrapper

	start   position // of the record
	buf     []byte   // the record so far
	open    []byte   // the closing brackets that the record still needs
	inner   int      // where in buf the first inner object begins that begins a line, or 0
	tooLong bool     // the record is too long: its bytes are not kept
	failed  failures
}

func newSplitter(r io.Reader, wrapper string) *splitter {
	s := &splitter{input: newInput(r), name: wrapper}
	if wrapper != "" {
		const space = `[ \t\r\n]*`
		s.wrapper = regexp.MustCompile(`^\{` + space + `"` + regexp.QuoteMeta(wrapper) + `"` + space + `:` + space + `\[`)
	}
	return s
}

var (
	errTorn      = errors.New("the record is torn")
	errNotObject = errors.New("not a JSON object")
)

// A skipError says why a record is refused. The splitter goes on after it.
type skipError struct{ reason error }

func (e *skipError) Error() string { return e.reason.Error() }

func refuse(reason error) error { return &skipError{reason} }

// readError is the error that ends the reading. io.EOF stays as it is.
func (s *splitter) readError(err error) error {
	if err == io.EOF {
		return err
	}
	return fmt.Errorf("byte %d: %w", s.offset, err)
}

// next returns the next record, which is the caller's and begins at start. The
// error is a *skipError for a record that is refused, or else ends the sequence:
// io.EOF, or another error of the reader's.
func (s *splitter) next() ([]byte, error) {
	for {
		c, err := s.read()
		if err == io.EOF && s.wrapped {
			s.wrapped = false // so the next call returns io.EOF
			s.begin(0)
			return nil, refuse(fmt.Errorf("the input ends inside {%q:[", s.name))
		}
		if err != nil {
			return nil, s.readError(err)
		}

		switch c {
		case ' ', '\t', '\r', '\n', ',', '}', '[':
			// between records: in arrays, and after the list of a wrapper
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
			if c == byteOrderMark[0] && s.offset == 1 && s.skipByteOrderMark() {
				continue
			}
			s.begin(1)
			return nil, s.skipOther(c)
		}
	}
}

// begin starts a record. read is how many of its bytes have been read.
func (s *splitter) begin(read int64) {
	s.start = position{s.offset - read, s.line}
}

// maxWrapperStart bounds a wrapper's text up to the list's bracket, in bytes.
const maxWrapperStart = 4096

// enterWrapper skips the start of a wrapper, whose brace has been read.
func (s *splitter) enterWrapper() bool {
	if s.wrapper == nil {
		return false
	}

	s.unread('{')
	start := s.wrapper.Find(s.peek(maxWrapperStart))
	if start == nil {
		s.read()
		return false
	}
	s.skip(start)
	return true
}

// skipByteOrderMark skips the rest of a byte order mark.
func (s *splitter) skipByteOrderMark() bool {
	rest := s.peek(len(byteOrderMark) - 1)
	if string(rest) != byteOrderMark[1:] {
		return false
	}
	s.skip(rest)
	return true
}

// object reads a record whose brace has been read.
func (s *splitter) object() ([]byte, error) {
	if resume, reason := s.failed.at(s.start.offset); reason != nil {
		return nil, s.skipFailed(resume, reason)
	}

	s.buf = append(s.buf[:0], '{')
	s.open = append(s.open[:0], '}')
	s.inner = 0
	s.tooLong = false
	last := byte('{') // the last byte that was neither white space nor in a string
	for len(s.open) > 0 {
		c, err := s.read()
		if err == io.EOF {
			return nil, s.endsTorn()
		}
		if err != nil {
			return nil, s.readError(err)
		}

		if !s.canFollow(last, c) {
			s.unread(c)
			return nil, s.reread(errTorn)
		}

		// An object that begins a line may be the record after a torn one.
		if c == '{' && s.buf[len(s.buf)-1] == '\n' {
			if s.tooLong && !s.wrapped {
				s.unread(c) // most likely the next record
				return nil, refuse(ErrTooLong)
			}
			if s.inner == 0 && !s.tooLong {
				s.inner = len(s.buf)
			}
		}
		if err := s.store(c); err != nil {
			return nil, err
		}

		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '{', '[':
			if len(s.open) >= MaxRecord {
				return nil, refuse(ErrTooLong)
			}
			s.open = append(s.open, c+2) // in ASCII, the closing bracket is two further
		case '}', ']':
			s.open = s.open[:len(s.open)-1]
		case '"':
			if err := s.str(); err != nil {
				return nil, err
			}
		}
		last = c
	}

	if s.tooLong {
		return nil, refuse(ErrTooLong)
	}
	return bytes.Clone(s.buf), nil
}

// canFollow reports whether c can come after last. It checks only what shows that
// a record is torn.
func (s *splitter) canFollow(last, c byte) bool {
	closing := s.open[len(s.open)-1]
	switch c {
	case '{':
		isValue := last == ':'
		isItem := closing == ']' && (last == '[' || last == ',')
		return isValue || isItem
	case '}', ']':
		return c == closing
	}
	return true
}

// store adds a byte to the record. If the record becomes too long, it may have
// taken other records for its own values: then it is refused, and they are read.
// If it cannot have, its rest is read, but not kept.
func (s *splitter) store(c byte) error {
	if len(s.buf) == MaxRecord {
		if s.inner > 0 && !s.wrapped {
			s.unread(c)
			return s.reread(ErrTooLong)
		}
		s.tooLong = true
		s.inner = 0
		s.buf = s.buf[:0]
	}
	s.buf = append(s.buf, c)
	return nil
}

// str reads the rest of a string.
func (s *splitter) str() error {
	escaped := false
	for {
		c, err := s.read()
		if err == io.EOF {
			return s.endsTorn()
		}
		if err != nil {
			return s.readError(err)
		}
		if err := s.store(c); err != nil {
			return err
		}

		switch {
		case c == '\n':
			return s.reread(errTorn)
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			return nil
		}
	}
}

// endsTorn refuses a record that the input's end cuts off. It leaves the wrapper, so
// that its missing end is not an error of its own.
func (s *splitter) endsTorn() error {
	s.wrapped = false
	return s.reread(errTorn)
}

// skipOther refuses what is not an object, and skips it: a JSON value, or else the
// rest of the line.
func (s *splitter) skipOther(c byte) error {
	const maxValue = 4096
	value := []byte{c}
	for len(value) < maxValue {
		ahead := s.peek(1)
		if len(ahead) == 0 || ahead[0] == '\n' {
			break
		}
		// Only a string may have these in it.
		if c != '"' && bytes.IndexByte([]byte(" \t\r,]}"), ahead[0]) >= 0 {
			break
		}

		s.read()
		value = append(value, ahead[0])
		if c == '"' && ahead[0] == '"' && json.Valid(value) {
			break
		}
	}
	if json.Valid(value) {
		return refuse(errNotObject)
	}

	// Nothing says where it ends, and a brace in it need not begin a record.
	for {
		c, err := s.read()
		if err == io.EOF || c == '\n' {
			return refuse(errTorn)
		}
		if err != nil {
			return s.readError(err)
		}
	}
}

// reread refuses a record, and gives back what it has from its first inner object
// on that begins a line, so that this is read as records of its own.
//
// Inner objects that are open where the record failed would fail at the same
// byte. They are kept in failed, so that no byte is read more than twice.
func (s *splitter) reread(reason error) error {
	if s.inner == 0 {
		return refuse(reason)
	}

	open, begins := outline(s.buf)
	if reason == ErrTooLong {
		// Objects that began late can still end before they are too long.
		late, _ := slices.BinarySearch(open, MaxRecord/2)
		open = open[:late]
	}

	s.failed = failures{reason: reason}
	for _, pos := range open[min(1, len(open)):] { // the first is the record itself
		resume := len(s.buf)
		if next := sort.SearchInts(begins, pos+1); next < len(begins) {
			resume = begins[next]
		}
		s.failed.objects = append(s.failed.objects, failure{s.start.offset + int64(pos), s.start.offset + int64(resume)})
	}

	line := s.start.line + bytes.Count(s.buf[:s.inner], []byte{'\n'})
	s.giveBack(s.buf[s.inner:], position{s.start.offset + int64(s.inner), line})
	return refuse(reason)
}

// skipFailed refuses a record that is known to fail, and goes on at resume.
func (s *splitter) skipFailed(resume int64, reason error) error {
	for s.offset < resume {
		s.read()
	}
	if len(s.peek(1)) == 0 {
		s.wrapped = false // as in endsTorn
	}
	return refuse(reason)
}

// failures are the objects that are known to fail, in their order.
type failures struct {
	reason  error
	objects []failure
}

// A failure is the offset of an object, and that of the next object that begins a
// line.
type failure struct{ offset, resume int64 }

// at returns why the object at an offset fails, or nil, and where to go on.
// Callers ask for offsets in order.
func (f *failures) at(offset int64) (resume int64, reason error) {
	for len(f.objects) > 0 && f.objects[0].offset < offset {
		f.objects = f.objects[1:]
	}
	if len(f.objects) == 0 || f.objects[0].offset != offset {
		return 0, nil
	}
	return f.objects[0].resume, f.reason
}

// outline returns where the objects of text begin that have no end in it, and
// where those begin that begin a line. The text's brackets fit together.
func outline(text []byte) (open, begins []int) {
	var depths []int // how many brackets are around each of open, its own included
	depth := 0

	for pos := 0; pos < len(text); pos++ {
		c := text[pos]
		switch c {
		case '"':
			pos = loosejson.SkipString(text, pos) - 1

		case '{', '[':
			depth++
			if c == '[' {
				continue
			}
			open = append(open, pos)
			depths = append(depths, depth)
			if pos > 0 && text[pos-1] == '\n' {
				begins = append(begins, pos)
			}

		case '}', ']':
			if n := len(open); c == '}' && n > 0 && depths[n-1] == depth {
				open = open[:n-1]
				depths = depths[:n-1]
			}
			depth--
		}
	}

	return open, begins
}
