package csv

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// Format starts the records' ids.
const Format = "csv"

// Read is a convert.Reader of a table. Columns find their fields by
// convert.Named, and by the names that Writer gives them; other columns stay in
// the attributes, and so do cells behind the last name, as column_N. An empty
// cell is absent. The original is the line of the names, a line feed and the
// row's exact bytes, which say little without the names.
//
// The separator is a comma, or else the semicolon or tab that the first line has.
// Ids are those of convert.IDs with the source, of the names and the row. A
// first line that has no names is refused, and nothing behind it is read.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		rows := &rows{r: bufio.NewReaderSize(r, 64<<10), separators: separators}
		t := table{ids: convert.NewIDs(Format, source)}
		record := 0
		for {
			raw, err := rows.next()
			if err == io.EOF {
				return
			}
			var unterminated *unterminatedError
			refused := errors.Is(err, convert.ErrTooLong) || errors.As(err, &unterminated)
			if err != nil && !refused {
				yield(attestlog.Event{}, fmt.Errorf("line %d: %w", rows.line, err))
				return
			}
			if err == nil && len(bytes.TrimSpace(raw)) == 0 {
				continue
			}
			isHeader := t.names == nil
			var e attestlog.Event
			switch {
			case err != nil:
			case isHeader:
				err = t.header(raw)
				rows.separators = t.separator
			default:
				e, err = t.event(raw)
			}
			if isHeader && err == nil {
				continue
			}
			if isHeader {
				err = fmt.Errorf("the first line has no column names: %w", err)
			}
			record++
			if err != nil {
				err = &convert.RecordError{Source: source, Record: record, Line: rows.line, Offset: rows.start, Err: err}
			}
			if !yield(e, err) || isHeader {
				return
			}
		}
	}
}

type table struct {
	line      []byte // the first, with a line feed behind it
	names     []string
	separator string
	ours      bool // written by Writer
	ids       *convert.IDs
}

// separators are those that a table may have.
const separators = ",;\t"

var errLongNames = fmt.Errorf("longer than %d bytes", attestlog.MaxOriginal)

func (t *table) header(raw []byte) error {
	raw = bytes.TrimPrefix(raw, []byte("\uFEFF"))
	if len(raw) > attestlog.MaxOriginal { // every row's original has them
		return errLongNames
	}
	var found [256]bool
	state := scan{separators: separators, start: true}
	for _, c := range raw {
		state.next(c)
		found[c] = found[c] || state.start
	}
	t.separator = ","
	for _, c := range []byte(";\t") {
		if found[c] && !found[','] {
			t.separator = string(c)
		}
	}
	names, err := cells(raw, t.separator)
	if err != nil {
		return err
	}
	t.names, t.line = names, append(bytes.Clone(raw), '\n')
	t.ours = slices.Contains(names, "index") && slices.Contains(names, "logged_time")
	return nil
}

// columns are the names of Writer that Named does not know, or knows otherwise.
var columns = map[string]string{"index": "imported.index", "logged_time": "imported.logged_time", "id": "imported.id", "host": "source.host"}

func (t *table) event(raw []byte) (attestlog.Event, error) {
	cells, err := cells(raw, t.separator)
	if err != nil {
		return attestlog.Event{}, err
	}
	o := convert.Object{}
	for i, cell := range cells {
		name := ""
		if i < len(t.names) {
			name = t.names[i]
		}
		if name == "" {
			name = fmt.Sprintf("column_%d", i+1)
		}
		if t.ours {
			cell = unguard(cell)
			if n, ok := columns[name]; ok {
				name = n
			}
		}
		if cell != "" {
			o.Add(name, cell)
		}
	}
	e := attestlog.Event{Original: slices.Concat(t.line, raw)}
	e.ID = t.ids.Next(e.Original)
	if t.ours {
		e.Targets = targets(o)
	}
	convert.Named(&e, o)
	convert.Finish(&e)
	return e, nil
}

// targets takes those that Writer writes: type/id, with spaces between, which an
// id may have too.
func targets(o convert.Object) (all []attestlog.Target) {
	text := o.Text("target")
	parts := strings.Split(text, " ")
	if slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(part, "/") }) {
		parts = []string{text}
	}
	for _, part := range parts {
		kind, id, ok := strings.Cut(part, "/")
		if !ok {
			return nil
		}
		all = append(all, attestlog.Target{Type: kind, ID: id})
	}
	o.Take("target")
	return all
}
