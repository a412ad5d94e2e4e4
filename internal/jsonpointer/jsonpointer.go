// Package jsonpointer writes and reads JSON Pointers (RFC 6901), which name a
// value within a JSON document, such as "/attributes/a~1b".
package jsonpointer

import (
	"fmt"
	"strings"
)

var (
	escaper   = strings.NewReplacer("~", "~0", "/", "~1")
	unescaper = strings.NewReplacer("~1", "/", "~0", "~")
)

// Escape writes a name as one token of a pointer (RFC 6901, Section 3).
func Escape(name string) string {
	if !strings.ContainsAny(name, "~/") {
		return name
	}
	return escaper.Replace(name)
}

// Unescape reads a token that Escape wrote. A tilde that starts no escape
// stays as it is.
func Unescape(token string) string {
	if !strings.Contains(token, "~") {
		return token
	}
	return unescaper.Replace(token)
}

// Join writes the pointer of names, from the document's root on. Without names
// it is "", the whole document.
func Join(names ...string) string {
	var b strings.Builder
	for _, name := range names {
		b.WriteByte('/')
		b.WriteString(Escape(name))
	}
	return b.String()
}

// Split returns the names of which a pointer consists: none for "", the whole
// document. It fails if the pointer does not start with a slash, or holds a
// tilde that starts no escape.
func Split(pointer string) ([]string, error) {
	if pointer == "" {
		return nil, nil
	}
	if pointer[0] != '/' {
		return nil, fmt.Errorf("%q is not a JSON Pointer such as /attributes/email: it does not start with a slash", pointer)
	}

	names := strings.Split(pointer[1:], "/")
	for i, token := range names {
		names[i] = Unescape(token)
		if Escape(names[i]) != token {
			return nil, fmt.Errorf(`%q is not a JSON Pointer: in %q, "~" is not followed by 0 or 1`, pointer, token)
		}
	}

	return names, nil
}
