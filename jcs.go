package attestlog

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// This file writes RFC 8785 (JCS) JSON. github.com/gowebpki/jcs is the oracle
// in its tests.

// maxNumber bounds the magnitude of a number: from 2^53 on, a float64 no
// longer tells neighbouring integers apart (RFC 8785, Appendix D).
const maxNumber = 1 << 53

const hexDigits = "0123456789abcdef"

// special marks, with a 1, the bytes that are not ASCII characters which a JCS
// string holds as they are.
var special = func() (t [256]byte) {
	for c := range t {
		if c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			t[c] = 1
		}
	}
	return t
}()

// appendString appends s as RFC 8785, Section 3.2.2.2, writes it. It reports
// false when s is not valid UTF-8.
func appendString(dst []byte, s string) ([]byte, bool) {
	dst = append(dst, '"')
	var found byte
	for i := range len(s) { // without a branch: most strings have none
		found |= special[s[i]]
	}
	if found == 0 {
		dst = append(dst, s...)
		return append(dst, '"'), true
	}
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case special[c] == 0:
			i++
		case c < utf8.RuneSelf:
			dst = append(dst, s[start:i]...)
			dst = appendEscape(dst, c)
			i++
			start = i
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				return dst, false
			}
			i += n
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"'), true
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\t':
		return append(dst, '\\', 't')
	case '\n':
		return append(dst, '\\', 'n')
	case '\f':
		return append(dst, '\\', 'f')
	case '\r':
		return append(dst, '\\', 'r')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendNumber appends f as ECMAScript's Number::toString does (RFC 8785,
// Section 3.2.2.3).
func appendNumber(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, fmt.Errorf("not a finite number")
	}
	abs := math.Abs(f)
	if abs >= maxNumber {
		return dst, fmt.Errorf("a number of magnitude 2^53 or more")
	}
	if f == 0 {
		return append(dst, '0'), nil
	}
	if abs >= 1e-6 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64), nil
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// strconv writes e-07 where ECMAScript writes e-7.
	if n := len(dst); n >= 4 && dst[n-4] == 'e' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst, nil
}

// lessUTF16 orders object names by their UTF-16 code units (RFC 8785, Section
// 3.2.3). UTF-8 orders by code point, which differs only where one side is
// outside the Basic Multilingual Plane and the other lies above the surrogates.
func lessUTF16(a, b string) bool {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == b[i] {
			continue
		}
		// 0xF0 and up lead four-byte sequences, whose first UTF-16 unit is a
		// surrogate; 0xEE and 0xEF lead U+E000 to U+FFFF, above them.
		if a[i] >= 0xEE && b[i] >= 0xEE {
			aHigh, bHigh := a[i] >= 0xF0, b[i] >= 0xF0
			if aHigh != bHigh {
				return aHigh
			}
		}
		return a[i] < b[i]
	}
	return len(a) < len(b)
}

func compareUTF16(a, b string) int {
	if a == b {
		return 0
	}
	if lessUTF16(a, b) {
		return -1
	}
	return 1
}

// appendValue appends any JSON value canonically. field names it in errors;
// depth is how deep v is nested, the leaf itself being 1.
func appendValue(dst []byte, v any, field string, depth int) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case string:
		dst, ok := appendString(dst, v)
		if !ok {
			return dst, &FieldError{Field: field, Rule: "not valid UTF-8"}
		}
		return dst, nil
	case float64:
		dst, err = appendNumber(dst, v)
	case float32:
		dst, err = appendNumber(dst, float64(v))
	case int:
		dst, err = appendInt(dst, int64(v))
	case int8:
		dst, err = appendInt(dst, int64(v))
	case int16:
		dst, err = appendInt(dst, int64(v))
	case int32:
		dst, err = appendInt(dst, int64(v))
	case int64:
		dst, err = appendInt(dst, v)
	case uint:
		dst, err = appendUint(dst, uint64(v))
	case uint8:
		dst, err = appendUint(dst, uint64(v))
	case uint16:
		dst, err = appendUint(dst, uint64(v))
	case uint32:
		dst, err = appendUint(dst, uint64(v))
	case uint64:
		dst, err = appendUint(dst, v)
	case []any:
		return appendArray(dst, v, field, depth)
	case map[string]any:
		return appendObject(dst, v, nil, field, depth)
	case json.RawMessage:
		return appendRaw(dst, v, field, depth)
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			return dst, &FieldError{Field: field, Rule: fmt.Sprintf("not JSON: %v", err)}
		}
		return appendRaw(dst, raw, field, depth)
	}
	if err != nil {
		return dst, &FieldError{Field: field, Rule: err.Error()}
	}
	return dst, nil
}

func appendInt(dst []byte, n int64) ([]byte, error) {
	if n <= -maxNumber || n >= maxNumber {
		return dst, fmt.Errorf("a number of magnitude 2^53 or more")
	}
	return strconv.AppendInt(dst, n, 10), nil
}

func appendUint(dst []byte, n uint64) ([]byte, error) {
	if n >= maxNumber {
		return dst, fmt.Errorf("a number of magnitude 2^53 or more")
	}
	return strconv.AppendUint(dst, n, 10), nil
}

func tooDeep(field string) error {
	return &FieldError{Field: field, Rule: "nested deeper than 64"}
}

func appendArray(dst []byte, v []any, field string, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return dst, tooDeep(field)
	}
	dst = append(dst, '[')
	for i, item := range v {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendValue(dst, item, field, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// appendObject appends m without the names in skip.
func appendObject(dst []byte, m map[string]any, skip map[string]bool, field string, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return dst, tooDeep(field)
	}
	var room [16]string
	names := room[:0]
	for name := range m {
		if !skip[name] {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, compareUTF16)
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		var ok bool
		if dst, ok = appendString(dst, name); !ok {
			return dst, &FieldError{Field: field, Rule: "a name that is not valid UTF-8"}
		}
		dst = append(dst, ':')
		var err error
		if dst, err = appendValue(dst, m[name], field+"."+name, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func appendRaw(dst []byte, raw json.RawMessage, field string, depth int) ([]byte, error) {
	s := scanner{data: raw, depth: depth - 1, path: []string{field}}
	v := s.value()
	s.end()
	if s.err != nil {
		return dst, s.err
	}
	return appendValue(dst, v, field, depth)
}
