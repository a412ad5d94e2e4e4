package attestlog

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Order says how a query's page is sorted.
type Order uint8

const (
	// ByIndex sorts newest first by index. It is the default.
	ByIndex Order = iota
	// ByTime sorts newest first by the events' time, then by index.
	ByTime
)

// A Query selects entries. The zero Query selects all of them. Queries are
// made by ParseQuery from text, or by the constructors from values: programs
// never build query text. A Query is immutable; constructors that are given a
// field name or a network that does not exist return a Query whose Err tells.
type Query struct {
	node  *node // nil: everything
	order Order
	err   error
}

type nodeKind uint8

const (
	kindAnd nodeKind = iota
	kindOr
	kindNot
	kindField  // field has exactly value
	kindPrefix // field starts with value
	kindNet    // address lies in net
	kindIndex  // from ≤ index < to
	kindTime   // after ≤ time < before
	kindText   // the words of value, next to one another, in one text
)

// A node is one part of a query's tree. It is never changed once made.
type node struct {
	kind     nodeKind
	kids     []*node
	field    string
	value    string
	net      netip.Prefix
	from, to uint64
	after    time.Time // zero: open
	before   time.Time // zero: open
}

const maxIndex = 1 << 62 // above every index, below every store's integers

// And selects what every one of queries selects; with none, everything.
func And(queries ...Query) Query { return combine(kindAnd, queries) }

// Or selects what any one of queries selects; with none, nothing.
func Or(queries ...Query) Query { return combine(kindOr, queries) }

func combine(kind nodeKind, queries []Query) Query {
	var out Query
	n := &node{kind: kind}
	for _, q := range queries {
		if out.err == nil {
			out.err = q.err
		}
		out.order = max(out.order, q.order)
		kid := q.node
		switch {
		case kid == nil && kind == kindAnd:
			continue
		case kid == nil:
			kid = everything
		case kid.kind == kind:
			n.kids = append(n.kids, kid.kids...)
			continue
		}
		n.kids = append(n.kids, kid)
	}
	switch {
	case len(n.kids) == 1:
		out.node = n.kids[0]
	case len(n.kids) > 0:
		out.node = n
	case kind == kindOr:
		out.node = nothing
	}
	return out
}

var (
	everything = &node{kind: kindIndex, to: maxIndex}
	nothing    = &node{kind: kindNot, kids: []*node{everything}}
)

// Not selects what q does not select.
func Not(q Query) Query {
	kid := q.node
	if kid == nil {
		kid = everything
	}
	if kid.kind == kindNot {
		return Query{node: kid.kids[0], order: q.order, err: q.err}
	}
	return Query{node: &node{kind: kindNot, kids: []*node{kid}}, order: q.order, err: q.err}
}

// Field selects entries whose field has exactly value: "actor", "action",
// "target" (as type/id), "attributes.folder", and so on; FieldNames lists
// them.
func Field(name, value string) Query {
	f, err := lookupField(name)
	if err != nil {
		return Query{err: err}
	}
	if value == "" {
		return Query{err: fmt.Errorf("field %s: empty value (an empty field is an absent one)", name)}
	}
	if f.name == "ip" {
		if addr, err := netip.ParseAddr(value); err == nil {
			value = addr.String()
		}
	}
	return Query{node: &node{kind: kindField, field: f.name, value: value}}
}

// Prefix selects entries whose field starts with prefix. A prefix that ends
// with a dot is answered from the index for action, service and module; any
// other is compared entry by entry.
func Prefix(name, prefix string) Query {
	f, err := lookupField(name)
	if err != nil {
		return Query{err: err}
	}
	return Query{node: &node{kind: kindPrefix, field: f.name, value: prefix}}
}

// Network selects entries whose source address lies in network, such as
// "10.0.0.0/8".
func Network(network string) Query {
	p, err := netip.ParsePrefix(network)
	if err != nil {
		return Query{err: fmt.Errorf("network %q: not an address and a length such as 10.0.0.0/8", network)}
	}
	return Query{node: &node{kind: kindNet, net: p.Masked()}}
}

// Indexes selects from ≤ index < to.
func Indexes(from, to uint64) Query {
	if from, to = min(from, maxIndex), min(to, maxIndex); from >= to {
		return Query{node: nothing}
	}
	return Query{node: &node{kind: kindIndex, from: from, to: to}}
}

