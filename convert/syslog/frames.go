package syslog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// The errors that end a connection beside those of its reader.
var (
	// ErrTooLong is returned by Frames for a message of more than max bytes.
	ErrTooLong = errors.New("syslog: the message is too long")
	// ErrFrame is returned by Frames where neither a length nor a priority
	// begins a message.
	ErrFrame = errors.New("syslog: neither a length nor a priority begins the message")
)

// Frames splits what a connection sends into messages of at most max bytes. Each
// is framed in its own way (RFC 6587, Section 3.4): one that begins with a digit
// is octet-counted, as TLS demands (RFC 5425, Section 4.3), and one that begins
// with '<' ends at a line feed, or where the connection does. Empty lines between
// are skipped.
//
//	19 <34>1 - - - - - - a\n<34>1 - - - - - - b\n
//
// After an error nothing follows: where the next message begins is not known.
// It is ErrTooLong, ErrFrame, io.ErrUnexpectedEOF where the connection ends
// inside a counted message, or an error of r. A message is valid until the next.
func Frames(r io.Reader, max int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		s := splitter{r: bufio.NewReaderSize(r, 16<<10), max: max, strict: true}
		for {
			frame, err := s.next()
			if err == io.EOF {
				return
			}
			if !yield(frame, err) || err != nil {
				return
			}
		}
	}
}

// A splitter finds messages.
type splitter struct {
	r          *bufio.Reader
	max        int
	strict     bool // a message without a length begins with '<'
	buf        bytes.Buffer
	start, end int64 // of the last message
	line       int   // line feeds before it
	lines      int   // line feeds up to its end
}

// next returns the next message, valid until the next call, or io.EOF. Behind
// ErrTooLong it can go on.
func (s *splitter) next() ([]byte, error) {
	for {
		ahead, err := s.r.Peek(1)
		if len(ahead) == 0 {
			return nil, err
		}
		if ahead[0] != '\n' && ahead[0] != '\r' {
			break
		}
		s.skip(1, bytes.Count(ahead, lineFeed))
	}
	s.buf.Reset()
	s.start, s.line = s.end, s.lines
	n, digits, err := s.count()
	if err != nil {
		return nil, err
	}
	if digits > 0 {
		s.skip(digits+1, 0)
		return s.counted(n)
	}
	if ahead, _ := s.r.Peek(1); s.strict && ahead[0] != '<' {
		return nil, ErrFrame
	}
	return s.upToLine()
}

var lineFeed = []byte{'\n'}

func (s *splitter) skip(n, lines int) {
	s.r.Discard(n) // what was peeked at
	s.end += int64(n)
	s.lines += lines
}

// maxDigits are those of a length.
const maxDigits = 10

// count looks at MSG-LEN SP, and returns the length and how many digits it has,
// or 0. A length has no leading zero.
func (s *splitter) count() (n int64, digits int, err error) {
	for digits < maxDigits {
		ahead, err := s.r.Peek(digits + 1)
		if err != nil && err != io.EOF {
			return 0, 0, err
		}
		if len(ahead) <= digits || ahead[digits]-'0' > 9 || ahead[0] == '0' {
			break
		}
		digits++
	}
	ahead, _ := s.r.Peek(digits + 1)
	if digits == 0 || len(ahead) <= digits || ahead[digits] != ' ' {
		return 0, 0, nil
	}
	n, err = strconv.ParseInt(string(ahead[:digits]), 10, 64)
	return n, digits, err
}

// counted reads n bytes. The buffer grows as they come, whatever the sender
// promised.
func (s *splitter) counted(n int64) ([]byte, error) {
	if n > int64(s.max) {
		if s.strict {
			return nil, ErrTooLong
		}
		skipped, err := io.CopyN(io.Discard, s.r, n)
		if s.end += skipped; err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, errors.Join(ErrTooLong, err)
	}
	read, err := io.CopyN(&s.buf, s.r, n)
	s.end += read
	s.lines += bytes.Count(s.buf.Bytes(), lineFeed)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	return s.buf.Bytes(), nil
}

// upToLine reads up to a line feed or the end, and returns what stands before it
// and before a carriage return.
func (s *splitter) upToLine() ([]byte, error) {
	tooLong := false
	for {
		part, err := s.r.ReadSlice('\n')
		s.end += int64(len(part))
		s.lines += bytes.Count(part, lineFeed)
		s.buf.Write(part)
		if s.buf.Len() > s.max+len("\r\n") {
			if s.strict {
				return nil, ErrTooLong
			}
			tooLong = true
			s.buf.Reset()
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && err != io.EOF:
			return nil, err
		}
		line := bytes.TrimSuffix(bytes.TrimSuffix(s.buf.Bytes(), lineFeed), []byte{'\r'})
		if tooLong || len(line) > s.max {
			return nil, ErrTooLong
		}
		return line, nil
	}
}

// Read is a convert.Reader of messages, one a line, or octet-counted if the file
// begins so (RFC 6587, Section 3.4.1). Among counted messages, what has no length
// goes up to the line's end.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		p, ids := rfc5424.NewParser(), convert.NewIDs(Format, source)
		one := func(raw []byte) attestlog.Event {
			e, rest := event(p, raw)
			e.ID = ids.Next(raw)
			convert.Complete(&e, rest)
			return e
		}
		s := splitter{r: bufio.NewReaderSize(r, 64<<10), max: convert.MaxRecord}
		if _, digits, err := s.count(); err == nil && digits > 0 {
			if ahead, _ := s.r.Peek(digits + 2); bytes.HasSuffix(ahead, []byte(" <")) {
				s.read(source, one, yield)
				return
			}
		}
		for e, err := range convert.ByLine(s.r, source, func(line []byte) (attestlog.Event, bool, error) { return one(line), false, nil }) {
			if !yield(e, err) {
				return
			}
		}
	}
}

// read reads a file of counted messages.
func (s *splitter) read(source string, one func([]byte) attestlog.Event, yield func(attestlog.Event, error) bool) {
	for record := 1; ; record++ {
		raw, err := s.next()
		if err == io.EOF {
			return
		}
		torn := errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !torn && !errors.Is(err, ErrTooLong) {
			yield(attestlog.Event{}, fmt.Errorf("byte %d: %w", s.end, err))
			return
		}
		var e attestlog.Event
		if err == nil {
			e = one(raw)
		} else {
			err = &convert.RecordError{Source: source, Record: record, Line: s.line + 1, Offset: s.start, Err: err}
		}
		if !yield(e, err) || torn {
			return
		}
	}
}
