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
// where the cell begins, and closes it only before a separator or a line's end
// (RFC 4180, Section 2): any other is text, so it takes no rows along.
type rows struct {
	r           *bufio.Reader
	back        []byte // rows to read again
	separators  string // of which each may stand before a cell
	line, lines int    // of the row, and behind it
	start, end  int64
}

// An unterminatedError is of a cell whose quote nothing closes.
type unterminatedError struct{ line int }

func (e *unterminatedError) Error() string {
	return fmt.Sprintf("a quoted cell does not end; it begins in line %d", e.line)
}

// next returns the next row without its line's end, valid until the next call. Of
// a row that is convert.ErrTooLong or has a cell that does not end, the next one
// can be read; behind such a cell that is what follows the line where it begins.
func (s *rows) next() ([]byte, error) {
	s.start, s.line = s.end, s.lines+1
	var row []byte
	state := scan{separators: s.separators, start: true}
	opened, behind := 0, 0 // the line of the last opening quote, and the row's length behind it
	tooLong := false
	for {
		part, err := s.read()
		s.end += int64(len(part))
		for _, c := range part {
			if state.next(c); state.opened {
				opened = s.lines + 1
			}
		}
		if tooLong = tooLong || len(row)+len(part) > convert.MaxRecord; tooLong {
			row = row[:0]
		}
		row = append(row, part...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		if err == nil {
			if s.lines++; opened == s.lines {
				behind = len(row)
			}
			if state.inside() {
				continue
			}
		}
		switch {
		case err == io.EOF && s.end == s.start:
			return nil, io.EOF
		case tooLong:
			return nil, convert.ErrTooLong
		case state.inside():
			if opened <= s.lines {
				s.end -= int64(len(row) - behind)
				s.back, s.lines = row[behind:], opened
			}
			return nil, &unterminatedError{opened}
		}
		return bytes.TrimRight(row, "\r\n"), nil
	}
}

// read returns the next line, or a part of it with bufio.ErrBufferFull.
func (s *rows) read() ([]byte, error) {
	if len(s.back) == 0 {
		return s.r.ReadSlice('\n')
	}
	end := bytes.IndexByte(s.back, '\n') + 1
	if end == 0 {
		end = len(s.back)
	}
	line := s.back[:end]
	if s.back = s.back[end:]; line[end-1] != '\n' {
		return line, io.EOF
	}
	return line, nil
}

// A scan follows quotes.
type scan struct {
	separators string
	start      bool // of a cell
	quoted     bool // in a quoted cell
	closing    bool // behind a quote that may close it
	opened     bool // by the last byte
}

// inside reports whether a line's end would be text.
func (s *scan) inside() bool { return s.quoted && !s.closing }

// next takes a byte, and reports whether it is text of a cell, and whether the
// quote before it is text after all.
func (s *scan) next(c byte) (isText, quoteToo bool) {
	s.opened = false
	switch {
	case s.inside() && c != '"':
		return true, false
	case s.quoted && c == '"':
		s.closing = !s.closing
		return !s.closing, false // of two, one is text
	}
	behind := s.quoted
	s.quoted, s.closing = false, false
	switch {
	case c == '\n' || strings.IndexByte(s.separators, c) >= 0:
		s.start = true
		return false, false
	case c == '"' && s.start:
		s.start, s.quoted, s.opened = false, true, true
		return false, false
	}
	s.start = false
	return true, behind
}

// cells splits a row without its line's end.
func cells(row []byte, separators string) ([]string, error) {
	var out []string
	var cell []byte
	end := func() {
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
			if end(); len(out) >= loosejson.MaxValues {
				return nil, loosejson.ErrTooMany
			}
		}
	}
	end()
	return out, nil
}
