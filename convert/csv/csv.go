// Package csv reads tables of records as events, and writes entries as a table.
//
// The format is that of RFC 4180, as the W3C's Model for Tabular Data on the
// Web takes it by default (w3.org/TR/tabular-data-model): UTF-8, a first line
// of column names, commas, double quotes.
//
//	time,user,action,ip,note
//	2026-03-01T10:00:00Z,alice,mail.view,192.0.2.7,"said ""hi"""
//
// Read also takes tables whose separator is a semicolon or a tab: the one that
// the first line has, if it has no comma.
//
// # Reading
//
// A row becomes an event as follows.
//
//	all fields  columns, by their names: those of convert.Named, and of Writer
//	targets     type/id, with spaces between, in a table that Writer wrote
//
// Other columns stay in the attributes under their own names, and so do cells
// after the last name, as column_N. In a table that Writer wrote, what the log
// had added is in attributes.imported: index, id and logged_time. An empty cell
// is absent. The original is the line of the names, a line feed and the row's
// exact bytes, which say little without the names.
//
// A first line that has no names is refused, and nothing after it is read.
//
// # Ids
//
// Ids are those of convert.IDs with the source, of the names and the row.
//
// # Writing
//
// A Writer writes entries as rows. It is a view: what has no column is left
// out, and it proves nothing.
package csv

import (
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

// Read is a convert.Reader of one table.
func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
	return func(yield func(attestlog.Event, error) bool) {
		rows := newRows(r)
		ids := convert.NewIDs(Format, source)
		var t *table // nil before the first line
		record := 1  // the number of the next one
		refuse := func(err error) error {
			return &convert.RecordError{
				Source: source, Record: record, Line: rows.start.line, Offset: rows.start.offset, Err: err,
			}
		}

		for {
			raw, err := rows.next()
			if err == io.EOF {
				return
			}
			var unterminated *unterminatedError
			isRefused := errors.Is(err, convert.ErrTooLong) || errors.As(err, &unterminated)
			if err != nil && !isRefused {
				yield(attestlog.Event{}, fmt.Errorf("line %d: %w", rows.start.line, err))
				return
			}
			if err == nil && len(bytes.TrimSpace(raw)) == 0 {
				continue
			}

			// Without names no row says anything, so a bad first line is the
			// end.
			if t == nil {
				if err == nil {
					t, err = newTable(raw)
				}
				if err != nil {
					yield(attestlog.Event{}, refuse(fmt.Errorf("the first line has no column names: %w", err)))
					return
				}
				rows.separators = t.separator
				continue
			}

			var e attestlog.Event
			if err == nil {
				e, err = t.event(raw, ids)
			}
			if err != nil {
				err = refuse(err)
			}
			if !yield(e, err) {
				return
			}
			record++
		}
	}
}

// A table has what its first line says.
type table struct {
	line      []byte // the first, with a line feed
	names     []string
	separator string
	isWriters bool // written by Writer
}

// separators are those that a table may have.
const separators = ",;\t"

var errLongNames = fmt.Errorf("longer than %d bytes", attestlog.MaxOriginal)

// newTable reads a table's first line. It keeps nothing of raw.
func newTable(raw []byte) (*table, error) {
	raw = bytes.TrimPrefix(raw, []byte("\uFEFF"))
	if len(raw) > attestlog.MaxOriginal { // every row's original has them
		return nil, errLongNames
	}

	var found [256]bool // the separators that are there, outside of quotes
	state := scan{separators: separators, start: true}
	for _, c := range raw {
		state.next(c)
		if state.start {
			found[c] = true
		}
	}
	separator := ","
	for _, c := range []byte(";\t") {
		if found[c] && !found[','] {
			separator = string(c)
		}
	}

	names, err := cells(raw, separator)
	if err != nil {
		return nil, err
	}
	return &table{
		line:      append(bytes.Clone(raw), '\n'),
		names:     names,
		separator: separator,
		isWriters: slices.Contains(names, "index") && slices.Contains(names, "logged_time"),
	}, nil
}

// columns maps the names of Writer that Named does not know, or takes for
// something else.
var columns = map[string]string{
	"index":       convert.Imported + ".index",
	"logged_time": convert.Imported + ".logged_time",
	"id":          convert.Imported + ".id",
	"host":        "source.host",
}

// event maps one row. The event keeps nothing of raw.
func (t *table) event(raw []byte, ids *convert.IDs) (attestlog.Event, error) {
	o, err := t.object(raw)
	if err != nil {
		return attestlog.Event{}, err
	}

	e := attestlog.Event{Original: slices.Concat(t.line, raw)}
	e.ID = ids.Next(e.Original)
	if t.isWriters {
		e.Targets = targets(o)
	}
	convert.Named(&e, o)
	convert.Finish(&e)
	return e, nil
}

// object returns the row's cells by the names of their columns.
func (t *table) object(raw []byte) (convert.Object, error) {
	cells, err := cells(raw, t.separator)
	if err != nil {
		return nil, err
	}

	o := convert.Object{}
	for i, cell := range cells {
		name := ""
		if i < len(t.names) {
			name = t.names[i]
		}
		if name == "" { // a column without a name, or a cell after the last one
			name = fmt.Sprintf("column_%d", i+1)
		}
		if t.isWriters {
			cell = unguard(cell)
			if n, ok := columns[name]; ok {
				name = n
			}
		}
		if cell != "" {
			o.Add(name, cell)
		}
	}
	return o, nil
}

// targets returns those that Writer writes: type/id, with spaces between, which
// an id may have too.
func targets(o convert.Object) []attestlog.Target {
	text := o.Text("target")
	parts := strings.Split(text, " ")
	hasNoType := func(part string) bool { return !strings.Contains(part, "/") }
	if slices.ContainsFunc(parts, hasNoType) {
		parts = []string{text} // one target, whose id has spaces
	}

	var all []attestlog.Target
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
