// Package canon writes and reads canonical JSON (RFC 8785, JCS), the form of
// leaves, and the times in it.
//
// There is one way to write a value: names in the order of their UTF-16 code
// units, no white space, the shortest escapes, numbers as ECMAScript writes
// them. What cannot be written in a way that every reader reads alike is
// refused: numbers of magnitude 2^53 or more, text that is not valid UTF-8,
// lone surrogates, duplicate names, and containers nested deeper than MaxDepth.
//
//	{"action":"mail.view","attributes":{"n":1e-7,"text":"\u000f\"é"},"v":1}
//
// github.com/gowebpki/jcs is the oracle in the tests. It is not used itself
// because it is slower, and keeps a log waiting on its hottest path.
package canon

import "fmt"

const (
	// MaxDepth is how deep objects and arrays may be nested, the outermost
	// being 1.
	MaxDepth = 64

	// MaxNumber bounds the magnitude of a number: from 2^53 on, a float64 no
	// longer tells neighbouring integers apart (RFC 8785, Appendix D).
	MaxNumber = 1 << 53
)

// An Error says which rule a value breaks, and where.
type Error struct {
	Path string // dotted names from the outermost value on, "" for that itself
	Rule string
}

func (e *Error) Error() string {
	if e.Path == "" {
		return e.Rule
	}
	return e.Path + ": " + e.Rule
}

var errNumber = fmt.Errorf("a number of magnitude 2^53 or more")

// HexDigits are the lower-case hexadecimal digits.
const HexDigits = "0123456789abcdef"
