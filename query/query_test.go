package query

import (
	"strings"
	"testing"
)

// A candidate is an entry without values.
type candidate struct{}

func (candidate) Position() Position             { return Position{} }
func (candidate) EachValue(string, func(string)) {}
func (candidate) EachText(yield func(string))    {}

// What looks at a query looks at every kind of node: one that a switch forgets
// panics.
func TestEveryKindOfNodeIsHandled(t *testing.T) {
	for kind := range kinds {
		n := &node{kind: kind, field: "actor", value: "alice", kids: []*node{everything}}
		n.match(candidate{})
		n.terms()

		var b strings.Builder
		n.write(&b, true)
		if b.Len() == 0 {
			t.Errorf("a node of kind %d is written as nothing", kind)
		}
	}
}
