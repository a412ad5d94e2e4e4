package verify

import (
	"fmt"
	"testing"
)

func TestEarlierNamesTheEarlierEntry(t *testing.T) {
	early := corrupt(1, "leaf", "x")
	late := corrupt(2, "leaf", "x")
	for _, c := range []struct{ a, b, want error }{
		{nil, nil, nil},
		{early, nil, early},
		{nil, late, late},
		{early, late, early},
		{late, early, early},
	} {
		got := earlier(c.a, c.b)
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("earlier(%v, %v) = %v, want %v", c.a, c.b, got, c.want)
		}
	}
}
