package convert

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"iter"

	"github.com/attestlog/attestlog"
)

// ErrTooLong is returned for a record of more than MaxRecord bytes.
var ErrTooLong = fmt.Errorf("longer than %d bytes", MaxRecord)

// ByLine reads a source's records if each is a line. event maps a line without
// the white space around it; it may not keep the line, and says which lines are
// to be skipped. Blank lines and a byte order mark are skipped too.
func ByLine(
	r io.Reader, source string, event func(line []byte) (e attestlog.Event, skip bool, err error),
) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		lines := lineReader{r: bufio.NewReaderSize(r, 64<<10)}
		record := 0
		for {
			line, err := lines.next()
			if err == io.EOF {
				return
			}
			// A line that is too long is a record that is refused, and others follow it.
			if err != nil && err != ErrTooLong {
				yield(attestlog.Event{}, fmt.Errorf("line %d: %w", lines.number, err))
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
				err = &RecordError{Source: source, Record: record, Line: lines.number, Offset: lines.start, Err: err}
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// A lineReader reads lines of at most MaxRecord bytes.
type lineReader struct {
	r      *bufio.Reader
	buf    []byte
	number int   // of the last line, from 1
	start  int64 // its offset
	end    int64 // the offset after it
}

// next returns the next line without the white space around it. It is valid until
// the next call. After ErrTooLong, the next line can be read.
func (l *lineReader) next() ([]byte, error) {
	l.buf = l.buf[:0]
	l.start = l.end
	l.number++

	tooLong := false
	for {
		part, err := l.r.ReadSlice('\n')
		l.end += int64(len(part))

		// The rest of a line that is too long is read, but not kept.
		if len(l.buf)+len(part) > MaxRecord+len("\r\n") {
			tooLong = true
			l.buf = l.buf[:0]
		}
		l.buf = append(l.buf, part...)

		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && l.end > l.start: // the last line needs no end
		case err != nil:
			return nil, err
		}
		if tooLong {
			return nil, ErrTooLong
		}

		line := l.buf
		if l.start == 0 {
			line = bytes.TrimPrefix(line, []byte(byteOrderMark))
		}
		return bytes.Trim(line, " \t\r\n"), nil
	}
}

const byteOrderMark = "\uFEFF"
