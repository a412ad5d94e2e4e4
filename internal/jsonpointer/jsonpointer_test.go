package jsonpointer

import (
	"slices"
	"testing"
)

func TestSplitAndJoin(t *testing.T) {
	for _, c := range []struct {
		pointer string
		names   []string
	}{
		{"", nil},
		{"/", []string{""}},
		{"/foo", []string{"foo"}},
		{"/a~1b/m~0n", []string{"a/b", "m~n"}}, // RFC 6901, Section 5
		{"/~01", []string{"~1"}},
		{"/ //", []string{" ", "", ""}},
	} {
		names, err := Split(c.pointer)
		if err != nil || !slices.Equal(names, c.names) {
			t.Errorf("Split(%q) = %q, %v, want %q", c.pointer, names, err, c.names)
		}
		if got := Join(c.names...); got != c.pointer {
			t.Errorf("Join(%q) = %q, want %q", c.names, got, c.pointer)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	for _, pointer := range []string{"foo", "/~", "/~2", "/a~", "#/a"} {
		if names, err := Split(pointer); err == nil {
			t.Errorf("Split(%q) = %q, want an error", pointer, names)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("/a~1b/m~0n")
	f.Fuzz(func(t *testing.T, pointer string) {
		names, err := Split(pointer)
		if err != nil {
			return
		}
		if got := Join(names...); got != pointer {
			t.Errorf("Join(Split(%q)) = %q", pointer, got)
		}
	})
}
