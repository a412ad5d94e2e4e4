package attestlog

import (
	"testing"

	"github.com/attestlog/attestlog/internal/canon"
)

func TestDepthIsCountedAlikeByEncoderAndParser(t *testing.T) {
	nest := func(n int) any {
		v := any([]any{})
		for range n - 1 {
			v = []any{v}
		}
		return v
	}
	for n := 60; n <= 66; n++ {
		e := Event{ID: "d", Time: canon.MinTime, Action: "a", Actor: Actor{ID: "x"}, Attributes: map[string]any{"a": nest(n)}}
		text, err := e.MarshalJSON()
		if want := n <= MaxDepth-2; (err == nil) != want {
			t.Fatalf("MarshalJSON with %d arrays in attributes.a: %v, want accepted %t", n, err, want)
		}
		if err != nil {
			continue
		}
		if _, err := ParseEvent(text); err != nil {
			t.Errorf("ParseEvent refuses %d arrays that MarshalJSON wrote: %v", n, err)
		}
	}
}

func TestTheDepthOfAnEventIsThatOfItsJSON(t *testing.T) {
	if MaxDepth != canon.MaxDepth {
		t.Errorf("MaxDepth = %d, package canon has %d", MaxDepth, canon.MaxDepth)
	}
}
