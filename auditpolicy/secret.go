package auditpolicy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/attestlog/attestlog"
)

// SecretName reports whether a member's name says that its value is a secret:
// one of its words is password, passwd, pwd, passphrase, secret, token,
// authorization, cookie, credential, pin, cvv or cvc, or two that follow each
// other are api key, access key, private key or session key. Case does not matter; words end at "_", "-", ".", " " and where
// a capital begins.
func SecretName(name string) bool {
	words := wordsOf(name)
	for i, w := range words {
		switch w {
		case "password", "passwd", "pwd", "passphrase", "secret", "token", "authorization", "cookie", "credential", "credentials", "pin", "cvv", "cvc",
			"passwords", "secrets", "tokens", "cookies", "apikey", "privatekey", "accesskey":
			return true
		case "api", "access", "private", "session":
			if i+1 < len(words) && words[i+1] == "key" {
				return true
			}
		}
	}
	return false
}

// wordsOf splits apiKey, api_key and API-Key alike, in lower case.
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
		case c == '_' || c == '-' || c == '.' || c == ' ' || c == '/':
			end(i)
			start = i + 1
		case c >= 'A' && c <= 'Z' && i > 0 && (isLower(name[i-1]) || i+1 < len(name) && isLower(name[i+1]) && name[i-1] >= 'A' && name[i-1] <= 'Z'):
			end(i)
			start = i
		}
	}
	end(len(name))
	return words
}

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }

// Tokens by their form: an HTTP credential, a JSON Web Token, a PEM private key,
// keys of AWS, GitHub, GitLab, Slack, Stripe, Google and npm, and those of
// attestlog.
var tokenForms = regexp.MustCompile(`(?i:\b(?:bearer|basic)\s+[a-z0-9+/_.~-]{8,}=*)` +
	`|\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*` +
	`|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)` +
	`|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b` +
	`|\bgh[opsur]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}` +
	`|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\b[rs]k_(?:live|test)_[A-Za-z0-9]{10,}|\bAIza[A-Za-z0-9_-]{30,}|\bnpm_[A-Za-z0-9]{30,}` +
	`|\bal_[A-Za-z0-9]{4,}_[A-Za-z0-9_-]{16,}`)

// Digits that may be a card's number: 13 to 19, alone or in groups.
var cardForm = regexp.MustCompile(`\b\d(?:[ -]?\d){12,18}\b`)

// Secret returns a text with the tokens and card numbers in it redacted, and
// whether there were any. A card's number has the beginning and the length of one
// of the large issuers', and a valid check digit (ISO/IEC 7812-1).
func Secret(text string) (string, bool) {
	if len(text) < 13 {
		return text, false
	}
	out := tokenForms.ReplaceAllLiteralString(text, attestlog.Redacted)
	out = cardForm.ReplaceAllStringFunc(out, func(digits string) string {
		if isCard(digits) {
			return attestlog.Redacted
		}
		return digits
	})
	return out, out != text
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
	{"4", "4", 13, 19},                             // Visa
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
	for name, v := range ed.e.Attributes {
		if out, found := ed.secret([]string{"attributes", name}, name, v); found {
			ed.ownAttributes()
			ed.e.Attributes[name] = out
		}
	}
	for i := range ed.e.Changes {
		c := ed.e.Changes[i]
		parts := strings.Split(strings.TrimPrefix(c.Path, "/"), "/")
		for k := range parts {
			parts[k] = unescaper.Replace(parts[k])
		}
		name := parts[len(parts)-1]
		if isIndex(name) && len(parts) > 1 {
			name = parts[len(parts)-2]
		}
		path := append([]string{"changes"}, parts...)
		was, foundOld := ed.secret(path, name, c.Old)
		is, foundNew := ed.secret(path, name, c.New)
		if foundOld || foundNew {
			ed.ownChanges()
			ed.e.Changes[i].Old, ed.e.Changes[i].New = was, is
		}
	}
}

func isIndex(name string) bool {
	return name != "" && strings.Trim(name, "0123456789") == ""
}

// secret returns a value without the secrets in it, and whether there were any.
func (ed *editor) secret(path []string, name string, v any) (any, bool) {
	if v == nil || slices.ContainsFunc(ed.keep, func(kept []string) bool {
		return len(kept) <= len(path) && slices.Equal(kept, path[:len(kept)])
	}) {
		return v, false
	}
	if SecretName(name) && v != "" && v != attestlog.Redacted && !isFlag(v) {
		ed.r.redacted.Add(1)
		return attestlog.Redacted, true
	}
	switch v := v.(type) {
	case string:
		out, found := Secret(v)
		if found {
			ed.r.redacted.Add(1)
		}
		return out, found
	case []any:
		return ed.secretList(path, name, v)
	case []string:
		list := make([]any, len(v))
		for i := range v {
			list[i] = v[i]
		}
		if out, found := ed.secretList(path, name, list); found {
			return out, true
		}
		return v, false
	case int, int64, uint64, float64, json.Number:
		if text, err := json.Marshal(v); err == nil && cardName(name) && isCard(string(text)) {
			ed.r.redacted.Add(1)
			return attestlog.Redacted, true
		}
		return v, false
	case json.RawMessage:
		read, err := decode(v)
		if err != nil {
			return v, false
		}
		if out, found := ed.secret(path, name, read); found {
			return out, true
		}
		return v, false
	}
	o, ok := object(v)
	if !ok {
		return v, false
	}
	any := false
	for member, inner := range o {
		if out, found := ed.secret(append(slices.Clip(path), member), member, inner); found {
			o[member], any = out, true
		}
	}
	if !any {
		return v, false
	}
	return o, true
}

func (ed *editor) secretList(path []string, name string, list []any) (any, bool) {
	out, any := slices.Clone(list), false
	for i, v := range list {
		if clean, found := ed.secret(path, name, v); found {
			out[i], any = clean, true
		}
	}
	if !any {
		return list, false
	}
	return out, true
}

// cardName is for numbers, most of which are none of a card.
func cardName(name string) bool {
	return slices.ContainsFunc(wordsOf(name), func(w string) bool { return w == "card" || w == "pan" || w == "cc" || w == "creditcard" })
}

// isFlag is for members such as "token": true, which say whether there is one.
func isFlag(v any) bool {
	_, ok := v.(bool)
	return ok
}
