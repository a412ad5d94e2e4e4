package attestlog

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A QueryError points at what ParseQuery could not read, or says why a log
// cannot answer a query.
type QueryError struct {
	Query  string
	Column int // in characters, from 1; 0 if it is about no place
	Msg    string
}

func (e *QueryError) Error() string {
	if e.Column == 0 {
		return "query: " + e.Msg
	}
	return fmt.Sprintf("query: column %d: %s", e.Column, e.Msg)
}

// ParseQuery reads the query language:
//
//	actor:alice -outcome:failure action:mail.* target:mail/123 ip:10.0.0.0/8
//	after:2026-01-01 before:2026-02-01T12:00+01:00 index:100..200 index:>5
//	time:2026-01 attributes.folder:inbox "free text" (word OR other) order:time
//
// Terms are joined by AND unless OR stands between them; a minus or NOT negates
// the next term; parentheses group. The first colon splits a field from its
// value, the first slash a target's type from its id. Quotes take any value
// literally, or the name of a field before its colon ("\"" and "\\" inside). A
// star at the end of an unquoted value, or behind a quoted one, makes it a
// prefix. after: includes its instant, before:
// does not; both mean the event's time, in UTC unless an offset is given.
//
// The empty text selects everything. Errors are of type *QueryError.
func ParseQuery(text string) (Query, error) {
	p := queryParser{text: text}
	q := p.or(0)
	if p.err == nil && p.space() < len(text) {
		p.fail(p.pos, "unexpected %q", text[p.pos])
	}
	if p.err != nil {
		return Query{}, p.err
	}
	q.order = p.order
	return q, nil
}

// maxQueryDepth bounds the nesting of parentheses and negations.
const maxQueryDepth = 100

type queryParser struct {
	text   string
	pos    int
	nested int // inside OR, NOT or parentheses, where order: has no meaning
	order  Order
	err    error
}

func (p *queryParser) fail(at int, format string, args ...any) Query {
	if p.err == nil {
		col := utf8.RuneCountInString(p.text[:at]) + 1
		p.err = &QueryError{Query: p.text, Column: col, Msg: fmt.Sprintf(format, args...)}
	}
	return Query{}
}

func (p *queryParser) space() int {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
	return p.pos
}

// word consumes a keyword that stands alone.
func (p *queryParser) word(w string) bool {
	rest := p.text[p.space():]
	if !strings.HasPrefix(rest, w) || len(rest) > len(w) && strings.IndexByte(" \t\r\n()", rest[len(w)]) < 0 {
		return false
	}
	p.pos += len(w)
	return true
}

func (p *queryParser) or(depth int) Query {
	if depth > maxQueryDepth {
		return p.fail(p.pos, "nested deeper than %d", maxQueryDepth)
	}
	kids := []Query{p.and(depth)}
	for p.err == nil && p.word("OR") {
		kids = append(kids, p.and(depth))
	}
	if len(kids) == 1 {
		return kids[0]
	}
	if p.order == ByTime && p.nested == 0 {
		p.fail(0, "order: stands beside OR; put the alternatives in parentheses")
	}
	return Or(kids...)
}

func (p *queryParser) and(depth int) Query {
	var kids []Query
	start := p.pos
	for p.err == nil {
		at := p.space()
		if at == len(p.text) || p.text[at] == ')' {
			break
		}
		if save := p.pos; p.word("OR") {
			p.pos = save
			break
		}
		if save := p.pos; p.word("AND") {
			if p.space() == len(p.text) || len(kids) == 0 {
				return p.fail(save, "AND needs a term on both sides")
			}
		}
		kids = append(kids, p.unary(depth))
	}
	if len(kids) == 0 && (depth > 0 || start > 0 || p.pos < len(p.text)) {
		return p.fail(p.pos, "a term is missing")
	}
	return And(kids...)
}

