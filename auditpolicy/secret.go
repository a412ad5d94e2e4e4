package auditpolicy

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/attestlog/attestlog/diff"
)

// SecretName reports whether a member's name says that its value is a secret. It
// does if one of its words is, or ends in, password, passwd, pwd, passphrase,
// passcode, secret, token, authorization, cookie or credential, or is pin, cvv or
// cvc, in the plural too; if two that follow each other are api, access, private
// or session key; or if it is pass alone. It does not if the name is about the
// secret: if its last word is id, type, count, attempts, at, expires, policy and
// the like, or its first max, min, num or has. Case does not matter; words end
// where the letters do, and where a capital begins.
func SecretName(name string) bool {
	words := wordsOf(name)
	if len(words) == 0 || about[words[len(words)-1]] || aboutFirst[words[0]] && len(words) > 1 {
		return false
	}
	for i, w := range words {
		w = strings.TrimSuffix(w, "s")
		switch {
		case w == "pin" || w == "cvv" || w == "cvc" || w == "apikey" || w == "privatekey" || w == "accesskey":
			return true
		case len(words) == 1 && words[0] == "pass":
			return true
		case i+1 < len(words) && (w == "api" || words[i] == "access" || w == "private" || w == "session") && strings.TrimSuffix(words[i+1], "s") == "key":
			return true
		}
		for _, end := range secretEnds {
			if strings.HasSuffix(w, end) {
				return true
			}
		}
	}
	return false
}

var secretEnds = []string{"password", "passwd", "pwd", "passphrase", "passcode", "secret", "token", "authorization", "cookie", "credential"}

var about = set("id", "ids", "type", "types", "count", "counts", "attempt", "attempts", "at", "on", "age", "expiry", "expires", "expired", "expiration", "policy", "length",
	"size", "limit", "status", "state", "valid", "required", "enabled", "name", "names", "url", "uri", "endpoint", "strength", "changed", "reset", "version", "ttl")

var aboutFirst = set("max", "min", "num", "has", "is", "total")

func set(words ...string) map[string]bool {
	out := map[string]bool{}
	for _, w := range words {
		out[w] = true
	}
	return out
}

// wordsOf splits apiKey, api_key, API-Key and api[key] alike, in lower case.
func wordsOf(name string) []string {
	var words []string
	start := 0
	end := func(i int) {
		if i > start {
			words = append(words, strings.ToLower(name[start:i]))
		}
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c < 0x80 && !isLower(c) && !isUpper(c):
			end(i)
			start = i + 1
		case isUpper(c) && i > start && (isLower(name[i-1]) || i+1 < len(name) && isLower(name[i+1])):
			end(i)
			start = i
		}
	}
	end(len(name))
	return words
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }

