package csv

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// rows splits text at line ends that are not quoted. A quote opens a cell only
// where the cell starts, and closes it only before a separator or a line's end
// (RFC 4180, Section 2). Any other quote is text, so it takes no rows with it.
//
// encoding/csv would not do: a cell whose quote nothing closes takes all the
// rest of the input with it, without a limit, and a row does not have its
// bytes.
type rows struct {
	r          *bufio.Reader
	separators string   // each of which may come before a cell
	back       []byte   // lines to read again, up to the end of the input
	start      position // of the last row
	pos        position // of the next byte
}

func newRows(r io.Reader) *rows {
	return &rows{r: bufio.NewReaderSize(r, 64<<10), separators: separators, pos: position{line: 1}}
}

type position struct {
	offset int64
	line   int // from 1
}

// An unterminatedError is returned for a cell whose quote nothing closes.
type unterminatedError struct{ line int }

func (e *unterminatedError) Error() string {
	return fmt.Sprintf("a quoted cell does not end; it begins in line %d", e.line)
}

// next returns the next row without its line's end, or io.EOF. After
// convert.ErrTooLong and an *unterminatedError it can be called again: after a
// cell that does not end, the next row is that after the line where the cell
// starts.
func (s *rows) next() ([]byte, error) {
	s.start = s.pos
	var row []byte
	state := scan{separators: s.separators, start: true}
	opened := 0 // the line of the last opening quote
	after := 0  // where in row the lines after that one start
	tooLong := false
	for {
		part, err := s.read()
		s.pos.offset += int64(len(part))
		for _, c := range part {
			state.next(c)
			if state.opened {
				opened = s.pos.line
			}
		}

		if len(row)+len(part) > convert.MaxRecord {
			tooLong = true
		}
		if tooLong {
			row = row[:0]
		}
		row = append(row, part...)

		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		if err == nil { // a line has ended
			if opened == s.pos.line {
				after = len(row)
			}
			s.pos.line++
			if state.inside() {
				continue
			}
		}

		switch {
		case err == io.EOF && s.pos.offset == s.start.offset:
			return nil, io.EOF
		case tooLong:
			return nil, convert.ErrTooLong
		case state.inside():
			// The lines after that of the quote may be rows.
			if opened < s.pos.line {
				s.back = row[after:]
				s.pos = position{s.pos.offset - int64(len(s.back)), opened + 1}
			}
			return nil, &unterminatedError{opened}
		}
		return bytes.TrimRight(row, "\r\n"), nil
	}
}

// read returns the next line, a part of it with bufio.ErrBufferFull, or the
// last line without a line feed with io.EOF.
func (s *rows) read() ([]byte, error) {
	if len(s.back) == 0 {
		return s.r.ReadSlice('\n')
	}
	end := bytes.IndexByte(s.back, '\n') + 1
	if end == 0 {
		line := s.back
		s.back = nil
		return line, io.EOF
	}
	line := s.back[:end]
	s.back = s.back[end:]
	return line, nil
}

// A scan follows quotes through text, byte by byte.
type scan struct {
	separators string
	start      bool // of a cell
	quoted     bool // in a quoted cell
	closing    bool // after a quote that may close it
	opened     bool // by the last byte
}

// inside reports whether a line's end would be text.
func (s *scan) inside() bool { return s.quoted && !s.closing }

// next follows c. It reports whether c is text of a cell, and whether the quote
// before c is text after all, because it closed nothing.
func (s *scan) next(c byte) (isText, quoteToo bool) {
	s.opened = false
	switch {
	case s.inside() && c != '"':
		return true, false
	case s.quoted && c == '"':
		s.closing = !s.closing
		return !s.closing, false // of two quotes, one is text
	}

	wasClosing := s.quoted
	s.quoted = false
	s.closing = false
	switch {
	case c == '\n' || strings.IndexByte(s.separators, c) >= 0:
		s.start = true
		return false, false
	case c == '"' && s.start:
		s.start = false
		s.quoted = true
		s.opened = true
		return false, false
	}
	s.start = false
	return true, wasClosing
}

// cells splits a row without its line's end.
func cells(row []byte, separators string) ([]string, error) {
	var out []string
	var cell []byte
	endCell := func() {
		// As in encoding/csv, a line's end in a cell is a line feed.
		out = append(out, strings.ReplaceAll(string(cell), "\r\n", "\n"))
		cell = cell[:0]
	}

	state := scan{separators: separators, start: true}
	for _, c := range row {
		isText, quoteToo := state.next(c)
		if quoteToo {
			cell = append(cell, '"')
		}
		switch {
		case isText:
			cell = append(cell, c)
		case state.start:
			endCell()
			if len(out) >= loosejson.MaxValues {
				return nil, loosejson.ErrTooMany
			}
		}
	}
	endCell()
	return out, nil
}