func (p *queryParser) unary(depth int) Query {
	if depth > maxQueryDepth {
		return p.fail(p.pos, "nested deeper than %d", maxQueryDepth)
	}
	at := p.space()
	switch {
	case at == len(p.text):
		return p.fail(at, "a term is missing")
	case p.text[at] == '-':
		p.pos++
		if p.space() != at+1 {
			return p.fail(at, "a minus stands right before its term")
		}
		return p.not(depth)
	case p.word("NOT"):
		return p.not(depth)
	case p.text[at] == '(':
		p.pos++
		p.nested++
		q := p.or(depth + 1)
		p.nested--
		if p.err == nil && (p.space() == len(p.text) || p.text[p.pos] != ')') {
			return p.fail(at, "parenthesis is not closed")
		}
		p.pos++
		return q
	case p.text[at] == ')':
		return p.fail(at, "a term is missing")
	}
	return p.term()
}

func (p *queryParser) not(depth int) Query {
	p.nested++
	defer func() { p.nested-- }()
	return Not(p.unary(depth + 1))
}

// term reads a word, a quoted text, or field:value.
func (p *queryParser) term() Query {
	at := p.pos
	if p.text[at] == '"' {
		text, _ := p.quoted()
		if p.err == nil && p.pos < len(p.text) && p.text[p.pos] == ':' {
			return p.field(at, text)
		}
		return p.made(at, Text(text))
	}
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n()\":", p.text[p.pos]) < 0 {
		p.pos++
	}
	name := p.text[at:p.pos]
	if p.pos == len(p.text) || p.text[p.pos] != ':' {
		if name == "" || p.pos < len(p.text) && p.text[p.pos] == '"' {
			return p.fail(p.pos, "unexpected %q", p.text[p.pos])
		}
		return p.made(at, Text(name))
	}
	return p.field(at, name)
}

// field reads the value of a field whose name, from at on, was read.
func (p *queryParser) field(at int, name string) Query {
	p.pos++
	valueAt := p.pos
	value, prefix := p.value()
	if p.err != nil {
		return Query{}
	}
	switch name {
	case "index":
		return p.index(valueAt, value)
	case "after", "before":
		return p.bound(valueAt, name, value)
	case "time":
		return p.time(valueAt, value)
	case "order":
		return p.orderBy(at, valueAt, value)
	case "ip":
		if strings.Contains(value, "/") && !prefix && p.text[valueAt] != '"' {
			return p.made(valueAt, Network(value))
		}
	}
	if _, err := lookupField(name); err != nil {
		return p.fail(at, "%v (quote it to search for text)", err)
	}
	if prefix {
		return p.made(valueAt, Prefix(name, value))
	}
	return p.made(valueAt, Field(name, value))
}

func (p *queryParser) made(at int, q Query) Query {
	if q.err != nil {
		return p.fail(at, "%v", q.err)
	}
	return q
}

// value reads what follows a colon and reports whether it is a prefix.
func (p *queryParser) value() (string, bool) {
	at := p.pos
	if at < len(p.text) && p.text[at] == '"' {
		value, prefix := p.quoted()
		if value == "" && !prefix {
			p.fail(at, "empty value (an empty field is an absent one)")
		}
		return value, prefix
	}
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n()\"", p.text[p.pos]) < 0 {
		p.pos++
	}
	value := p.text[at:p.pos]
	switch {
	case value == "":
		p.fail(at, "a value is missing")
	case p.pos < len(p.text) && p.text[p.pos] == '"':
		p.fail(p.pos, "a quote inside a value; quote the whole value")
	}
	return strings.CutSuffix(value, "*")
}

// quoted reads a quoted value and reports whether a star follows it.
func (p *queryParser) quoted() (string, bool) {
	at := p.pos
	var b strings.Builder
	for p.pos++; p.pos < len(p.text); p.pos++ {
		switch c := p.text[p.pos]; c {
		case '"':
			p.pos++
			if p.pos < len(p.text) && p.text[p.pos] == '*' {
				p.pos++
				return b.String(), true
			}
			return b.String(), false
		case '\\':
			if p.pos++; p.pos == len(p.text) || p.text[p.pos] != '"' && p.text[p.pos] != '\\' {
				p.fail(p.pos-1, `a backslash stands only before " or \`)
				return "", false
			}
			b.WriteByte(p.text[p.pos])
		default:
			b.WriteByte(c)
		}
	}
	p.fail(at, "quote is not closed")
	return "", false
}
