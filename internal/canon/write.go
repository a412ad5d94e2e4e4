package canon

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// special marks, with a 1, the bytes other than the ASCII characters that a
// string holds as they are.
var special = func() (t [256]byte) {
	for c := range t {
		if c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			t[c] = 1
		}
	}
	return t
}()

// AppendString appends s as RFC 8785, Section 3.2.2.2, writes it. It reports
// false if s is not valid UTF-8.
func AppendString(dst []byte, s string) ([]byte, bool) {
	dst = append(dst, '"')

	// Most strings have no special byte. This loop finds that out without a
	// branch for each byte.
	var found byte
	for i := range len(s) {
		found |= special[s[i]]
	}
	if found == 0 {
		dst = append(dst, s...)
		return append(dst, '"'), true
	}

	start := 0 // of what is yet to be appended
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
	return append(dst, '\\', 'u', '0', '0', HexDigits[c>>4], HexDigits[c&15])
}

// appendNumber appends f as ECMAScript's Number::toString does (RFC 8785,
// Section 3.2.2.3).
func appendNumber(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, errors.New("not a finite number")
	}

	abs := math.Abs(f)
	switch {
	case abs >= MaxNumber:
		return dst, errNumber
	case f == 0:
		return append(dst, '0'), nil // also for -0
	case abs >= 1e-6:
		return strconv.AppendFloat(dst, f, 'f', -1, 64), nil
	}

	// strconv writes e-07 where ECMAScript writes e-7.
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	n := len(dst)
	if n >= 4 && dst[n-4] == 'e' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst, nil
}

func appendInt(dst []byte, n int64) ([]byte, error) {
	if n <= -MaxNumber || n >= MaxNumber {
		return dst, errNumber
	}
	return strconv.AppendInt(dst, n, 10), nil
}

func appendUint(dst []byte, n uint64) ([]byte, error) {
	if n >= MaxNumber {
		return dst, errNumber
	}
	return strconv.AppendUint(dst, n, 10), nil
}

// LessUTF16 orders names by their UTF-16 code units (RFC 8785, Section 3.2.3).
// UTF-8 orders by code point, which differs only where one side is outside the
// Basic Multilingual Plane and the other lies above the surrogates.
func LessUTF16(a, b string) bool {
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

// CompareUTF16 is LessUTF16 for slices.SortFunc.
func CompareUTF16(a, b string) int {
	if a == b {
		return 0
	}
	if LessUTF16(a, b) {
		return -1
	}
	return 1
}

// AppendValue appends any JSON value canonically: nil, bool, string, numbers,
// []any, map[string]any, json.RawMessage, and what encoding/json can marshal.
// path names the value in an *Error; depth is how deep it is nested, the
// outermost container being 1.
func AppendValue(dst []byte, v any, path string, depth int) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case string:
		dst, ok := AppendString(dst, v)
		if !ok {
			return dst, &Error{path, "not valid UTF-8"}
		}
		return dst, nil
	case []any:
		return appendArray(dst, v, path, depth)
	case map[string]any:
		return AppendObject(dst, v, nil, path, depth)
	case json.RawMessage:
		return appendRaw(dst, v, path, depth)

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

	default:
		// What has a form of its own is written by encoding/json, and that read
		// back, because it is not canonical.
		raw, err := json.Marshal(v)
		if err != nil {
			return dst, &Error{path, fmt.Sprintf("not JSON: %v", err)}
		}
		return appendRaw(dst, raw, path, depth)
	}

	if err != nil {
		return dst, &Error{path, err.Error()}
	}
	return dst, nil
}

func tooDeep(path string) error {
	return &Error{path, fmt.Sprintf("nested deeper than %d", MaxDepth)}
}

func appendArray(dst []byte, v []any, path string, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return dst, tooDeep(path)
	}

	dst = append(dst, '[')
	for i, item := range v {
		if i > 0 {
			dst = append(dst, ',')
		}

		var err error
		dst, err = AppendValue(dst, item, path, depth+1)
		if err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// AppendObject is AppendValue for an object, without the names in skip.
func AppendObject(dst []byte, m map[string]any, skip map[string]bool, path string, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return dst, tooDeep(path)
	}

	var few [16]string // so that most objects need no slice on the heap
	names := few[:0]
	for name := range m {
		if !skip[name] {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, CompareUTF16)

	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}

		var ok bool
		dst, ok = AppendString(dst, name)
		if !ok {
			return dst, &Error{path, "a name that is not valid UTF-8"}
		}
		dst = append(dst, ':')

		var err error
		dst, err = AppendValue(dst, m[name], path+"."+name, depth+1)
		if err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// appendRaw appends what somebody else wrote as JSON.
func appendRaw(dst []byte, raw json.RawMessage, path string, depth int) ([]byte, error) {
	s := Scanner{Data: raw, Depth: depth - 1, Path: []string{path}}
	v := s.Value()
	s.End()
	if s.Err != nil {
		return dst, s.Err
	}

	return AppendValue(dst, v, path, depth)
}
