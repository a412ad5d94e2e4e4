package csv

import (
	"encoding/csv"
	"io"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/field"
)

// Fields are the columns that Writer has by default: those that say at a glance
// what happened, in the order in which people read an event.
var Fields = defaultFields()

func defaultFields() []string {
	names := []string{"index"}
	for i := range field.All() {
		f := &field.All()[i]
		switch {
		case f.ID == field.Time:
			names = append(names, "time", "logged_time")
		case f.ID == field.TargetID: // with its type, in one column
			names = append(names, field.TargetReference)
		case f.Query != "" && !f.Detail:
			names = append(names, f.Query)
		}
	}
	return names
}

// A Writer writes entries as rows. No spreadsheet takes one of its cells for a
// formula: a cell that one would calculate has an apostrophe before it. A
// Writer is not safe for concurrent use.
//
//	index,id,time,logged_time,…,action,operation,outcome,…,actor,…
//	7,019a…,2026-03-01T10:00:00Z,2026-03-01T10:00:01Z,…,mail.view,read,success,…,alice,…
type Writer struct {
	out    *csv.Writer
	fields []string
}

// NewWriter returns a Writer of the fields, which Entry.Field knows, and writes
// their names as the first line. What it writes is buffered until Flush.
func NewWriter(w io.Writer, fields []string) (*Writer, error) {
	out := &Writer{out: csv.NewWriter(w), fields: fields}
	return out, out.out.Write(fields)
}

// Write writes an entry as one row. If a field has several values, spaces
// separate them.
func (w *Writer) Write(e *attestlog.Entry) error {
	row := make([]string, len(w.fields))
	for i, name := range w.fields {
		v, err := e.Field(name)
		if err != nil {
			return err
		}
		row[i] = guard(strings.Join(v, " "))
	}
	if e.Err != nil { // which has an index and no other value
		row[len(row)-1] = "DAMAGED " + e.Err.Error()
	}
	return w.out.Write(row)
}

// Flush writes what is buffered.
func (w *Writer) Flush() error {
	w.out.Flush()
	return w.out.Error()
}

// formula has the bytes that start what a spreadsheet would calculate, and the
// apostrophe, so that unguard can tell it from one of guard's.
const formula = "=+-@\t\r\n'"

// guard puts an apostrophe before what would be a formula.
func guard(s string) string {
	if s != "" && strings.ContainsRune(formula, rune(s[0])) {
		return "'" + s
	}
	return s
}

// unguard undoes guard.
func unguard(s string) string {
	if len(s) > 1 && s[0] == '\'' && strings.ContainsRune(formula, rune(s[1])) {
		return s[1:]
	}
	return s
}
