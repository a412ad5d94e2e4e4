// Package term has what a query and the search terms of a leaf must agree on:
// what a word is, and which networks of an address have a term of their own.
package term

import (
	"net/netip"
	"unicode"
	"unicode/utf8"
)

// EachWord calls fn with each word of text in lower case: a run of letters,
// marks and digits. The word is valid only during the call; scratch is where it
// is written, and keeps the memory for the next text.
func EachWord[S string | []byte](text S, scratch *[]byte, fn func([]byte)) {
	word := (*scratch)[:0]
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			word = append(word, c)
			i++
			continue

		case 'A' <= c && c <= 'Z':
			word = append(word, c+'a'-'A')
			i++
			continue

		case c < utf8.RuneSelf:
			i++

		default:
			r, n := utf8.DecodeRune([]byte(text[i:min(len(text), i+utf8.UTFMax)]))
			i += n
			if unicode.In(r, unicode.L, unicode.M, unicode.N) {
				word = utf8.AppendRune(word, unicode.ToLower(r))
				continue
			}
		}

		// What comes here separates words.
		if len(word) > 0 {
			fn(word)
			word = word[:0]
		}
	}

	if len(word) > 0 {
		fn(word)
	}
	*scratch = word[:0]
}

// Words returns the words of text in lower case.
func Words(text string) []string {
	var words []string
	var scratch []byte
	EachWord(text, &scratch, func(word []byte) { words = append(words, string(word)) })
	return words
}

// Networks of these lengths have a term of their own.
var (
	lengths4 = []int{8, 16, 24}
	lengths6 = []int{32, 48, 64}
)

// NetworkLengths returns the lengths, in bits and ascending, of an address's
// networks that have a term of their own.
func NetworkLengths(addr netip.Addr) []int {
	if addr.Is4() {
		return lengths4
	}
	return lengths6
}
