package fit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/attestlog/attestlog/internal/jsonpointer"
	"github.com/attestlog/attestlog/internal/loosejson"
)

// A walker turns a value into one that an event may hold. Its notes are keyed by
// the JSON Pointer of path.
type walker struct {
	limit int // longest string in bytes that is not cut, or 0
	max   int // the same, but without the note's allowance, or 0
	path  []string
	notes notes
	size  int // bounds the JSON so far in bytes, without the notes

	// budget bounds the bytes of JSON and notes together, or is 0 for no bound. The
	// walk of a container that takes more ends, and the value is of no use.
	budget    int
	noteBytes int  // the least that the notes take
	exceeded  bool // the budget
}

// here is the pointer of a walker without a path.
const here = ""

// note changes the note of the value that is being walked.
func (w *walker) note(change func(*note)) {
	pointer := jsonpointer.Join(w.path...)
	n, noted := w.notes[pointer]
	if !noted {
		w.noteBytes += len(pointer)
	}
	change(&n)
	w.notes[pointer] = n
}

func (w *walker) text(s string) string {
	given := s
	if !utf8.ValidString(s) {
		s = Escape(s)
		w.note(func(n *note) { n.as = strings.TrimSpace(n.as + " escaped") })
	}

	short := s
	if w.max > 0 {
		short = cut(short, given, w.max)
	}
	// Cutting does not help if the note takes what the text had too much.
	if w.limit > 0 && len(short) > w.limit+maxNote {
		short = cut(short, given, w.limit)
	}
	if short != s {
		w.note(func(n *note) {
			n.bytes = len(given)
			n.sha256 = digest(given)
		})
	}

	w.size += jsonLen(short) + len(`"",`)
	return short
}

// cut returns s if it has at most n bytes, and else at most n bytes that start
// as s and end with the beginning of the SHA-256 of given.
func cut(s, given string, n int) string {
	if len(s) <= n {
		return s
	}
	return clip(s, given, n-clipMark)
}

// clipMark is the length of "~" and 32 hexadecimal digits.
const clipMark = 33

// clip returns the first n bytes of s, or a few less to end between characters,
// then "~" and the beginning of the SHA-256 of given.
func clip(s, given string, n int) string {
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "~" + digest(given)[:clipMark-1]
}

func digest[B string | []byte](b B) string {
	sum := sha256.Sum256([]byte(b))
	return hex.EncodeToString(sum[:])
}

// value walks a value inside depth containers.
func (w *walker) value(v any, depth int) any {
	switch v := v.(type) {
	case nil, bool:
		w.size += len("false,")
		return v
	case string:
		return w.text(v)
	case float64:
		return w.float(v, v)
	case float32:
		return w.float(float64(v), v)
	case int:
		return w.integer(int64(v), v)
	case int64:
		return w.integer(v, v)
	case int8, int16, int32, uint8, uint16, uint32:
		w.size += maxDigits
		return v
	case uint:
		return w.unsigned(uint64(v), v)
	case uint64:
		return w.unsigned(v, v)
	case json.Number:
		return w.number(v)
	case loosejson.JSONText:
		return w.json(string(v))
	case map[string]any, []any, loosejson.Repeated:
		return w.container(v, depth)
	case json.RawMessage:
		return w.raw(v, depth)
	}

	// Of any other type, a log too stores the JSON.
	raw, err := json.Marshal(v)
	if err != nil {
		return w.json(fmt.Sprintf("%T", v))
	}
	return w.raw(raw, depth)
}

func (w *walker) raw(raw []byte, depth int) any {
	decoded, err := loosejson.Decode(raw)
	if err != nil {
		return w.json(string(raw))
	}
	return w.value(decoded, depth)
}

// maxDigits bounds a number's JSON in bytes, with a comma.
const maxDigits = 26

// float returns v, whose value is f, or its digits where a log does not accept
// the number. So do integer and unsigned.
func (w *walker) float(f float64, v any) any {
	if !accepted(f) {
		return w.digits(strconv.FormatFloat(f, 'g', -1, 64))
	}
	w.size += maxDigits
	return v
}

func (w *walker) integer(n int64, v any) any {
	if n <= -maxNumber || n >= maxNumber {
		return w.digits(strconv.FormatInt(n, 10))
	}
	w.size += maxDigits
	return v
}

