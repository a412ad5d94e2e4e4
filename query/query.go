// Package query has the query language of a log: what selects entries, how it is
// written, and what a store needs to know of it.
//
// A Query is a tree of conditions. Programs make it with the constructors, and
// never build text; people write the text that Parse reads:
//
//	actor:alice action:mail.* -outcome:failure after:2026-01-01
//
// A store does not see queries. It sees a Plan: bounds, and a boolean tree over
// the terms that its index has. What a plan selects includes all that its query
// selects, and Match compares the entries themselves afterwards.
package query

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/term"
)

// Order says how a query's page is sorted.
type Order uint8

const (
	// ByIndex sorts newest first by index. It is the default.
	ByIndex Order = iota
	// ByTime sorts newest first by the events' time, then by index.
	ByTime
)

// A Position is an entry's place in an order: the index, and the event's time in
// nanoseconds since 1970.
type Position struct {
	Time  int64
	Index uint64
}

// MaxIndex is above every index, and below every store's integers.
const MaxIndex = 1 << 62

// A Query selects entries. The zero Query selects all of them. A Query is
// immutable, and safe for concurrent use. Constructors that are given a field
// name or a network that does not exist return a Query whose Err tells.
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
	kinds
)

// unhandled is the end of a switch over all kinds. A condition that is passed
// over would select entries that nobody asked for, or may see.
func (k nodeKind) unhandled() string { return fmt.Sprintf("query: no case for nodes of kind %d", k) }

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

var (
	everything = &node{kind: kindIndex, to: MaxIndex}
	nothing    = &node{kind: kindNot, kids: []*node{everything}}
)

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
			// everything, which AND does not limit
		case kid == nil:
			n.kids = append(n.kids, everything)
		case kid.kind == kind:
			n.kids = append(n.kids, kid.kids...)
		default:
			n.kids = append(n.kids, kid)
		}
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
// "target" (as type/id), "attributes.folder", and so on: FieldNames, except for
// after, before, index, order and time, which have constructors of their own.
func Field(name, value string) Query {
	f, err := lookup(name)
	if err != nil {
		return Query{err: err}
	}
	if value == "" {
		return Query{err: fmt.Errorf("field %s: empty value (an empty field is an absent one)", name)}
	}

	// Addresses are stored in one form.
	if f.name == field.SourceIP.Field().Query {
		addr, err := netip.ParseAddr(value)
		if err == nil {
			value = addr.String()
		}
	}

	return Query{node: &node{kind: kindField, field: f.name, value: value}}
}

// Prefix selects entries whose field starts with prefix. A prefix that ends with
// a dot is answered from the index for action, service and module; any other is
// compared entry by entry.
func Prefix(name, prefix string) Query {
	f, err := lookup(name)
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
	from = min(from, MaxIndex)
	to = min(to, MaxIndex)
	if from >= to {
		return Query{node: nothing}
	}
	return Query{node: &node{kind: kindIndex, from: from, to: to}}
}

// Between selects after ≤ time < before. A zero time leaves that end open.
func Between(after, before time.Time) Query {
	if after.After(canon.MaxTime) || !before.IsZero() && before.Before(canon.MinTime) {
		return Query{node: nothing}
	}

	// Bounds outside the times that events can have bound nothing.
	if after.Before(canon.MinTime) {
		after = time.Time{}
	}
	if before.After(canon.MaxTime) {
		before = time.Time{}
	}

	return Query{node: &node{kind: kindTime, after: after.UTC(), before: before.UTC()}}
}

// Text selects entries in one of whose texts (message, reason, actor and target
// names, attribute strings) the words of text stand next to one another. Letters
// match in either case.
func Text(text string) Query {
	words := term.Words(text)
	if len(words) == 0 {
		return Query{err: fmt.Errorf("text %q: no letters or digits to search for", text)}
	}
	return Query{node: &node{kind: kindText, value: strings.Join(words, " ")}}
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

// IDs returns the ids that every entry that q selects must have: with more than
// one, there is no such entry.
func (q Query) IDs() []string {
	n := q.node
	if n == nil {
		return nil
	}

	name := field.EventID.Field().Query
	if n.kind == kindField && n.field == name {
		return []string{n.value}
	}
	if n.kind != kindAnd {
		return nil
	}

	var ids []string
	for _, kid := range n.kids {
		if kid.kind == kindField && kid.field == name {
			ids = append(ids, kid.value)
		}
	}
	return ids
}

// A PrefixField is a field of which a query wants a prefix.
type PrefixField struct {
	Name    string // in the query language
	Pointer string // under which a log may seal it, "" if it cannot be sealed
}

// PrefixFields returns the fields of which q wants prefixes.
func (q Query) PrefixFields() []PrefixField { return q.node.prefixFields(nil) }

func (n *node) prefixFields(fields []PrefixField) []PrefixField {
	if n == nil {
		return fields
	}

	if n.kind == kindPrefix {
		f, err := lookup(n.field)
		if err == nil {
			fields = append(fields, PrefixField{f.name, f.sealed})
		}
	}
	for _, kid := range n.kids {
		fields = kid.prefixFields(fields)
	}
	return fields
}

// Equal reports whether q and o are the same tree in the same order.
func (q Query) Equal(o Query) bool {
	return q.order == o.order && (q.err == nil) == (o.err == nil) && q.node.equal(o.node)
}

func (n *node) equal(m *node) bool {
	if n == nil || m == nil {
		return n == m
	}

	sameValue := n.kind == m.kind && n.field == m.field && n.value == m.value && n.net == m.net
	sameIndexes := n.from == m.from && n.to == m.to
	sameTimes := n.after.Equal(m.after) && n.before.Equal(m.before)
	return sameValue && sameIndexes && sameTimes && slices.EqualFunc(n.kids, m.kids, (*node).equal)
}
