package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/rivo/uniseg"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/cef"
	"github.com/attestlog/attestlog/convert/cloudevents"
	"github.com/attestlog/attestlog/convert/cloudtrail"
	"github.com/attestlog/attestlog/convert/csv"
	"github.com/attestlog/attestlog/convert/ecs"
	"github.com/attestlog/attestlog/convert/kubernetes"
	"github.com/attestlog/attestlog/convert/ocsf"
	"github.com/attestlog/attestlog/convert/otel"
)

// A printer writes entries in one format.
type printer interface {
	print(*attestlog.Entry) error
	// flush writes the entries that are held back. More may follow.
	flush() error
	// finish writes what the format needs after the last entry.
	finish() error
}

// tableFields are a table's columns by default.
var tableFields = []string{"index", "time", "actor", "action", "target", "outcome", "message"}

// newPrinter returns a printer for the entries of the log with an origin. It counts
// those that are damaged.
func newPrinter(a *app, out io.Writer, origin string, flags outputFlags, damaged *damage) (printer, error) {
	p, err := newFormatPrinter(a, out, origin, flags)
	if err != nil {
		return nil, err
	}
	return &damagePrinter{p, damaged, views[flags.Format] != nil}, nil
}

// newFormatPrinter returns the printer of a format.
func newFormatPrinter(a *app, out io.Writer, origin string, flags outputFlags) (printer, error) {
	fields := flags.Fields
	for _, f := range fields {
		if _, err := new(attestlog.Entry).Field(f); err != nil {
			return nil, err
		}
	}

	if view := views[flags.Format]; view != nil {
		if fields != nil {
			return nil, fmt.Errorf("--fields: the format %s has fields of its own", flags.Format)
		}
		return &viewPrinter{out: out, origin: origin, view: view}, nil
	}

	switch flags.Format {
	case "json":
		return &jsonPrinter{out: out, fields: fields, list: true}, nil
	case "jsonl":
		return &jsonPrinter{out: out, fields: fields}, nil
	case "csv":
		if fields == nil {
			fields = csv.Fields
		}
		w, err := csv.NewWriter(out, fields)
		return csvPrinter{w}, err
	}

	if fields == nil {
		fields = tableFields
	}
	width, color := terminal(a.stdout)
	return &tablePrinter{out: out, fields: fields, width: width, color: color}, nil
}

// A view appends an entry in the format of another program, on one line
// without its end.
type view func(dst []byte, origin string, e *attestlog.Entry) ([]byte, error)

var views = map[string]view{
	"otlp":        withoutOrigin(otel.Append),
	"ocsf":        withoutOrigin(ocsf.Append),
	"ecs":         withoutOrigin(ecs.Append),
	"cef":         withoutOrigin(cef.Append),
	"cloudevents": cloudevents.Append,
	"cloudtrail":  withoutOrigin(cloudtrail.Append),
	"kubernetes":  withoutOrigin(kubernetes.Append),
}

func withoutOrigin(fn func([]byte, *attestlog.Entry) ([]byte, error)) view {
	return func(dst []byte, _ string, e *attestlog.Entry) ([]byte, error) { return fn(dst, e) }
}

// A viewPrinter writes one view of each entry a line.
type viewPrinter struct {
	out    io.Writer
	origin string
	view   view
	line   []byte
}

func (p *viewPrinter) print(e *attestlog.Entry) error {
	line, err := p.view(p.line[:0], p.origin, e)
	if err != nil {
		return err
	}
	p.line = append(line, '\n')
	_, err = p.out.Write(p.line)
	return err
}

func (p *viewPrinter) flush() error  { return nil }
func (p *viewPrinter) finish() error { return nil }

// A jsonPrinter writes whole entries, or objects of the chosen fields, one a
// line or as one list.
type jsonPrinter struct {
	out    io.Writer
	fields []string // nil: whole entries
	list   bool
	n      int // entries so far
}

func (p *jsonPrinter) print(e *attestlog.Entry) error {
	text, err := p.object(e)
	if err != nil {
		return err
	}

	switch {
	case !p.list:
		text = append(text, '\n')
	case p.n == 0:
		text = append([]byte("[\n  "), text...)
	default:
		text = append([]byte(",\n  "), text...)
	}
	p.n++
	_, err = p.out.Write(text)
	return err
}

// object returns the entry as a JSON object. A chosen field without a value is
// null, one with several values is a list.
func (p *jsonPrinter) object(e *attestlog.Entry) ([]byte, error) {
	if p.fields == nil || e.Err != nil {
		return e.MarshalJSON()
	}

	text := []byte{'{'}
	for i, field := range p.fields {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, quoteJSON(field)...)
		text = append(text, ':')

		values, err := e.Field(field)
		if err != nil {
			return nil, err
		}
		switch {
		case field == "index":
			text = append(text, values[0]...)
		case len(values) == 0:
			text = append(text, "null"...)
		case len(values) == 1:
			text = append(text, quoteJSON(values[0])...)
		default:
			list, err := json.Marshal(values)
			if err != nil {
				return nil, err
			}
			text = append(text, list...)
		}
	}
	return append(text, '}'), nil
}