func (w *walker) unsigned(n uint64, v any) any {
	if n >= maxNumber {
		return w.digits(strconv.FormatUint(n, 10))
	}
	w.size += maxDigits
	return v
}

// number returns the float64 that is nearest, which is how a log reads JSON too.
func (w *walker) number(n json.Number) any {
	f, err := n.Float64()
	if err != nil || !accepted(f) || !json.Valid([]byte(n)) {
		return w.digits(string(n))
	}
	w.size += maxDigits
	return f
}

// accepted reports whether a log accepts a number. It does not accept NaN.
func accepted(f float64) bool { return math.Abs(f) < maxNumber }

func (w *walker) digits(text string) any {
	w.note(func(n *note) { n.as = "number" })
	return w.text(text)
}

func (w *walker) json(text string) any {
	w.note(func(n *note) { n.as = "json" })
	return w.text(text)
}

func (w *walker) container(v any, depth int) any {
	depth++
	if depth > loosejson.MaxNest {
		return w.json(string(jsonOf(v)))
	}

	w.size += len("{},")
	switch v := v.(type) {
	case map[string]any:
		return w.object(v, depth)
	case loosejson.Repeated:
		w.note(func(n *note) { n.as = "repeated" })
		return w.array(v, depth)
	default:
		return w.array(v.([]any), depth)
	}
}

// exceeds reports whether the walk will exceed its budget, even if each of a
// container's remaining items takes only the least bytes.
func (w *walker) exceeds(items, least int) bool {
	if w.budget > 0 && w.size+w.noteBytes+items*least > w.budget {
		w.exceeded = true
	}
	return w.exceeded
}

// leastItem is the fewest bytes that an item of an array takes.
const leastItem = len("0,")

func (w *walker) array(v []any, depth int) any {
	if w.exceeds(len(v), leastItem) {
		return nil // before an array of that length is made
	}

	out := make([]any, len(v))
	for i := range v {
		if w.exceeds(len(v)-i, leastItem) {
			return nil
		}

		w.path = append(w.path, strconv.Itoa(i))
		out[i] = w.value(v[i], depth)
		w.path = w.path[:len(w.path)-1]
	}
	return out
}

func (w *walker) object(v map[string]any, depth int) any {
	if w.exceeds(len(v), leastMember) {
		return nil // before the names are sorted
	}

	out := make(map[string]any, len(v))
	for i, name := range storedNames(v, w.limit > 0) {
		if w.exceeds(len(v)-i, leastMember) {
			return nil
		}

		w.path = append(w.path, name.stored)
		if name.how != "" {
			w.note(func(n *note) { n.name = name.how })
		}
		w.size += jsonLen(name.stored) + len(`"":`)
		out[name.stored] = w.value(v[name.given], depth)
		w.path = w.path[:len(w.path)-1]
	}
	return out
}

// maxName is the longest name in bytes that is not cut in an event that is too
// long. A name that was cut is longer than that, so no other name equals it.
const maxName = 200

// A storedName is an object's name as it was given, and as the event holds it.
type storedName struct {
	given, stored string
	how           string // the note's "name": "escaped", "cut", or "" for the same name
}

// storedNames returns the names of an object in their order. If short is set,
// long names are cut. If any name is not UTF-8, all of them are escaped: Escape
// is one to one, so no two names become the same.
func storedNames(m map[string]any, short bool) []storedName {
	names := make([]storedName, 0, len(m))
	escape := false
	for name := range m {
		escape = escape || !utf8.ValidString(name)
		names = append(names, storedName{given: name, stored: name})
	}
	slices.SortFunc(names, func(a, b storedName) int { return strings.Compare(a.given, b.given) })

	for i := range names {
		n := &names[i]
		if escape {
			n.stored = Escape(n.given)
			if n.stored != n.given {
				n.how = "escaped"
			}
		}
		if short && len(n.stored) > maxName {
			n.stored = clip(n.stored, n.given, maxName)
			n.how = "cut"
		}
	}
	return names
}

// jsonOf returns v's JSON, as close as possible to the text that v was read
// from; or, if v cannot be marshaled, the name of its type.
func jsonOf(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Appendf(nil, "%T", v)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}
