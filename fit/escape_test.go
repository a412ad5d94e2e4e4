package fit_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/attestlog/attestlog/fit"
	"pgregory.net/rapid"
)

func TestEscapeIsOneToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := textGen().Draw(t, "text")
		esc := fit.Escape(s)
		if !utf8.ValidString(esc) {
			t.Fatalf("Escape(%q) = %q, not UTF-8", s, esc)
		}
		if back := fit.Unescape(esc); back != s {
			t.Fatalf("Unescape(%q) = %q, want %q", esc, back, s)
		}
		if utf8.ValidString(s) && !strings.Contains(s, "\ufffd") && esc != s {
			t.Fatalf("Escape(%q) = %q", s, esc)
		}
	})
}
