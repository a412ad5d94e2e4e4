package query

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/attestlog/attestlog/internal/canon"
	"github.com/attestlog/attestlog/internal/field"
	"github.com/attestlog/attestlog/internal/idkey"
	"github.com/attestlog/attestlog/internal/term"
)

// A Plan is what a store needs to know of a query: bounds, and a boolean tree
// over terms. What a plan selects includes all that its query selects; the log
// compares the entries themselves afterwards.
type Plan struct {
	From, To      uint64 // From ≤ index < To
	After, Before int64  // After ≤ time < Before, nanoseconds since 1970
	Terms         *TermTree
	Exact         bool // the plan selects what the query selects, and no more
	Order         Order
	Ascending     bool // oldest first; only with ByIndex
}

// TimeBound reports whether the plan bounds the time.
func (p *Plan) TimeBound() bool { return p.After != math.MinInt64 || p.Before != math.MaxInt64 }

// A Term is one searchable fact of an entry. Fields are named as in the query
// language; "action.*" holds each dotted prefix of an action, "net" each network
// of an address, "word" each word of the text, in lower case.
type Term struct {
	Field string
	Value string
}

// The fields of terms that are not fields of the query language.
const (
	TermNet  = "net"
	TermWord = "word"
)

// A TermTree is a boolean tree over terms; nil selects everything.
type TermTree struct {
	Op   TermOp
	Term Term        // with OpTerm
	Kids []*TermTree // with OpAnd, OpOr, and the one of OpNot
}

// TermOp is the kind of a TermTree.
type TermOp uint8

// The kinds of a TermTree.
const (
	OpTerm TermOp = iota
	OpAnd
	OpOr
	OpNot
)

// Plan returns q as a store sees it.
func (q Query) Plan() Plan {
	p := Plan{To: MaxIndex, After: math.MinInt64, Before: math.MaxInt64, Exact: true, Order: q.order}
	if q.node == nil {
		return p
	}

	kids := []*node{q.node}
	if q.node.kind == kindAnd {
		kids = q.node.kids
	}

	// Bounds of the index and the time are cut out of the outermost AND, because
	// stores have quicker ways to them than terms.
	var terms []*TermTree
	for _, n := range kids {
		switch n.kind {
		case kindIndex:
			p.From = max(p.From, n.from)
			p.To = min(p.To, n.to)

		case kindTime:
			if !n.after.IsZero() {
				p.After = max(p.After, clampTime(n.after))
			}
			if !n.before.IsZero() {
				p.Before = min(p.Before, clampTime(n.before))
			}

		default:
			t, exact := n.terms()
			p.Exact = p.Exact && exact
			if t != nil {
				terms = append(terms, t)
			}
		}
	}

	p.Terms = joinTerms(OpAnd, terms)
	return p
}

func clampTime(t time.Time) int64 {
	switch {
	case t.Before(canon.MinTime):
		return math.MinInt64
	case t.After(canon.MaxTime):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func joinTerms(op TermOp, kids []*TermTree) *TermTree {
	switch len(kids) {
	case 0:
		return nil
	case 1:
		return kids[0]
	}
	return &TermTree{Op: op, Kids: kids}
}

func oneTerm(field, value string) *TermTree {
	return &TermTree{Op: OpTerm, Term: Term{field, value}}
}

// terms returns a tree that selects at least what n selects, and whether it
// selects exactly that.
func (n *node) terms() (t *TermTree, exact bool) {
	switch n.kind {
	case kindAnd:
		var kids []*TermTree
		exact := true
		for _, kid := range n.kids {
			t, ok := kid.terms()
			exact = exact && ok
			if t != nil {
				kids = append(kids, t)
			}
		}
		return joinTerms(OpAnd, kids), exact

	case kindOr:
		var kids []*TermTree
		exact := true
		for _, kid := range n.kids {
			t, ok := kid.terms()
			if t == nil {
				return nil, false
			}
			exact = exact && ok
			kids = append(kids, t)
		}
		return joinTerms(OpOr, kids), exact && len(kids) > 0

	case kindNot:
		// What selects too much, negated, would select too little.
		t, exact := n.kids[0].terms()
		if t == nil || !exact {
			return nil, false
		}
		return &TermTree{Op: OpNot, Kids: []*TermTree{t}}, true

	case kindField:
		return n.valueTerms()

	case kindPrefix:
		f, err := lookup(n.field)
		stem, dotted := strings.CutSuffix(n.value, ".")
		if err == nil && dotted && f.prefixes != "" {
			return oneTerm(f.prefixes, stem), true
		}
		return nil, false

	case kindNet:
		return networkTerms(n.net)

	case kindText:
		return wordTerms(strings.Fields(n.value))

	case kindIndex, kindTime:
		return nil, false // neither has terms
	}
	panic(n.kind.unhandled())
}

func (n *node) valueTerms() (t *TermTree, exact bool) {
	f, err := lookup(n.field)
	if err == nil && f.wordsOnly {
		t, _ := wordTerms(term.Words(n.value))
		return t, false
	}

	// A UUIDv7 is the entry's key, and looked up there.
	_, isV7 := idkey.ParseV7(n.value)
	if isV7 && n.field == field.EventID.Field().Query {
		return nil, false
	}

	return oneTerm(n.field, n.value), true
}

// wordTerms selects the entries with all words, wherever they are.
func wordTerms(words []string) (t *TermTree, exact bool) {
	var kids []*TermTree
	for _, w := range words {
		kids = append(kids, oneTerm(TermWord, w))
	}
	return joinTerms(OpAnd, kids), len(words) == 1
}

// maxNetworkBits bounds how many bits longer than a network those of its parts
// may be that are looked for one by one.
const maxNetworkBits = 6

// networkTerms selects by the networks that have terms: p itself, or the
// narrowest around it, or else the parts of it.
func networkTerms(p netip.Prefix) (t *TermTree, exact bool) {
	lengths := term.NetworkLengths(p.Addr())
	network := func(addr netip.Addr, bits int) *TermTree {
		return oneTerm(TermNet, netip.PrefixFrom(addr, bits).Masked().String())
	}

	if p.IsSingleIP() {
		// Addresses with zones match the bare one, and have other terms.
		return network(p.Addr(), lengths[len(lengths)-1]), false
	}

	around := 0
	for _, bits := range lengths {
		if bits == p.Bits() {
			return network(p.Addr(), bits), true
		}
		if bits < p.Bits() {
			around = bits
		}
	}
	if around > 0 {
		return network(p.Addr(), around), false
	}

	// p is wider than every network that has a term. Only IPv4 addresses have
	// one that is short enough.
	widest := lengths[0]
	if !p.Addr().Is4() || widest-p.Bits() > maxNetworkBits {
		return nil, false
	}

	var kids []*TermTree
	first := p.Addr().As4()
	for i := range 1 << (widest - p.Bits()) {
		part := first
		part[0] += byte(i)
		kids = append(kids, network(netip.AddrFrom4(part), widest))
	}
	return joinTerms(OpOr, kids), true
}
