package auditpolicy

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"

	"github.com/attestlog/attestlog/diff"
)

// SecretName reports whether a member's name says that its value is a secret. It
// does if one of its words
//
//   - is, or ends in, password, passwd, pwd, passphrase, passcode, secret, token,
//     authorization, cookie or credential, in the plural too,
//   - is pin, cvv or cvc, in the plural too,
//   - is api, access, private or session, and the next is key,
//
// or if the name is pass alone. It does not if the name is about the secret: if
// its last word is id, type, count, attempts, at, expires, policy and the like, or
// its first is max, min, num, has and the like. Case does not matter. A word ends
// where the letters do, and where a capital begins the next.
func SecretName(name string) bool {
	words := wordsOf(name)
	if len(words) == 0 || isAboutSecret(words) {
		return false
	}
	if len(words) == 1 && words[0] == "pass" {
		return true
	}

	for i, word := range words {
		if isSecretWord(strings.TrimSuffix(word, "s")) {
			return true
		}
		isKey := i > 0 && strings.TrimSuffix(word, "s") == "key"
		if isKey && isKindOfKey(words[i-1]) {
			return true
		}
	}
	return false
}

func isSecretWord(word string) bool {
	switch word {
	case "pin", "cvv", "cvc", "apikey", "privatekey", "accesskey":
		return true
	}
	return slices.ContainsFunc(secretEnds, func(end string) bool { return strings.HasSuffix(word, end) })
}

var secretEnds = []string{
	"password", "passwd", "pwd", "passphrase", "passcode", "secret", "token", "authorization", "cookie", "credential",
}

func isKindOfKey(word string) bool {
	switch strings.TrimSuffix(word, "s") {
	case "api", "private", "session":
		return true
	}
	return word == "access"
}

// isAboutSecret reports whether a name is about a secret that it does not hold, as
// token_count and max_tokens are.
func isAboutSecret(words []string) bool {
	first := words[0]
	last := words[len(words)-1]
	return aboutLast[last] || aboutFirst[first] && len(words) > 1
}

var aboutLast = setOf(
	"id", "ids", "type", "types", "count", "counts", "attempt", "attempts", "at", "on", "age",
	"expiry", "expires", "expired", "expiration", "policy", "length", "size", "limit", "status", "state",
	"valid", "required", "enabled", "name", "names", "url", "uri", "endpoint", "strength", "changed", "reset",
	"version", "ttl",
)

var aboutFirst = setOf("max", "min", "num", "has", "is", "total")

func setOf(words ...string) map[string]bool {
	set := map[string]bool{}
	for _, w := range words {
		set[w] = true
	}
	return set
}

// wordsOf splits apiKey, api_key, API-Key and api[key] alike, into words in lower
// case.
func wordsOf(name string) []string {
	var words []string
	start := 0
	endWord := func(end int) {
		if end > start {
			words = append(words, strings.ToLower(name[start:end]))
		}
	}

	for i := range len(name) {
		c := name[i]
		isASCII := c < 0x80
		switch {
		case isUpper(c):
			// A capital begins a word after a small letter, and before one: the K of
			// apiKey, the R of HTTPRequest.
			afterSmall := i > 0 && isLower(name[i-1])
			beforeSmall := i+1 < len(name) && isLower(name[i+1])
			if i > start && (afterSmall || beforeSmall) {
				endWord(i)
				start = i
			}
		case isASCII && !isLower(c):
			endWord(i)
			start = i + 1
		}
	}
	endWord(len(name))
	return words
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }

