package query

import (
	"fmt"
	"strings"
	"time"

	"github.com/attestlog/attestlog/internal/field"
)

// String writes q in the query language: Parse(q.String()) is q again.
func (q Query) String() string {
	var b strings.Builder
	if q.node != nil {
		q.node.write(&b, true)
	}
	if q.order != ByTime {
		return b.String()
	}

	switch {
	case q.node == nil:
		return "order:time"
	case q.node.kind == kindOr:
		return "(" + b.String() + ") order:time"
	}
	return b.String() + " order:time"
}

// write appends n as text. top says that nothing is around it, so that it needs
// no parentheses.
func (n *node) write(b *strings.Builder, top bool) {
	switch n.kind {
	case kindAnd:
		n.writeKids(b, " ", top)

	case kindOr:
		n.writeKids(b, " OR ", top)

	case kindNot:
		b.WriteByte('-')
		n.kids[0].write(b, false)

	case kindField:
		value := quoteValue(n.value)
		if n.field == field.SourceIP.Field().Query && strings.Contains(n.value, "/") {
			value = quote(n.value) // or it would be read as a network
		}
		b.WriteString(quoteName(n.field) + ":" + value)

	case kindPrefix:
		b.WriteString(quoteName(n.field) + ":" + quote(n.value) + "*")

	case kindNet:
		b.WriteString(field.SourceIP.Field().Query + ":" + n.net.String())

	case kindIndex:
		b.WriteString(indexText(n.from, n.to))

	case kindTime:
		b.WriteString("time:" + timeText(n.after) + ".." + timeText(n.before))

	case kindText:
		b.WriteString(`"` + n.value + `"`)

	default:
		panic(n.kind.unhandled())
	}
}

func (n *node) writeKids(b *strings.Builder, separator string, top bool) {
	if !top {
		b.WriteByte('(')
	}
	for i, kid := range n.kids {
		if i > 0 {
			b.WriteString(separator)
		}
		kid.write(b, false)
	}
	if !top {
		b.WriteByte(')')
	}
}

func indexText(from, to uint64) string {
	if to >= MaxIndex {
		return fmt.Sprintf("index:%d..", from)
	}
	return fmt.Sprintf("index:%d..%d", from, to-1)
}

// timeText writes one end of a range of times, "" for an open one.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// quoteValue quotes a value that Parse would read as something else.
func quoteValue(v string) string {
	notPlain := func(r rune) bool { return r < 0x20 || r > 0x7e }
	if v == "" || strings.ContainsAny(v, " \t\r\n\"\\()*") || strings.ContainsFunc(v, notPlain) {
		return quote(v)
	}
	return v
}

// quoteName quotes a field's name that holds what ends one.
func quoteName(name string) string {
	if strings.Contains(name, ":") {
		return quote(name)
	}
	return quoteValue(name)
}

func quote(v string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
}
