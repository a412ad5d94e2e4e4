// Package csv reads and writes tables of records as text: RFC 4180 as the W3C's
// Model for Tabular Data on the Web takes it by default (w3.org/TR/tabular-data-model):
// UTF-8, a first line of column names, commas, double quotes.
//
//	index,id,time,logged_time,…,action,operation,outcome,…,actor,…
//	7,019a…,2026-03-01T10:00:00Z,2026-03-01T10:00:01Z,…,mail.view,read,success,…,alice,…
package csv

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// Format starts the records' ids.
const Format = "csv"

// Read is a convert.Reader of a table. Columns find their fields by
// convert.Named, and by the names that Writer gives them; other columns stay in
// the attributes, and so do cells behind the last name, as column_N. An empty
// cell is absent. A row's exact bytes are the original; without the names of the
// first line they say little, so those are in the attributes' names.
//
// The separator is a comma, or else the semicolon or tab that the first line has.
// Ids are those of convert.IDs with the source.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		rows := &rows{r: bufio.NewReaderSize(r, 64<<10)}
		t := table{ids: convert.NewIDs(Format, source)}
		record := 0
		for {
			raw, err := rows.next()
			if err == io.EOF {
				return
			}
			if err != nil && !errors.Is(err, errRow) {
				yield(attestlog.Event{}, fmt.Errorf("line %d: %w", rows.line, err))
				return
			}
			if err == nil && len(bytes.TrimSpace(raw)) == 0 {
				continue
			}
			if t.names == nil {
				if err == nil {
					err = t.header(raw)
				}
				if err != nil {
					yield(attestlog.Event{}, fmt.Errorf("the first line has no column names: %w", err))
					return
				}
				continue
			}
			record++
			var e attestlog.Event
			if err == nil {
				e, err = t.event(raw)
			}
			if err != nil {
				err = &convert.RecordError{Source: source, Record: record, Line: rows.line, Offset: rows.start, Err: err}
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// rows splits text at line ends that are not quoted.
type rows struct {
	r           *bufio.Reader
	line, lines int // of the row, and behind it
	start, end  int64
}

// errRow is of a row that is passed over.
var errRow = errors.New("a quoted cell does not end, or the row is too long")

func (s *rows) next() ([]byte, error) {
	s.start, s.line = s.end, s.lines+1
	var row []byte
	quoted, tooLong := false, false
	for {
		part, err := s.r.ReadSlice('\n')
		s.end += int64(len(part))
		quoted = quoted != (bytes.Count(part, []byte{'"'})%2 == 1)
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
			s.lines++
			if quoted && !tooLong {
				continue
			}
		}
		switch {
		case err == io.EOF && s.end == s.start:
			return nil, io.EOF
		case quoted || tooLong:
			return nil, errRow
		}
		return bytes.TrimRight(row, "\r\n"), nil
	}
}

type table struct {
	names []string
	comma rune
	own   bool // written by Writer
	ids   *convert.IDs
}

func (t *table) header(raw []byte) error {
	raw = bytes.TrimPrefix(raw, []byte("\uFEFF"))
	t.comma = ','
	for _, c := range ";\t" {
		if bytes.ContainsRune(raw, c) && !bytes.ContainsRune(raw, ',') {
			t.comma = c
		}
	}
	names, err := t.cells(raw)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, n := range names {
		seen[n] = true
	}
	t.names, t.own = names, seen["index"] && seen["logged_time"]
	return nil
}

func (t *table) cells(raw []byte) ([]string, error) {
	r := csv.NewReader(bytes.NewReader(raw))
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = t.comma, true, -1
	return r.Read()
}

// own are the names of Writer that Named does not know, or knows otherwise.
var own = map[string]string{"index": "imported.index", "logged_time": "imported.logged_time", "id": "imported.id", "host": "source.host"}

func (t *table) event(raw []byte) (attestlog.Event, error) {
	cells, err := t.cells(raw)
	if err != nil {
		return attestlog.Event{}, err
	}
	o := convert.Object{}
	for i, cell := range cells {
		name := fmt.Sprintf("column_%d", i+1)
		if i < len(t.names) && t.names[i] != "" {
			name = t.names[i]
		}
		if t.own {
			cell = unsafe(cell)
			if n, ok := own[name]; ok {
				name = n
			}
		}
		if cell == "" {
			continue
		}
		if before, taken := o[name]; taken {
			all, ok := before.(convert.Repeated)
			if !ok {
				all = convert.Repeated{before}
			}
			o[name] = append(all, cell)
			continue
		}
		o[name] = cell
	}
	e := attestlog.Event{ID: t.ids.Next(raw), Original: bytes.Clone(raw)}
	if t.own {
		if kind, id, ok := strings.Cut(o.Text("target"), "/"); ok {
			o.Take("target")
			e.Targets = []attestlog.Target{{Type: kind, ID: id}}
		}
	}
	convert.Named(&e, o)
	convert.Bound(&e)
	return e, nil
}

// Fields are the columns that Writer has by default.
var Fields = []string{
	"index", "id", "time", "logged_time", "tenant", "service", "module", "action", "operation", "outcome", "reason",
	"actor", "actor.type", "actor.name", "ip", "host", "user_agent", "target", "request.method", "request.path",
	"request.status", "message",
}

// A Writer writes entries as rows whose cells no spreadsheet takes for a
// formula: an apostrophe stands before what one would calculate.
type Writer struct {
	out    *csv.Writer
	fields []string
}

// NewWriter writes the first line, of fields that Entry.Field knows. It is
// buffered until Flush.
func NewWriter(w io.Writer, fields []string) (*Writer, error) {
	out := &Writer{csv.NewWriter(w), fields}
	return out, out.out.Write(fields)
}

// Write writes an entry. The values of a field that has several are joined by
// spaces.
func (w *Writer) Write(e *attestlog.Entry) error {
	row := make([]string, len(w.fields))
	for i, field := range w.fields {
		v, err := e.Field(field)
		if err != nil {
			return err
		}
		row[i] = safe(strings.Join(v, " "))
	}
	return w.out.Write(row)
}

// Flush writes what is buffered.
func (w *Writer) Flush() error {
	w.out.Flush()
	return w.out.Error()
}

// formula starts what a spreadsheet would calculate.
const formula = "=+-@\t\r\n'"

func safe(s string) string {
	if s != "" && strings.ContainsRune(formula, rune(s[0])) {
		return "'" + s
	}
	return s
}

// unsafe undoes safe.
func unsafe(s string) string {
	if len(s) > 1 && s[0] == '\'' && strings.ContainsRune(formula, rune(s[1])) {
		return s[1:]
	}
	return s
}
