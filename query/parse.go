package query

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/field"
)

// An Error points at what Parse could not read, or says why a log cannot answer
// a query.
type Error struct {
	Query  string
	Column int // in characters, from 1; 0 if it is about no place
	Msg    string
}

func (e *Error) Error() string {
	if e.Column == 0 {
		return "query: " + e.Msg
	}
	return fmt.Sprintf("query: column %d: %s", e.Column, e.Msg)
}

// Parse reads the query language:
//
//	actor:alice -outcome:failure action:mail.* target:mail/123 ip:10.0.0.0/8
//	after:2026-01-01 before:2026-02-01T12:00+01:00 index:100..200 index:>5
//	time:2026-01 attributes.folder:inbox "free text" (word OR other) order:time
//
// Terms are joined by AND unless OR is between them; a minus or NOT negates the
// next term; parentheses group. The first colon splits a field from its value,
// the first slash a target's type from its id. Quotes take any value literally,
// or the name of a field before its colon ("\"" and "\\" inside). A star at the
// end of an unquoted value, or after a quoted one, makes it a prefix. after:
// includes its instant, before: does not; both mean the event's time, in UTC
// unless an offset is given.
//
// The empty text selects everything. Errors are of type *Error.
func Parse(text string) (Query, error) {
	p := parser{text: text}
	q := p.alternatives(0)
	if p.err == nil && p.skipSpace() < len(text) {
		p.fail(p.pos, "unexpected %q", text[p.pos])
	}
	if p.err != nil {
		return Query{}, p.err
	}

	q.order = p.order
	return q, nil
}

// maxDepth bounds the nesting of parentheses and negations.
const maxDepth = 100

// The bytes that end an unquoted name or value.
const (
	spaces     = " \t\r\n"
	endOfWord  = " \t\r\n()"
	endOfName  = " \t\r\n()\":"
	endOfValue = " \t\r\n()\""
)

// A parser reads one text, from pos on. Its first error sticks.
type parser struct {
	text   string
	pos    int
	nested int // how many of OR's terms, NOTs and parentheses are open, where order: has no meaning
	order  Order
	err    error
}

func (p *parser) fail(pos int, format string, args ...any) Query {
	if p.err == nil {
		column := utf8.RuneCountInString(p.text[:pos]) + 1
		p.err = &Error{Query: p.text, Column: column, Msg: fmt.Sprintf(format, args...)}
	}
	return Query{}
}

// checked returns q, unless the values that it was made from were wrong.
func (p *parser) checked(pos int, q Query) Query {
	if q.err != nil {
		return p.fail(pos, "%v", q.err)
	}
	return q
}

// skipSpace returns the position of what follows.
func (p *parser) skipSpace() int {
	for p.pos < len(p.text) && strings.IndexByte(spaces, p.text[p.pos]) >= 0 {
		p.pos++
	}
	return p.pos
}

func (p *parser) atEnd() bool { return p.pos == len(p.text) }

// next returns the next byte, or 0 at the end.
func (p *parser) next() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

// until returns the text before the next byte of stop.
func (p *parser) until(stop string) string {
	start := p.pos
	for p.pos < len(p.text) && strings.IndexByte(stop, p.text[p.pos]) < 0 {
		p.pos++
	}
	return p.text[start:p.pos]
}

// sees reports whether a keyword comes next, as a word of its own.
func (p *parser) sees(keyword string) bool {
	rest, ok := strings.CutPrefix(p.text[p.skipSpace():], keyword)
	return ok && (rest == "" || strings.IndexByte(endOfWord, rest[0]) >= 0)
}

// accept reads a keyword if it comes next.
func (p *parser) accept(keyword string) bool {
	if p.sees(keyword) {
		p.pos += len(keyword)
		return true
	}
	return false
}

// alternatives reads terms with OR between them.
func (p *parser) alternatives(depth int) Query {
	if depth > maxDepth {
		return p.fail(p.pos, "nested deeper than %d", maxDepth)
	}

	kids := []Query{p.conjunction(depth)}
	for p.err == nil && p.accept("OR") {
		kids = append(kids, p.conjunction(depth))
	}
	if len(kids) == 1 {
		return kids[0]
	}

	if p.order == ByTime && p.nested == 0 {
		p.fail(0, "order: is next to OR; put the alternatives in parentheses")
	}
	return Or(kids...)
}

