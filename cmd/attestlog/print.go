package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
	"golang.org/x/term"

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
	entry(*attestlog.Entry) error
	flush() error // shows what is held back, while more may come
	end() error
}

var tableFields = []string{"index", "time", "actor", "action", "target", "outcome", "message"}

// views are the formats of other people's programs, one entry a line.
var views = map[string]func(dst []byte, origin string, e *attestlog.Entry) ([]byte, error){
	"otlp":        withoutOrigin(otel.Append),
	"ocsf":        withoutOrigin(ocsf.Append),
	"ecs":         withoutOrigin(ecs.Append),
	"cef":         withoutOrigin(cef.Append),
	"cloudevents": cloudevents.Append,
	"cloudtrail":  withoutOrigin(cloudtrail.Append),
	"kubernetes":  withoutOrigin(kubernetes.Append),
}

func withoutOrigin(fn func([]byte, *attestlog.Entry) ([]byte, error)) func([]byte, string, *attestlog.Entry) ([]byte, error) {
	return func(dst []byte, _ string, e *attestlog.Entry) ([]byte, error) { return fn(dst, e) }
}

// newPrinter returns a printer for the entries of the log with an origin.
func newPrinter(a *app, out io.Writer, origin, format string, fields []string) (printer, error) {
	for _, f := range fields {
		if _, err := new(attestlog.Entry).Field(f); err != nil {
			return nil, err
		}
	}
	if view := views[format]; view != nil {
		if fields != nil {
			return nil, fmt.Errorf("--fields: the format %s has fields of its own", format)
		}
		return &viewPrinter{out: out, origin: origin, view: view}, nil
	}
	switch format {
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

type viewPrinter struct {
	out    io.Writer
	origin string
	view   func([]byte, string, *attestlog.Entry) ([]byte, error)
	line   []byte
}

func (p *viewPrinter) entry(e *attestlog.Entry) (err error) {
	if p.line, err = p.view(p.line[:0], p.origin, e); err == nil {
		_, err = p.out.Write(append(p.line, '\n'))
	}
	return err
}

func (p *viewPrinter) flush() error { return nil }
func (p *viewPrinter) end() error   { return nil }

// terminal returns the width of out, 0 if it is no terminal, and whether
// colours are wanted.
func terminal(out io.Writer) (width int, color bool) {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 {
		width = 80
	}
	return width, os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// clean makes text safe for a terminal: control and formatting characters,
// which could move the cursor or reorder what is read, are shown as escapes.
func clean(s string) string {
	unsafe := func(r rune) bool {
		return r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)) || r == unicode.ReplacementChar
	}
	if !strings.ContainsFunc(s, unsafe) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !unsafe(r):
			b.WriteRune(r)
		case r == '\t':
			b.WriteByte(' ')
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// cleanLine is clean on one line.
func cleanLine(s string) string { return strings.ReplaceAll(clean(s), "\n", `\n`) }

func quoteJSON(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`)
	}
	return b
}

func values(e *attestlog.Entry, field string) string {
	v, err := e.Field(field)
	if err != nil {
		return ""
	}
	return strings.Join(v, " ")
}

// A jsonPrinter writes whole entries, or objects of the chosen fields, one a
// line or as one list.
type jsonPrinter struct {
	out    io.Writer
	fields []string
	list   bool
	n      int
}

func (p *jsonPrinter) entry(e *attestlog.Entry) error {
	b, err := p.object(e)
	if err != nil {
		return err
	}
	switch {
	case !p.list:
		b = append(b, '\n')
	case p.n == 0:
		b = append([]byte("[\n  "), b...)
	default:
		b = append([]byte(",\n  "), b...)
	}
	p.n++
	_, err = p.out.Write(b)
	return err
}

func (p *jsonPrinter) object(e *attestlog.Entry) ([]byte, error) {
	if p.fields == nil {
		return e.MarshalJSON()
	}
	b := []byte{'{'}
	for i, field := range p.fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, quoteJSON(field)...), ':')
		v, err := e.Field(field)
		if err != nil {
			return nil, err
		}
		switch {
		case field == "index":
			b = append(b, v[0]...)
		case len(v) == 0:
			b = append(b, "null"...)
		case len(v) == 1:
			b = append(b, quoteJSON(v[0])...)
		default:
			list, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			b = append(b, list...)
		}
	}
	return append(b, '}'), nil
}

func (p *jsonPrinter) flush() error { return nil }

func (p *jsonPrinter) end() error {
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

type csvPrinter struct{ *csv.Writer }

func (p csvPrinter) entry(e *attestlog.Entry) error { return p.Write(e) }
func (p csvPrinter) flush() error                   { return p.Flush() }
func (p csvPrinter) end() error                     { return p.Flush() }

// tableHold is how many rows are held back to learn the columns' widths.
const tableHold = 200

// A tablePrinter writes columns as wide as its first rows need, within the
// terminal's width.
type tablePrinter struct {
	out    io.Writer
	fields []string
	width  int // of the terminal, 0: do not cut
	color  bool
	held   [][]string
	widths []int // nil until the header is written
}

func (p *tablePrinter) entry(e *attestlog.Entry) error {
	row := make([]string, len(p.fields))
	for i, field := range p.fields {
		row[i] = p.cell(e, field)
	}
	if p.widths != nil {
		return p.row(row)
	}
	p.held = append(p.held, row)
	if len(p.held) == tableHold {
		return p.flush()
	}
	return nil
}

func (p *tablePrinter) cell(e *attestlog.Entry, field string) string {
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
		if v := values(e, field); v != "" {
			return cleanLine(v)
		}
		field = "target.id"
	}
	return cleanLine(values(e, field))
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
		if err := p.row(header); err != nil {
			return err
		}
	}
	for _, row := range p.held {
		if err := p.row(row); err != nil {
			return err
		}
	}
	p.held = nil
	return nil
}

const (
	columnGap = 2
	minColumn = 6
)

// measure makes the widest columns narrower until the table fits.
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

func (p *tablePrinter) row(cells []string) error {
	var b strings.Builder
	for i, cell := range cells {
		if i > 0 {
			b.WriteString(strings.Repeat(" ", columnGap))
		}
		if p.width > 0 {
			cell = cut(cell, p.widths[i])
		}
		pad := ""
		if i < len(cells)-1 {
			pad = strings.Repeat(" ", max(0, p.widths[i]-uniseg.StringWidth(cell)))
		}
		if p.color && cell == "failure" && p.fields[i] == "outcome" {
			cell = "\x1b[31m" + cell + "\x1b[0m"
		}
		b.WriteString(cell + pad)
	}
	_, err := io.WriteString(p.out, strings.TrimRight(b.String(), " ")+"\n")
	return err
}

// cut shortens text to a width in terminal cells.
func cut(s string, width int) string {
	if uniseg.StringWidth(s) <= width {
		return s
	}
	var b strings.Builder
	used := 0
	for g := uniseg.NewGraphemes(s); g.Next(); {
		if used+g.Width() > width-1 {
			break
		}
		used += g.Width()
		b.WriteString(g.Str())
	}
	return b.String() + "…"
}

func (p *tablePrinter) end() error { return p.flush() }
