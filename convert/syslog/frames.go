package syslog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

var (
	// ErrTooLong is returned by Frames for a message of more than max bytes.
	ErrTooLong = errors.New("syslog: the message is too long")
	// ErrFrame is returned by Frames where a message starts with neither a
	// length nor a priority.
	ErrFrame = errors.New("syslog: the message starts with neither a length nor a priority")
)

// Frames splits what a connection sends into messages of at most max bytes.
// Each may be framed in its own way (RFC 6587, Section 3.4): one that starts
// with a digit is octet-counted, as TLS demands (RFC 5425, Section 4.3), and
// one that starts with '<' ends at a line feed, or where the connection ends.
// Empty lines between messages are skipped.
//
//	19 <34>1 - - - - - - a\n<34>1 - - - - - - b\n
//
// An error is the last that Frames yields, for it is not known where the next
// message starts. It is ErrTooLong, ErrFrame, io.ErrUnexpectedEOF where the
// connection ends inside a counted message, or an error of r. A message is
// valid until the next one is asked for.
func Frames(r io.Reader, max int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		s := newSplitter(r, 16<<10, max)
		s.strict = true
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

// counted reads a file of octet-counted messages.
func counted(s *splitter, source string, event func([]byte) attestlog.Event) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		for record := 1; ; record++ {
			raw, err := s.next()
			if err == io.EOF {
				return
			}
			isTorn := errors.Is(err, io.ErrUnexpectedEOF)
			if err != nil && !isTorn && !errors.Is(err, ErrTooLong) {
				yield(attestlog.Event{}, fmt.Errorf("byte %d: %w", s.pos.offset, err))
				return
			}

			var e attestlog.Event
			if err == nil {
				e = event(raw)
			} else {
				err = &convert.RecordError{
					Source: source, Record: record, Line: s.start.line, Offset: s.start.offset, Err: err,
				}
			}
			if !yield(e, err) || isTorn { // the input has ended inside this message
				return
			}
		}
	}
}

// A splitter finds messages, in memory that grows with the longest message that
// came.
//
// The parsers of go-syslog's octetcounting and nontransparent would not do:
// they give out messages without their bytes, take an error of the reader or a
// NUL for the end, have one framing a connection, and either allocate the
// longest message that is allowed for each connection, or have no limit.
type splitter struct {
	r      *bufio.Reader
	max    int          // bytes of a message
	strict bool         // a message without a length starts with '<', and after an error nothing is read
	buf    bytes.Buffer // the last message
	start  position     // of the last message
	pos    position     // of the next byte
}

func newSplitter(r io.Reader, size, max int) *splitter {
	return &splitter{r: bufio.NewReaderSize(r, size), max: max, pos: position{line: 1}}
}

// A position is one in the input. What is written to it moves it on.
type position struct {
	offset int64
	line   int // from 1
}

func (p *position) Write(b []byte) (int, error) {
	p.offset += int64(len(b))
	p.line += bytes.Count(b, lineFeed)
	return len(b), nil
}

var lineFeed = []byte{'\n'}

// next returns the next message, valid until the next call, or io.EOF. After
// ErrTooLong it can be called again, unless strict.
func (s *splitter) next() ([]byte, error) {
	for {
		ahead, err := s.r.Peek(1)
		if len(ahead) == 0 {
			return nil, err
		}
		if ahead[0] != '\n' && ahead[0] != '\r' {
			break
		}
		s.discard(1)
	}
	s.start = s.pos
	s.buf.Reset()

	length, digits, err := s.peekLength()
	if err != nil {
		return nil, err
	}
	if digits > 0 {
		s.discard(digits + len(" "))
		return s.readCounted(length)
	}

	ahead, _ := s.r.Peek(1)
	if s.strict && ahead[0] != '<' {
		return nil, ErrFrame
	}
	return s.readLine()
}

// discard passes over the next n bytes, which have been peeked at.
func (s *splitter) discard(n int) {
	ahead, _ := s.r.Peek(n)
	s.pos.Write(ahead)
	s.r.Discard(n)
}

// startsWithLength reports whether the input starts with an octet-counted
// message. One of a length that no sender means is text that starts with a
// number.
func (s *splitter) startsWithLength() bool {
	_, digits, err := s.peekLength()
	if err != nil || digits == 0 {
		return false
	}
	ahead, _ := s.r.Peek(digits + len(" <"))
	return bytes.HasSuffix(ahead, []byte(" <"))
}

// maxDigits bounds the digits of a length.
const maxDigits = 10

// peekLength looks at MSG-LEN SP (RFC 6587, Section 3.4.1). It returns the
// length and how many digits it has, or no digits if there is no length. A
// length has no leading zero.
func (s *splitter) peekLength() (length int64, digits int, err error) {
	for digits < maxDigits {
		ahead, err := s.r.Peek(digits + 1)
		if err != nil && err != io.EOF {
			return 0, 0, err
		}
		isDigit := len(ahead) > digits && '0' <= ahead[digits] && ahead[digits] <= '9'
		if !isDigit || ahead[0] == '0' {
			break
		}
		digits++
	}

	ahead, _ := s.r.Peek(digits + 1)
	if digits == 0 || len(ahead) <= digits || ahead[digits] != ' ' {
		return 0, 0, nil
	}
	length, err = strconv.ParseInt(string(ahead[:digits]), 10, 64)
	return length, digits, err
}

// readCounted reads a message of n bytes. The buffer grows as they come,
// whatever the sender promised.
func (s *splitter) readCounted(n int64) ([]byte, error) {
	if n > int64(s.max) && s.strict {
		return nil, ErrTooLong
	}
	if n > int64(s.max) {
		_, err := io.CopyN(&s.pos, s.r, n)
		return nil, errors.Join(ErrTooLong, unexpected(err))
	}

	_, err := io.CopyN(&s.buf, s.r, n)
	s.pos.Write(s.buf.Bytes())
	if err != nil {
		return nil, unexpected(err)
	}
	return s.buf.Bytes(), nil
}

// unexpected returns the error for an input that ended with err inside a
// message.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readLine reads a message that ends at a line feed or with the input. The
// message does not have the line feed, nor a carriage return before it.
func (s *splitter) readLine() ([]byte, error) {
	tooLong := false
	for {
		part, err := s.r.ReadSlice('\n')
		s.pos.Write(part)
		s.buf.Write(part)

		// The line's end does not count. Unless strict, the rest of a line that is too
		// long is read, but not kept.
		if s.buf.Len() > s.max+len("\r\n") {
			if s.strict {
				return nil, ErrTooLong
			}
			tooLong = true
			s.buf.Reset()
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil && err != io.EOF {
			return nil, err
		}

		line := bytes.TrimSuffix(bytes.TrimSuffix(s.buf.Bytes(), lineFeed), []byte{'\r'})
		if tooLong || len(line) > s.max {
			return nil, ErrTooLong
		}
		return line, nil
	}
}
