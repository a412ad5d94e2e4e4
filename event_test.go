package attestlog

import (
	"testing"

	"github.com/attestlog/attestlog/internal/canon"
)

// nestedArrays returns an array in an array …, n of them.
func nestedArrays(n int) any {
	v := any([]any{})
	for range n - 1 {
		v = []any{v}
	}
	return v
}

func TestDepthIsCountedAlikeByEncoderAndParser(t *testing.T) {
	for n := 60; n <= 66; n++ {
		e := Event{
			ID: "d", Time: canon.MinTime, Action: "a", Actor: Actor{ID: "x"},
			Attributes: map[string]any{"a": nestedArrays(n)},
		}
		text, err := e.MarshalJSON()
		want := n <= MaxDepth-2 // the event and its attributes are two
		if (err == nil) != want {
			t.Fatalf("MarshalJSON with %d arrays in attributes.a: %v, want accepted %t", n, err, want)
		}
		if err != nil {
			continue
		}

		_, err = ParseEvent(text)
		if err != nil {
			t.Errorf("ParseEvent refuses %d arrays that MarshalJSON wrote: %v", n, err)
		}
	}
}

func TestMaxDepthIsThatOfPackageCanon(t *testing.T) {
	if MaxDepth != canon.MaxDepth {
		t.Errorf("MaxDepth = %d, package canon has %d", MaxDepth, canon.MaxDepth)
	}
}
