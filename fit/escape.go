package fit

import (
	"strings"
	"unicode/utf8"
)

// escapeRune starts an escape: U+FFFD, the replacement character.
const escapeRune = "\uFFFD"

// Escape returns s as valid UTF-8. A byte that belongs to no character becomes
// U+FFFD and two lower-case hexadecimal digits; a U+FFFD of s itself is doubled.
// Any other text stays as it is. No two texts have the same result.
//
//	"caf\xe9"  →  "caf\uFFFDe9"
func Escape(s string) string {
	const hexDigits = "0123456789abcdef"

	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1: // not a character
			b.WriteString(escapeRune)
			b.WriteByte(hexDigits[s[i]>>4])
			b.WriteByte(hexDigits[s[i]&15])
		case r == utf8.RuneError:
			b.WriteString(escapeRune + escapeRune)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// Unescape undoes Escape. A U+FFFD that starts no escape stays as it is.
func Unescape(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, escapeRune)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		s = after

		if rest, doubled := strings.CutPrefix(s, escapeRune); doubled {
			b.WriteString(escapeRune)
			s = rest
			continue
		}
		if len(s) >= 2 && hexValue(s[0]) >= 0 && hexValue(s[1]) >= 0 {
			b.WriteByte(byte(hexValue(s[0])<<4 | hexValue(s[1])))
			s = s[2:]
			continue
		}
		b.WriteString(escapeRune)
	}
}

// hexValue returns the value of a lower-case hexadecimal digit, and else -1.
func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
