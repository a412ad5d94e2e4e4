package convert

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/attestlog/attestlog"
)

// ByLine reads a source's records where each is a line. Blank lines are
// skipped, and lines of which event says so. event may not keep the line.
func ByLine(r io.Reader, source string, event func(line []byte) (e attestlog.Event, skip bool, err error)) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		lines := NewLines(r)
		record := 0
		for {
			line, err := lines.Next()
			if err == io.EOF {
				return
			}
			if err != nil && !errors.Is(err, ErrTooLong) {
				yield(attestlog.Event{}, fmt.Errorf("line %d: %w", lines.Number, err))
				return
			}
			if err == nil && len(line) == 0 {
				continue
			}
			var e attestlog.Event
			skip := false
			if err == nil {
				e, skip, err = event(line)
			}
			if skip {
				continue
			}
			record++
			if err != nil {
				err = &RecordError{Source: source, Record: record, Line: lines.Number, Offset: lines.Start, Err: err}
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// Lines reads lines of bounded length. A byte order mark is skipped.
type Lines struct {
	r      *bufio.Reader
	buf    []byte
	Number int   // of the last line, from 1
	Start  int64 // its offset
	end    int64 // the offset behind it
}

// NewLines reads lines of r.
func NewLines(r io.Reader) *Lines { return &Lines{r: bufio.NewReaderSize(r, 64<<10)} }

// ErrTooLong is returned by Next for a line of more than MaxRecord bytes; the
// one after it can be read.
var ErrTooLong = fmt.Errorf("longer than %d bytes", MaxRecord)

// Next returns the next line without the white space around it. It is valid
// until the next call.
func (l *Lines) Next() ([]byte, error) {
	l.buf = l.buf[:0]
	l.Start = l.end
	l.Number++
	tooLong := false
	for {
		part, err := l.r.ReadSlice('\n')
		l.end += int64(len(part))
		if len(l.buf)+len(part) > MaxRecord+2 { // a line's end takes up to two
			tooLong = true
			l.buf = l.buf[:0]
		}
		l.buf = append(l.buf, part...)
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && l.end > l.Start:
		case err != nil:
			return nil, err
		}
		if tooLong {
			return nil, ErrTooLong
		}
		if l.Start == 0 {
			return bytes.Trim(bytes.TrimPrefix(l.buf, []byte("\uFEFF")), white), nil
		}
		return bytes.Trim(l.buf, white), nil
	}
}

// white is JSON's white space.
const white = " \t\r\n"
