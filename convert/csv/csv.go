// Package csv reads and writes tables of records as text: RFC 4180 as the W3C's
// Model for Tabular Data on the Web takes it by default (w3.org/TR/tabular-data-model):
// UTF-8, a first line of column names, commas, double quotes.
//
//	index,id,time,logged_time,…,action,operation,outcome,…,actor,…
//	7,019a…,2026-03-01T10:00:00Z,2026-03-01T10:00:01Z,…,mail.view,read,success,…,alice,…
package csv

import (
	"encoding/csv"
	"io"
	"strings"

	"github.com/attestlog/attestlog"
)

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
		row[i] = guard(strings.Join(v, " "))
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
