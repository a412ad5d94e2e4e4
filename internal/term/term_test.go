package term_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/attestlog/attestlog/internal/term"
)

func TestWords(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{" .,;-_/\n\x00", nil},
		{"mail", []string{"mail"}},
		{"Mail moved: INBOX -> archive2", []string{"mail", "moved", "inbox", "archive2"}},
		{"mail.view", []string{"mail", "view"}},
		{"it's", []string{"it", "s"}},
		{"user_name", []string{"user", "name"}},
		{"Über ÉTÉ ΣΊΣΥΦΟΣ", []string{"über", "été", "σίσυφοσ"}}, // lower case letter by letter: no final ς
		{"cafe\u0301", []string{"cafe\u0301"}},                   // a mark belongs to its letter
		{"x² ½ ٣ Ⅷ", []string{"x²", "½", "٣", "ⅷ"}},              // any number
		{"日本語 한국어", []string{"日本語", "한국어"}},
		{"a😀b", []string{"a", "b"}},
		{"a\u00a0b\u2028c", []string{"a", "b", "c"}}, // spaces outside ASCII
		{"a\xffb\xc3", []string{"a", "b"}},           // not UTF-8
		{"İ", []string{"i"}},
	} {
		if got := term.Words(tt.text); !slices.Equal(got, tt.want) {
			t.Errorf("Words(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
}

// What a query asks for is found in a leaf only if both see the same words.
func TestWordsAreTheRunsOfLettersMarksAndDigits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.SampledFrom([]rune("aZ9 é-İ²\u0301😀")), 0, 20, -1)).Draw(t, "text")

		lower := strings.Map(unicode.ToLower, text)
		separates := func(r rune) bool { return !unicode.In(r, unicode.L, unicode.M, unicode.N) }
		want := strings.FieldsFunc(lower, separates)

		got := term.Words(text)
		if !slices.Equal(got, want) {
			t.Errorf("Words(%q) = %q, want %q", text, got, want)
		}
		if again := term.Words(strings.Join(got, " ")); !slices.Equal(again, got) {
			t.Errorf("the words of %q are %q", got, again)
		}
	})
}

// One scratch serves for any number of texts, and bytes are read as a string is.
func TestEachWordReusesItsScratch(t *testing.T) {
	scratch := make([]byte, 0, 64)
	text := []byte("Mail moved: INBOX -> Ärchive2")
	sum := 0
	allocs := testing.AllocsPerRun(100, func() {
		term.EachWord(text, &scratch, func(word []byte) { sum += len(word) })
	})
	if allocs != 0 {
		t.Errorf("EachWord allocates %v times", allocs)
	}

	var words []string
	collect := func(word []byte) { words = append(words, string(word)) }
	term.EachWord(text, &scratch, collect)
	term.EachWord([]byte("and more"), &scratch, collect)
	want := []string{"mail", "moved", "inbox", "ärchive2", "and", "more"}
	if !slices.Equal(words, want) {
		t.Errorf("words = %q, want %q", words, want)
	}
}

func TestNetworkLengths(t *testing.T) {
	for _, tt := range []struct {
		addr string
		want []int
	}{
		{"192.0.2.7", []int{8, 16, 24}},
		{"0.0.0.0", []int{8, 16, 24}},
		{"2001:db8::1", []int{32, 48, 64}},
		{"::ffff:192.0.2.7", []int{32, 48, 64}}, // as it is written
		{"fe80::1%eth0", []int{32, 48, 64}},
	} {
		addr := netip.MustParseAddr(tt.addr)
		got := term.NetworkLengths(addr)
		if !slices.Equal(got, tt.want) {
			t.Errorf("NetworkLengths(%s) = %v, want %v", addr, got, tt.want)
		}
		for _, bits := range got {
			if _, err := addr.Prefix(bits); err != nil {
				t.Errorf("%s has no network of %d bits: %v", addr, bits, err)
			}
		}
	}
}