// conjunction reads terms with AND, or nothing, between them.
func (p *parser) conjunction(depth int) Query {
	var kids []Query
	start := p.pos
	for p.err == nil {
		pos := p.skipSpace()
		if p.atEnd() || p.next() == ')' || p.sees("OR") {
			break
		}

		if p.accept("AND") {
			if p.skipSpace() == len(p.text) || len(kids) == 0 {
				return p.fail(pos, "AND needs a term on both sides")
			}
		}
		kids = append(kids, p.factor(depth))
	}

	wholeTextIsEmpty := depth == 0 && start == 0 && p.pos == len(p.text)
	if len(kids) == 0 && !wholeTextIsEmpty {
		return p.fail(p.pos, "a term is missing")
	}
	return And(kids...)
}

// factor reads a term, a negation, or what is in parentheses.
func (p *parser) factor(depth int) Query {
	if depth > maxDepth {
		return p.fail(p.pos, "nested deeper than %d", maxDepth)
	}

	pos := p.skipSpace()
	switch {
	case p.atEnd() || p.next() == ')':
		return p.fail(pos, "a term is missing")

	case p.next() == '-':
		// "a - b" is more likely a slip than the negation of b.
		p.pos++
		if p.skipSpace() != pos+1 {
			return p.fail(pos, "a minus must be right before its term")
		}
		return p.negation(depth)

	case p.accept("NOT"):
		return p.negation(depth)

	case p.next() == '(':
		p.pos++
		p.nested++
		q := p.alternatives(depth + 1)
		p.nested--

		p.skipSpace()
		if p.err == nil && p.next() != ')' {
			return p.fail(pos, "parenthesis is not closed")
		}
		p.pos++
		return q
	}
	return p.term()
}

func (p *parser) negation(depth int) Query {
	p.nested++
	defer func() { p.nested-- }()
	return Not(p.factor(depth + 1))
}

// term reads a word, a quoted text, or field:value.
func (p *parser) term() Query {
	start := p.pos
	if p.next() == '"' {
		text, _ := p.quoted()
		if p.err == nil && p.next() == ':' {
			return p.condition(start, text)
		}
		return p.checked(start, Text(text))
	}

	name := p.until(endOfName)
	switch {
	case p.next() == ':':
		return p.condition(start, name)
	case name == "" || p.next() == '"':
		return p.fail(p.pos, "unexpected %q", p.text[p.pos])
	}
	return p.checked(start, Text(name))
}

// condition reads the value of a field whose name, from start on, was read.
func (p *parser) condition(start int, name string) Query {
	p.pos++ // the colon
	valuePos := p.pos
	value, prefix := p.value()
	if p.err != nil {
		return Query{}
	}

	switch name {
	case "index":
		return p.indexes(valuePos, value)
	case "after":
		from, _ := p.instant(valuePos, value)
		return Between(from, time.Time{})
	case "before":
		to, _ := p.instant(valuePos, value)
		return Between(time.Time{}, to)
	case "time":
		return p.times(valuePos, value)
	case "order":
		return p.orderBy(start, valuePos, value)
	}

	f, err := lookup(name)
	if err != nil {
		return p.fail(start, "%v (quote it to search for text)", err)
	}

	quoted := p.text[valuePos] == '"'
	switch {
	case prefix:
		return p.checked(valuePos, Prefix(name, value))
	case f.name == field.SourceIP.Field().Query && strings.Contains(value, "/") && !quoted:
		return p.checked(valuePos, Network(value))
	}
	return p.checked(valuePos, Field(name, value))
}

// value reads what follows a colon and reports whether it is a prefix.
func (p *parser) value() (string, bool) {
	start := p.pos
	if p.next() == '"' {
		value, prefix := p.quoted()
		if value == "" && !prefix {
			p.fail(start, "empty value (an empty field is an absent one)")
		}
		return value, prefix
	}

	value := p.until(endOfValue)
	switch {
	case value == "":
		p.fail(start, "a value is missing")
	case p.next() == '"':
		p.fail(p.pos, "a quote inside a value; quote the whole value")
	}
	return strings.CutSuffix(value, "*")
}