func (p *jsonPrinter) flush() error { return nil }

func (p *jsonPrinter) finish() error {
	text := ""
	switch {
	case p.list && p.n == 0:
		text = "[]\n"
	case p.list:
		text = "\n]\n"
	}
	_, err := io.WriteString(p.out, text)
	return err
}

// quoteJSON returns s as a JSON string.
func quoteJSON(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`)
	}
	return b
}

type csvPrinter struct{ *csv.Writer }

func (p csvPrinter) print(e *attestlog.Entry) error { return p.Write(e) }
func (p csvPrinter) flush() error                   { return p.Flush() }
func (p csvPrinter) finish() error                  { return p.Flush() }

const (
	tableSample = 200 // rows that decide the columns' widths
	columnGap   = 2
	minColumn   = 6
)

// A tablePrinter writes columns as wide as its first rows need, within the
// terminal's width. It holds back these rows until it knows the widths.
type tablePrinter struct {
	out    io.Writer
	fields []string
	width  int // of the terminal; 0: rows are not shortened
	color  bool
	held   [][]string
	widths []int // nil until the header is written
}

func (p *tablePrinter) print(e *attestlog.Entry) error {
	row := make([]string, len(p.fields))
	for i, field := range p.fields {
		row[i] = tableCell(e, field)
	}
	if e.Err != nil {
		row[len(row)-1] = "DAMAGED " + cleanLine(e.Err.Error())
	}

	if p.widths != nil {
		return p.write(row)
	}
	p.held = append(p.held, row)
	if len(p.held) == tableSample {
		return p.flush()
	}
	return nil
}

func tableCell(e *attestlog.Entry, field string) string {
	if e.Err != nil {
		return fieldText(e, field)
	}
	switch field {
	case "time":
		return e.Time.Format("2006-01-02 15:04:05.000")
	case "logged_time":
		return e.LoggedTime.Format("2006-01-02 15:04:05.000")
	case "message":
		if e.Message == "" {
			return cleanLine(e.Reason)
		}
	case "target":
		// A target without a type has an id alone.
		if v := fieldText(e, field); v != "" {
			return cleanLine(v)
		}
		field = "target.id"
	}
	return cleanLine(fieldText(e, field))
}

// fieldText returns the values of a field, with spaces between them.
func fieldText(e *attestlog.Entry, field string) string {
	values, err := e.Field(field)
	if err != nil {
		return ""
	}
	return strings.Join(values, " ")
}

func (p *tablePrinter) flush() error {
	if p.widths == nil {
		if len(p.held) == 0 {
			return nil
		}
		p.measure()
		header := make([]string, len(p.fields))
		for i, f := range p.fields {
			header[i] = strings.ToUpper(f)
		}
		if err := p.write(header); err != nil {
			return err
		}
	}

	for _, row := range p.held {
		if err := p.write(row); err != nil {
			return err
		}
	}
	p.held = nil
	return nil
}

// measure decides the columns' widths: as wide as the longest cell, and then,
// until the table fits the terminal, the widest column narrower.
func (p *tablePrinter) measure() {
	p.widths = make([]int, len(p.fields))
	for i, f := range p.fields {
		p.widths[i] = len(f)
		for _, row := range p.held {
			p.widths[i] = max(p.widths[i], uniseg.StringWidth(row[i]))
		}
	}

	for p.width > 0 {
		total, widest := -columnGap, 0
		for i, w := range p.widths {
			total += w + columnGap
			if w > p.widths[widest] {
				widest = i
			}
		}
		if total <= p.width || p.widths[widest] <= minColumn {
			return
		}
		p.widths[widest]--
	}
}

func (p *tablePrinter) write(row []string) error {
	var b strings.Builder
	for i, cell := range row {
		if i > 0 {
			b.WriteString(strings.Repeat(" ", columnGap))
		}
		if p.width > 0 {
			cell = shorten(cell, p.widths[i])
		}
		padding := 0
		if i < len(row)-1 {
			padding = max(0, p.widths[i]-uniseg.StringWidth(cell))
		}

		// The escapes have no width on the terminal.
		if p.color && cell == "failure" && p.fields[i] == "outcome" {
			cell = "\x1b[31m" + cell + "\x1b[0m"
		}
		b.WriteString(cell)
		b.WriteString(strings.Repeat(" ", padding))
	}

	_, err := io.WriteString(p.out, strings.TrimRight(b.String(), " ")+"\n")
	return err
}

func (p *tablePrinter) finish() error { return p.flush() }