// tokenForms matches tokens by their form: a JSON Web Token, a PEM private key, keys of AWS, GitHub,
// GitLab, Slack, Stripe, Google and npm, and those of attestlog.
var tokenForms = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*` +
	`|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)` +
	`|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b` +
	`|\bgh[opsur]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}` +
	`|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\b[rs]k_(?:live|test)_[A-Za-z0-9]{10,}|\bAIza[A-Za-z0-9_-]{30,}|\bnpm_[A-Za-z0-9]{30,}` +
	`|\bal_[A-Za-z0-9]{4,}_[A-Za-z0-9_-]{16,}`)

// credential matches what may be an HTTP credential (RFC 9110, Section 11.4): a
// scheme, and a text that isCredential checks.
var credential = regexp.MustCompile(`(?i)\b(bearer|basic)\s+([a-z0-9+/_.~-]{8,}=*)`)

func isCredential(scheme, text string) bool {
	if strings.EqualFold(scheme, "basic") {
		plain, err := base64.StdEncoding.DecodeString(text)
		return err == nil && strings.Contains(string(plain), ":")
	}
	return len(text) >= 20 || strings.ContainsAny(text, "0123456789")
}

// userInfo matches a password in a URL (RFC 3986, Section 3.2.1).
var userInfo = regexp.MustCompile(`(://[^\s/:@?#]*:)[^\s/@?#]+@`)

// cardForm matches digits that may be a card number: 13 to 19, together or in
// groups.
var cardForm = regexp.MustCompile(`\b\d(?:[ -]?\d){12,18}\b`)

// Secret returns a text with the tokens and card numbers in it redacted, and
// whether there were any. A card number begins like those of a large issuer, has
// the length of such a number, and a valid check digit (ISO/IEC 7812-1).
func Secret(text string) (string, bool) {
	const shortest = 8
	if len(text) < shortest {
		return text, false
	}

	out := tokenForms.ReplaceAllLiteralString(text, diff.Redacted)
	out = credential.ReplaceAllStringFunc(out, func(found string) string {
		m := credential.FindStringSubmatch(found)
		if !isCredential(m[1], m[2]) {
			return found
		}
		return diff.Redacted
	})
	out = userInfo.ReplaceAllString(out, "${1}"+diff.Redacted+"@")
	out = withoutCards(out)
	return out, out != text
}

// withoutCards redacts card numbers. Digits after a plus sign are a telephone
// number, and those after a dot are part of another number.
func withoutCards(text string) string {
	var out strings.Builder
	end := 0 // of the last card number
	for _, found := range cardForm.FindAllStringIndex(text, -1) {
		from, to := found[0], found[1]
		isPart := from > 0 && (text[from-1] == '+' || text[from-1] == '.')
		if isPart || !isCard(text[from:to]) {
			continue
		}
		out.WriteString(text[end:from])
		out.WriteString(diff.Redacted)
		end = to
	}
	if end == 0 {
		return text
	}
	out.WriteString(text[end:])
	return out.String()
}

// isCard reports whether a text, digits and what separates them, is a card number.
func isCard(text string) bool {
	digits := strings.Map(func(c rune) rune {
		if c < '0' || c > '9' {
			return -1
		}
		return c
	}, text)

	const shortest = 13
	if len(digits) < shortest {
		return false
	}
	isOf := func(i issuer) bool { return i.issued(digits) }
	return slices.ContainsFunc(issuers, isOf) && hasCheckDigit(digits)
}

// An issuer's numbers begin with digits in the range from–to.
type issuer struct {
	from, to          string
	shortest, longest int
}

func (i issuer) issued(digits string) bool {
	if len(digits) < i.shortest || len(digits) > i.longest {
		return false
	}
	begin := digits[:len(i.from)] // from and to have the same length
	return begin >= i.from && begin <= i.to
}

var issuers = []issuer{
	{"4", "4", 16, 16}, {"4", "4", 19, 19}, // Visa
	{"51", "55", 16, 16}, {"2221", "2720", 16, 16}, // Mastercard
	{"34", "34", 15, 15}, {"37", "37", 15, 15}, // American Express
	{"300", "305", 14, 19}, {"36", "36", 14, 19}, {"38", "39", 14, 19}, // Diners Club
	{"3528", "3589", 16, 19},                         // JCB
	{"6011", "6011", 16, 19}, {"644", "659", 16, 19}, // Discover
	{"62", "62", 16, 19}, // UnionPay
}

// hasCheckDigit reports whether the last digit is that of Luhn's formula.
func hasCheckDigit(digits string) bool {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			d *= 2
			if d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// isCardName reports whether a name is that of a card number. A number that is not
// a text is only looked at under such a name, since most numbers of that length
// are not card numbers.
func isCardName(name string) bool {
	return slices.ContainsFunc(wordsOf(name), func(word string) bool {
		switch word {
		case "card", "pan", "cc", "creditcard":
			return true
		}
		return false
	})
}
