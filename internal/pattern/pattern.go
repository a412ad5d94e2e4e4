// Package pattern selects dotted names, such as the actions of events:
// "mail.view" itself, "mail.*" for everything below "mail.", or "*" for all.
package pattern

import (
	"fmt"
	"strings"
)

// Check returns an error that says what a pattern looks like, unless p is one.
// The empty pattern is an exact one, and selects the empty name.
func Check(p string) error {
	name, star := strings.CutSuffix(p, "*")
	if strings.Contains(name, "*") || star && name != "" && !strings.HasSuffix(name, ".") {
		return fmt.Errorf(`%q: want a name, a prefix such as "mail.*", or "*"`, p)
	}
	return nil
}

// Match reports whether p, which Check accepts, selects name.
func Match(p, name string) bool {
	prefix, star := strings.CutSuffix(p, "*")
	if star {
		return strings.HasPrefix(name, prefix)
	}
	return name == p
}
