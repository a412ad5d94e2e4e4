package query

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/term"
)

// A Candidate is what a query is compared with: an entry of a log.
type Candidate interface {
	// Position returns the entry's index, and the event's time.
	Position() Position
	// EachValue calls yield with each value that the entry has of a field,
	// under the name that Field takes, not an alias.
	EachValue(field string, yield func(value string))
	// EachText calls yield with each text that a search for words looks at.
	EachText(yield func(text string))
}

// Match reports whether c is one of the entries that q selects. It looks at the
// entry alone, never at an index.
func (q Query) Match(c Candidate) bool {
	return q.err == nil && (q.node == nil || q.node.match(c))
}

func (n *node) match(c Candidate) bool {
	switch n.kind {
	case kindAnd:
		return !slices.ContainsFunc(n.kids, func(kid *node) bool { return !kid.match(c) })

	case kindOr:
		return slices.ContainsFunc(n.kids, func(kid *node) bool { return kid.match(c) })

	case kindNot:
		return !n.kids[0].match(c)

	case kindIndex:
		index := c.Position().Index
		return n.from <= index && index < n.to

	case kindTime:
		nanos := c.Position().Time
		started := n.after.IsZero() || nanos >= n.after.UnixNano()
		return started && (n.before.IsZero() || nanos < n.before.UnixNano())

	case kindNet:
		// An address with a zone lies in the networks of the one without.
		return anyValue(c, field.SourceIP.Field().Query, func(value string) bool {
			addr, err := netip.ParseAddr(value)
			return err == nil && n.net.Contains(addr.WithZone(""))
		})

	case kindText:
		return n.matchWords(c)

	case kindPrefix:
		return anyValue(c, n.field, func(value string) bool { return strings.HasPrefix(value, n.value) })

	case kindField:
		return anyValue(c, n.field, func(value string) bool { return value == n.value })
	}
	panic(n.kind.unhandled())
}

// anyValue reports whether wanted is true of a value that c has of a field.
func anyValue(c Candidate, name string, wanted func(string) bool) bool {
	found := false
	c.EachValue(name, func(value string) { found = found || wanted(value) })
	return found
}

// matchWords looks for the words of n, next to one another, in each text of c.
// Spaces around the words keep it from finding parts of words.
func (n *node) matchWords(c Candidate) bool {
	phrase := " " + n.value + " "
	found := false
	c.EachText(func(text string) {
		found = found || strings.Contains(" "+strings.Join(term.Words(text), " ")+" ", phrase)
	})
	return found
}