// Between selects after ≤ time < before. A zero time leaves that end open.
func Between(after, before time.Time) Query {
	if after.After(maxTime) || !before.IsZero() && before.Before(minTime) {
		return Query{node: nothing}
	}
	if after.Before(minTime) {
		after = time.Time{}
	}
	if before.After(maxTime) {
		before = time.Time{}
	}
	return Query{node: &node{kind: kindTime, after: after.UTC(), before: before.UTC()}}
}

// Text selects entries in one of whose texts (message, reason, actor and
// target names, attribute strings) the words of text stand next to one
// another. Letters match in either case.
func Text(text string) Query {
	words := splitWords(text)
	if len(words) == 0 {
		return Query{err: fmt.Errorf("text %q: no letters or digits to search for", text)}
	}
	return Query{node: &node{kind: kindText, value: strings.Join(words, " ")}}
}

func splitWords(text string) []string {
	var words []string
	var scratch []byte
	eachWord(text, &scratch, func(w []byte) { words = append(words, string(w)) })
	return words
}

// OrderBy returns q with another order.
func (q Query) OrderBy(o Order) Query {
	q.order = o
	return q
}

// Order returns the order that q asks for.
func (q Query) Order() Order { return q.order }

// Err returns what was wrong with the values that q was made from.
func (q Query) Err() error { return q.err }

// String writes q in the query language: ParseQuery(q.String()) is q again.
func (q Query) String() string {
	var b strings.Builder
	if q.node != nil {
		q.node.write(&b, true)
	}
	if q.order == ByTime {
		if b.Len() > 0 {
			if q.node.kind == kindOr {
				return "(" + b.String() + ") order:time"
			}
			b.WriteByte(' ')
		}
		b.WriteString("order:time")
	}
	return b.String()
}

func (n *node) write(b *strings.Builder, top bool) {
	switch n.kind {
	case kindAnd, kindOr:
		sep := " "
		if n.kind == kindOr {
			sep = " OR "
		}
		if !top {
			b.WriteByte('(')
		}
		for i, kid := range n.kids {
			if i > 0 {
				b.WriteString(sep)
			}
			kid.write(b, false)
		}
		if !top {
			b.WriteByte(')')
		}
	case kindNot:
		b.WriteByte('-')
		n.kids[0].write(b, false)
	case kindField:
		value := quoteValue(n.value)
		if n.field == "ip" && strings.Contains(n.value, "/") {
			value = quote(n.value) // not a network
		}
		b.WriteString(quoteName(n.field) + ":" + value)
	case kindPrefix:
		b.WriteString(quoteName(n.field) + ":" + quote(n.value) + "*")
	case kindNet:
		b.WriteString("ip:" + n.net.String())
	case kindIndex:
		b.WriteString(indexText(n.from, n.to))
	case kindTime:
		writeTimes(b, n)
	case kindText:
		b.WriteString(`"` + n.value + `"`)
	}
}

func indexText(from, to uint64) string {
	if to >= maxIndex {
		return fmt.Sprintf("index:%d..", from)
	}
	return fmt.Sprintf("index:%d..%d", from, to-1)
}

func writeTimes(b *strings.Builder, n *node) {
	lo, hi := "", ""
	if !n.after.IsZero() {
		lo = n.after.Format(time.RFC3339Nano)
	}
	if !n.before.IsZero() {
		hi = n.before.Format(time.RFC3339Nano)
	}
	b.WriteString("time:" + lo + ".." + hi)
}

// quoteValue quotes a value that the parser would read as something else.
func quoteValue(v string) string {
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

func notPlain(r rune) bool { return r < 0x20 || r > 0x7e }

// equal reports whether two trees are the same.
func (n *node) equal(m *node) bool {
	if n == nil || m == nil {
		return n == m
	}
	return n.kind == m.kind && n.field == m.field && n.value == m.value && n.net == m.net &&
		n.from == m.from && n.to == m.to && n.after.Equal(m.after) && n.before.Equal(m.before) &&
		slices.EqualFunc(n.kids, m.kids, (*node).equal)
}

// Equal reports whether q and o are the same tree in the same order.
func (q Query) Equal(o Query) bool {
	return q.order == o.order && (q.err == nil) == (o.err == nil) && q.node.equal(o.node)
}