// Tokens by their form: a JSON Web Token, a PEM private key, keys of AWS, GitHub,
// GitLab, Slack, Stripe, Google and npm, and those of attestlog.
var tokenForms = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*` +
	`|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)` +
	`|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b` +
	`|\bgh[opsur]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}` +
	`|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\b[rs]k_(?:live|test)_[A-Za-z0-9]{10,}|\bAIza[A-Za-z0-9_-]{30,}|\bnpm_[A-Za-z0-9]{30,}` +
	`|\bal_[A-Za-z0-9]{4,}_[A-Za-z0-9_-]{16,}`)

// An HTTP credential (RFC 9110, Section 11.4), if what follows the scheme is one.
var credential = regexp.MustCompile(`(?i)\b(bearer|basic)\s+([a-z0-9+/_.~-]{8,}=*)`)

func isCredential(scheme, text string) bool {
	if strings.EqualFold(scheme, "basic") {
		plain, err := base64.StdEncoding.DecodeString(text)
		return err == nil && strings.Contains(string(plain), ":")
	}
	return len(text) >= 20 || strings.ContainsAny(text, "0123456789")
}

// A password in a URL (RFC 3986, Section 3.2.1).
var userInfo = regexp.MustCompile(`(://[^\s/:@?#]*:)[^\s/@?#]+@`)

// Digits that may be a card's number: 13 to 19, alone or in groups.
var cardForm = regexp.MustCompile(`\b\d(?:[ -]?\d){12,18}\b`)

// Secret returns a text with the tokens and card numbers in it redacted, and
// whether there were any. A card's number has the beginning and the length of one
// of the large issuers', and a valid check digit (ISO/IEC 7812-1).
func Secret(text string) (string, bool) {
	if len(text) < 8 {
		return text, false
	}
	out := tokenForms.ReplaceAllLiteralString(text, diff.Redacted)
	out = credential.ReplaceAllStringFunc(out, func(found string) string {
		if m := credential.FindStringSubmatch(found); !isCredential(m[1], m[2]) {
			return found
		}
		return diff.Redacted
	})
	out = userInfo.ReplaceAllString(out, "${1}"+diff.Redacted+"@")
	out = withoutCards(out)
	return out, out != text
}

// withoutCards redacts card numbers, but for digits behind a plus sign, as in a
// telephone number, and those of a larger number.
func withoutCards(text string) string {
	var out strings.Builder
	end := 0
	for _, at := range cardForm.FindAllStringIndex(text, -1) {
		if !isCard(text[at[0]:at[1]]) || at[0] > 0 && strings.IndexByte("+.", text[at[0]-1]) >= 0 {
			continue
		}
		out.WriteString(text[end:at[0]])
		out.WriteString(diff.Redacted)
		end = at[1]
	}
	if end == 0 {
		return text
	}
	return out.String() + text[end:]
}

func isCard(text string) bool {
	digits := strings.Map(func(c rune) rune {
		if c < '0' || c > '9' {
			return -1
		}
		return c
	}, text)
	return len(digits) >= 13 && slices.ContainsFunc(issuers, func(i issuer) bool {
		return len(digits) >= i.shortest && len(digits) <= i.longest && digits[:len(i.from)] >= i.from && digits[:len(i.to)] <= i.to
	}) && checks(digits)
}

// An issuer's numbers begin with from to to.
type issuer struct {
	from, to          string
	shortest, longest int
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

// checks tells whether the last digit is that of Luhn's formula.
func checks(text string) bool {
	sum, n := 0, 0
	for i := len(text) - 1; i >= 0; i-- {
		d := int(text[i] - '0')
		if n%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		n++
	}
	return sum%10 == 0
}

// secrets redacts what looks like a secret in attributes and changes.
func (ed *editor) secrets() {
	if len(ed.e.Attributes) > 0 {
		ed.attributes()
		for name, v := range ed.e.Attributes {
			ed.e.Attributes[name] = ed.secret([]string{"attributes", name}, v)
		}
	}
	if len(ed.e.Changes) > 0 {
		ed.ownChanges()
	}
	for i := range ed.e.Changes {
		c := &ed.e.Changes[i]
		path := append([]string{"changes"}, pathOf(c.Path)...)
		for _, v := range []*any{&c.Old, &c.New} {
			if *v == nil {
				continue
			}
			before := ed.r.redacted.Load()
			if clean := ed.secret(path, ed.plain(*v)); ed.r.redacted.Load() != before {
				*v = clean
			}
		}
	}
}

func (ed *editor) kept(path []string) bool {
	return slices.ContainsFunc(ed.keep, func(kept []string) bool { return len(kept) <= len(path) && slices.Equal(kept, path[:len(kept)]) })
}

// secret returns a plain value of the editor's own without the secrets in it. A
// part of its path may say that it is one.
func (ed *editor) secret(path []string, v any) any {
	if v == nil || v == "" || v == diff.Redacted || ed.kept(path) {
		return v
	}
	if _, flag := v.(bool); !flag && slices.ContainsFunc(path[1:], SecretName) {
		ed.r.redacted.Add(1)
		return diff.Redacted
	}
	switch v := v.(type) {
	case string:
		out, found := Secret(v)
		if found {
			ed.r.redacted.Add(1)
		}
		return out
	case []any:
		for i := range v {
			v[i] = ed.secret(append(slices.Clip(path), strconv.Itoa(i)), v[i])
		}
	case map[string]any:
		for name, member := range v {
			v[name] = ed.secret(append(slices.Clip(path), name), member)
		}
	case int, int64, uint64, float64, json.Number:
		if text, err := json.Marshal(v); err == nil && cardName(path[len(path)-1]) && isCard(string(text)) {
			ed.r.redacted.Add(1)
			return diff.Redacted
		}
	}
	return v
}

// cardName is for numbers, most of which are none of a card.
func cardName(name string) bool {
	return slices.ContainsFunc(wordsOf(name), func(w string) bool { return w == "card" || w == "pan" || w == "cc" || w == "creditcard" })
}
