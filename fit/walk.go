package fit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/attestlog/attestlog/internal/loosejson"
)

// A walk turns values into those that an event may hold. Its notes are keyed
// by pointers from path on.
type walk struct {
	limit int // longest string in bytes that is not cut, 0 for none
	max   int // longest string in bytes, whatever the note takes, 0 for none
	path  []string
	notes notes
	size  int // bound of the JSON so far, without notes
	most  int // of size and noted, or 0: what is in containers beyond it is not walked
	noted int // what the notes take at least
	over  bool
}

func (w *walk) pointer() string {
	if len(w.path) == 0 {
		return "/"
	}
	var b strings.Builder
	for _, name := range w.path {
		b.WriteByte('/')
		b.WriteString(pointerEscapes.Replace(name))
	}
	return b.String()
}

// note adds to the note of the value that is being walked.
func (w *walk) note(add func(*note)) {
	p := w.pointer()
	n, again := w.notes[p]
	if !again {
		w.noted += len(p)
	}
	add(&n)
	w.notes[p] = n
}

func (w *walk) text(s string) string {
	full := s
	if !utf8.ValidString(s) {
		s = Escape(s)
		w.note(func(n *note) { n.as = strings.TrimSpace(n.as + " escaped") })
	}
	short := s
	if w.max > 0 {
		short = cut(short, full, w.max)
	}
	if w.limit > 0 && len(short) > w.limit+noteRoom {
		short = cut(short, full, w.limit)
	}
	if short != s {
		w.note(func(n *note) { n.bytes, n.sha256 = len(full), digest(full) })
	}
	w.size += jsonLen(short) + len(`"",`)
	return short
}

// cut returns s if it has at most n bytes; else n bytes, or a few less, that
// say which text they begin.
func cut(s, full string, n int) string {
	if len(s) <= n {
		return s
	}
	return clip(s, full, n-clipTail)
}

// clipTail is the length of "~" and 32 hexadecimal digits.
const clipTail = 33

// clip returns the first n bytes of s, "~" and the beginning of the SHA-256 of
// full.
func clip(s, full string, n int) string {
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "~" + digest(full)[:clipTail-1]
}

func digest[B string | []byte](b B) string {
	sum := sha256.Sum256([]byte(b))
	return hex.EncodeToString(sum[:])
}

// value walks a value inside depth containers.
func (w *walk) value(v any, depth int) any {
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
		return w.whole(int64(v), v)
	case int64:
		return w.whole(v, v)
	case int8, int16, int32, uint8, uint16, uint32:
		w.size += maxDigits
		return v
	case uint:
		return w.natural(uint64(v), v)
	case uint64:
		return w.natural(v, v)
	case json.Number:
		return w.number(v)
	case loosejson.JSONText:
		return w.json(string(v))
	case map[string]any, []any, loosejson.Repeated:
		return w.container(v, depth)
	case json.RawMessage:
		return w.raw(v, depth)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return w.json(fmt.Sprintf("%T", v))
	}
	return w.raw(raw, depth)
}

func (w *walk) raw(raw []byte, depth int) any {
	decoded, err := loosejson.Decode(raw)
	if err != nil {
		return w.json(string(raw))
	}
	return w.value(decoded, depth)
}

// maxDigits bounds a number's JSON, with a comma.
const maxDigits = 26

func (w *walk) float(f float64, as any) any {
	if !finite(f) {
		return w.digits(strconv.FormatFloat(f, 'g', -1, 64))
	}
	w.size += maxDigits
	return as
}

func (w *walk) whole(n int64, as any) any {
	if n <= -maxNumber || n >= maxNumber {
		return w.digits(strconv.FormatInt(n, 10))
	}
	w.size += maxDigits
	return as
}

func (w *walk) natural(n uint64, as any) any {
	if n >= maxNumber {
		return w.digits(strconv.FormatUint(n, 10))
	}
	w.size += maxDigits
	return as
}

// number keeps the value of what a float64 holds, as the core does.
func (w *walk) number(n json.Number) any {
	f, err := n.Float64()
	if err != nil || !finite(f) || !json.Valid([]byte(n)) {
		return w.digits(string(n))
	}
	w.size += maxDigits
	return f
}

func (w *walk) digits(text string) any {
	w.note(func(n *note) { n.as = "number" })
	return w.text(text)
}

func (w *walk) json(text string) any {
	w.note(func(n *note) { n.as = "json" })
	return w.text(text)
}

func (w *walk) container(v any, depth int) any {
	if depth++; depth > loosejson.MaxNest {
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

// tooLong reports whether a container's items, of which each takes least bytes,
// are more than there is room for.
func (w *walk) tooLong(items, least int) bool {
	w.over = w.over || w.most > 0 && w.size+w.noted+items*least > w.most
	return w.over
}

func (w *walk) array(v []any, depth int) any {
	if w.tooLong(len(v), len("0,")) {
		return nil
	}
	out := make([]any, len(v))
	for i := range v {
		if w.tooLong(len(v)-i, len("0,")) {
			return nil
		}
		w.path = append(w.path, strconv.Itoa(i))
		out[i] = w.value(v[i], depth)
		w.path = w.path[:len(w.path)-1]
	}
	return out
}

func (w *walk) object(v map[string]any, depth int) any {
	if w.tooLong(len(v), leastMember) {
		return nil
	}
	out := make(map[string]any, len(v))
	for i, n := range storedNames(v, w.limit > 0) {
		if w.tooLong(len(v)-i, leastMember) {
			return nil
		}
		w.path = append(w.path, n.stored)
		if n.how != "" {
			w.note(func(to *note) { to.name = n.how })
		}
		w.size += jsonLen(n.stored) + len(`"":`)
		out[n.stored] = w.value(v[n.given], depth)
		w.path = w.path[:len(w.path)-1]
	}
	return out
}

// maxName is the longest name in bytes that is not cut in an event that is too
// long. A cut one is longer, so it is no other's.
const maxName = 200

type storedName struct{ given, stored, how string }

// storedNames returns an object's names in order, with what the event holds in
// their place. If any is not UTF-8, all are escaped, so that no two become
// one.
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
			if n.stored = Escape(n.given); n.stored != n.given {
				n.how = "escaped"
			}
		}
		if short && len(n.stored) > maxName {
			n.stored, n.how = clip(n.stored, n.given, maxName), "cut"
		}
	}
	return names
}

// jsonOf returns v's JSON as close to what was given as there is.
func jsonOf(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Appendf(nil, "%T", v)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}
