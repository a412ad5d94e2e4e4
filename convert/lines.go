package convert

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

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
