package attestlog

import (
	"math"
	"net/netip"
	"strings"
	"time"
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
	p := Plan{To: maxIndex, After: math.MinInt64, Before: math.MaxInt64, Exact: true, Order: q.order}
	if q.node == nil {
		return p
	}
	kids := []*node{q.node}
	if q.node.kind == kindAnd {
		kids = q.node.kids
	}
	var terms []*TermTree
	for _, n := range kids {
		switch n.kind {
		case kindIndex:
			p.From, p.To = max(p.From, n.from), min(p.To, n.to)
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
	case t.Before(minTime):
		return math.MinInt64
	case t.After(maxTime):
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

// terms returns a tree that selects at least what n selects, and whether it
// selects exactly that.
func (n *node) terms() (*TermTree, bool) {
	switch n.kind {
	case kindAnd:
		var kids []*TermTree
		all := true
		for _, kid := range n.kids {
			t, exact := kid.terms()
			all = all && exact
			if t != nil {
				kids = append(kids, t)
			}
		}
		return joinTerms(OpAnd, kids), all
	case kindOr:
		var kids []*TermTree
		all := true
		for _, kid := range n.kids {
			t, exact := kid.terms()
			if t == nil {
				return nil, false
			}
			all = all && exact
			kids = append(kids, t)
		}
		return joinTerms(OpOr, kids), all && len(kids) > 0
	case kindNot:
		t, exact := n.kids[0].terms()
		if t == nil || !exact {
			return nil, false
		}
		return &TermTree{Op: OpNot, Kids: []*TermTree{t}}, true
	case kindField:
		if n.field == "message" {
			t, _ := wordTerms(splitWords(n.value))
			return t, false
		}
		if _, v7 := uuidV7(n.value); n.field == "id" && v7 {
			return nil, false
		}
		return oneTerm(n.field, n.value), true
	case kindPrefix:
		f, err := lookupField(n.field)
		if stem, dotted := strings.CutSuffix(n.value, "."); err == nil && dotted && f.prefixes != "" {
			return oneTerm(f.prefixes, stem), true
		}
		return nil, false
	case kindNet:
		return netTerms(n.net)
	case kindText:
		return wordTerms(strings.Fields(n.value))
	}
	return nil, false
}

func oneTerm(field, value string) *TermTree {
	return &TermTree{Op: OpTerm, Term: Term{field, value}}
}

// wordTerms selects the entries with all words, wherever they stand.
func wordTerms(words []string) (*TermTree, bool) {
	var kids []*TermTree
	for _, w := range words {
		kids = append(kids, oneTerm("word", w))
	}
	return joinTerms(OpAnd, kids), len(words) == 1
}

// netTerms selects by the networks that have terms: the widest of them inside
// p, or the narrowest around it.
func netTerms(p netip.Prefix) (*TermTree, bool) {
	lengths := networksOf(p.Addr())
	if p.IsSingleIP() {
		// Addresses with zones match the bare one, and have other terms.
		return oneTerm("net", netip.PrefixFrom(p.Addr(), lengths[len(lengths)-1]).Masked().String()), false
	}
	around := -1
	for _, bits := range lengths {
		if bits == p.Bits() {
			return oneTerm("net", p.String()), true
		}
		if bits < p.Bits() {
			around = bits
		}
	}
	if around > 0 {
		return oneTerm("net", netip.PrefixFrom(p.Addr(), around).Masked().String()), false
	}
	first := lengths[0]
	if first-p.Bits() > 6 || first > 8 {
		return nil, false
	}
	var kids []*TermTree
	base := p.Addr().As4()
	for i := range 1 << (first - p.Bits()) {
		a := base
		a[0] += byte(i)
		kids = append(kids, oneTerm("net", netip.PrefixFrom(netip.AddrFrom4(a), first).String()))
	}
	return joinTerms(OpOr, kids), true
}