// quoted reads a quoted value and reports whether a star follows it.
func (p *parser) quoted() (string, bool) {
	start := p.pos
	p.pos++

	var b strings.Builder
	for ; p.pos < len(p.text); p.pos++ {
		c := p.text[p.pos]
		switch c {
		case '"':
			p.pos++
			if p.next() == '*' {
				p.pos++
				return b.String(), true
			}
			return b.String(), false

		case '\\':
			// Other escapes are refused, so that they can be given a meaning later.
			p.pos++
			if p.next() != '"' && p.next() != '\\' {
				p.fail(p.pos-1, `a backslash is allowed only before " or \`)
				return "", false
			}
			b.WriteByte(p.text[p.pos])

		default:
			b.WriteByte(c)
		}
	}

	p.fail(start, "quote is not closed")
	return "", false
}

// comparison splits ">=5" into its operator and operand.
func comparison(value string) (operator, operand string) {
	for _, operator := range [...]string{">=", "<=", ">", "<"} {
		operand, ok := strings.CutPrefix(value, operator)
		if ok {
			return operator, operand
		}
	}
	return "", value
}

// indexes reads an index, a range 100..200 that includes both, or a comparison.
func (p *parser) indexes(pos int, value string) Query {
	number := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 10, 62)
		if err != nil {
			p.fail(pos, "index %q: not a whole number, a range 100..200 or a comparison >100", value)
		}
		return n
	}

	// An open end is the first or the last index that there can be.
	low, high, isRange := strings.Cut(value, "..")
	if isRange {
		from, to := uint64(0), uint64(MaxIndex)
		if low != "" {
			from = number(low)
		}
		if high != "" {
			to = number(high) + 1
		}
		return Indexes(from, to)
	}

	operator, operand := comparison(value)
	n := number(operand)
	switch operator {
	case ">=":
		return Indexes(n, MaxIndex)
	case ">":
		return Indexes(n+1, MaxIndex)
	case "<=":
		return Indexes(0, n+1)
	case "<":
		return Indexes(0, n)
	}
	return Indexes(n, n+1)
}

// times reads what an instant spans, a range from one up to another, or a
// comparison.
func (p *parser) times(pos int, value string) Query {
	low, high, isRange := strings.Cut(value, "..")
	if isRange {
		var from, to time.Time
		if low != "" {
			from, _ = p.instant(pos, low)
		}
		if high != "" {
			to, _ = p.instant(pos, high)
		}
		return Between(from, to)
	}

	// ">2026-01" is after all of January, "<2026-01" before any of it.
	operator, operand := comparison(value)
	start, end := p.instant(pos, operand)
	switch operator {
	case ">=":
		return Between(start, time.Time{})
	case ">":
		return Between(end, time.Time{})
	case "<=":
		return Between(time.Time{}, end)
	case "<":
		return Between(time.Time{}, start)
	}
	return Between(start, end)
}

// timeForms are the ways to write an instant, each with what it spans.
var timeForms = []struct {
	layout              string
	years, months, days int
	span                time.Duration
}{
	{"2006", 1, 0, 0, 0},
	{"2006-01", 0, 1, 0, 0},
	{"2006-01-02", 0, 0, 1, 0},
	{"2006-01-02T15", 0, 0, 0, time.Hour},
	{"2006-01-02T15:04", 0, 0, 0, time.Minute},
	{"2006-01-02T15:04Z07:00", 0, 0, 0, time.Minute},
	{"2006-01-02T15:04:05", 0, 0, 0, time.Second},
	{"2006-01-02T15:04:05Z07:00", 0, 0, 0, time.Second},
}

// instant reads a time, and the first instant after what it names: the next day
// for a day, the next nanosecond for a time with fractional seconds.
func (p *parser) instant(pos int, value string) (start, end time.Time) {
	text := strings.Replace(value, " ", "T", 1)
	for _, form := range timeForms {
		start, err := time.Parse(form.layout, text)
		if err != nil {
			continue
		}

		start = start.UTC()
		if start.Before(canon.MinTime) || start.After(canon.MaxTime) {
			break
		}

		span := form.span
		if span == time.Second && start.Nanosecond() != 0 {
			span = time.Nanosecond
		}
		return start, start.AddDate(form.years, form.months, form.days).Add(span)
	}

	p.fail(pos, "time %q: not a date or RFC 3339 time between 1678 and 2261, such as 2026-01-02 or 2026-01-02T15:04:05Z", value)
	return time.Time{}, time.Time{}
}

func (p *parser) orderBy(start, valuePos int, value string) Query {
	if p.nested > 0 {
		return p.fail(start, "order: must be outside parentheses and negations")
	}

	switch value {
	case "index":
		p.order = ByIndex
	case "time":
		p.order = ByTime
	default:
		return p.fail(valuePos, "order %q: index or time", value)
	}
	return Query{}
}
