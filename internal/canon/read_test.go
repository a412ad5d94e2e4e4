package canon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A spelling writes values as JSON in one of the many ways that there are.
type spelling struct {
	t   *rapid.T
	out []byte
}

func (s *spelling) space() {
	s.out = append(s.out, rapid.SampledFrom([]string{"", "", "", " ", "\r\n\t "}).Draw(s.t, "space")...)
}

func (s *spelling) value(v any) {
	s.space()
	switch v := v.(type) {
	case string:
		s.text(v)
	case float64:
		format := rapid.SampledFrom([]byte("efgE")).Draw(s.t, "format")
		s.out = strconv.AppendFloat(s.out, v, format, -1, 64)
	case []any:
		s.array(v)
	case map[string]any:
		s.object(v)
	default:
		s.out = fmt.Append(s.out, jsonLiterals[v])
	}
	s.space()
}

var jsonLiterals = map[any]string{nil: "null", true: "true", false: "false"}

func (s *spelling) text(text string) {
	s.out = append(s.out, '"')
	for _, r := range text {
		escape := map[rune]string{'"': `\"`, '\\': `\\`, '/': `\/`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}[r]
		must := r < 0x20 || r == '"' || r == '\\'
		switch {
		case escape != "" && (must || rapid.Bool().Draw(s.t, "short")):
			s.out = append(s.out, escape...)
		case must || rapid.IntRange(0, 3).Draw(s.t, "escaped") == 0:
			for _, unit := range utf16.Encode([]rune{r}) {
				s.out = fmt.Appendf(s.out, rapid.SampledFrom([]string{`\u%04x`, `\u%04X`}).Draw(s.t, "hex"), unit)
			}
		default:
			s.out = append(s.out, string(r)...)
		}
	}
	s.out = append(s.out, '"')
}

func (s *spelling) array(items []any) {
	s.out = append(s.out, '[')
	s.space()
	for i, item := range items {
		if i > 0 {
			s.out = append(s.out, ',')
		}
		s.value(item)
	}
	s.out = append(s.out, ']')
}

func (s *spelling) object(members map[string]any) {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	names = rapid.Permutation(names).Draw(s.t, "order")

	s.out = append(s.out, '{')
	s.space()
	for i, name := range names {
		if i > 0 {
			s.out = append(s.out, ',')
			s.space()
		}
		s.text(name)
		s.space()
		s.out = append(s.out, ':')
		s.value(members[name])
	}
	s.out = append(s.out, '}')
}

func TestAnySpellingIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := jsonValue(3).Draw(t, "value")
		spelled := spelling{t: t}
		spelled.value(v)
		text := spelled.out

		var oracle any
		if err := json.Unmarshal(text, &oracle); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", text, err)
		}

		s := Scanner{Data: text}
		got := s.Value()
		if s.Err != nil {
			t.Fatalf("Value of %q: %v", text, s.Err)
		}
		if diff := cmp.Diff(oracle, got); diff != "" {
			t.Errorf("Value of %q (-encoding/json +got):\n%s", text, diff)
		}
		end := s.Pos
		s.End()
		if s.Err != nil || s.Depth != 0 {
			t.Errorf("after %q: depth %d, %v", text, s.Depth, s.Err)
		}

		// Skip and Raw pass over the same bytes.
		raw := Scanner{Data: text}
		if got := raw.Raw(); raw.Err != nil || raw.Depth != 0 || raw.Pos != end || !bytes.Equal(got, text[:end]) {
			t.Errorf("Raw of %q = %q, at byte %d, depth %d, %v; want the end at byte %d", text, got, raw.Pos, raw.Depth, raw.Err, end)
		}
	})
}

// members reads an object member by member, and returns the names with the raw
// values.
func members(s *Scanner) (out []string) {
	for name := range s.Members() {
		out = append(out, string(name)+"="+string(bytes.TrimSpace(s.Raw())))
	}
	return out
}

func TestMembersAndItemsComeInTheirOrder(t *testing.T) {
	for _, text := range []string{`{"b":[1,2],"a":{"x":"}"},"b":null,"":true}`, ` { "b" : [1,2] , "\u0061":{"x":"}"},"b":null,"":true }`} {
		s := Scanner{Data: []byte(text)}
		want := []string{"b=[1,2]", `a={"x":"}"}`, "b=null", "=true"}
		got := members(&s)
		s.End()
		if s.Err != nil || !slices.Equal(got, want) {
			t.Errorf("members of %s = %q, %v, want %q", text, got, s.Err, want)
		}
	}

	for text, want := range map[string][]any{`[]`: nil, ` [ ] `: nil, `[1, "a", [2]]`: {1.0, "a", []any{2.0}}} {
		s := Scanner{Data: []byte(text)}
		var got []any
		for range s.Items() {
			got = append(got, s.Value())
		}
		s.End()
		if diff := cmp.Diff(want, got); s.Err != nil || diff != "" {
			t.Errorf("items of %s: %v (-want +got):\n%s", text, s.Err, diff)
		}
	}
}

// A loop that ends early leaves the scanner where the loop's body left it.
func TestALoopMayEndEarly(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		s := Scanner{Data: []byte(`{"a":1,"b":[2,3],"c":4}`), Trusted: trusted}
		for name := range s.Members() {
			if string(name) == "b" {
				break
			}
			s.Skip()
		}
		if s.Err != nil || s.Depth != 1 || string(s.Data[s.Pos:]) != `[2,3],"c":4}` {
			t.Fatalf("after the name b (trusted %t): %q, depth %d, %v", trusted, s.Data[s.Pos:], s.Depth, s.Err)
		}

		for range s.Items() {
			if got := s.Number(); got != 2 {
				t.Errorf("the first item (trusted %t) = %v, want 2", trusted, got)
			}
			break
		}
		if s.Err != nil || s.Depth != 2 || string(s.Data[s.Pos:]) != `,3],"c":4}` {
			t.Errorf("after the first item (trusted %t): %q, depth %d, %v", trusted, s.Data[s.Pos:], s.Depth, s.Err)
		}
	}
}

// The first error sticks: loops end, and nothing more is read.
func TestNothingIsReadAfterAnError(t *testing.T) {
	s := Scanner{Data: []byte(`{"a":tru,"b":[1],"c":"x"}`)}
	names := 0
	for range s.Members() {
		names++
		s.Value()
	}
	first, pos := s.Err, s.Pos
	if first == nil || names != 1 {
		t.Fatalf("%d members, %v; want an error in the first", names, first)
	}

	s.Fail("another")
	for range s.Members() {
		t.Error("another member")
	}
	for range s.Items() {
		t.Error("an item")
	}
	if s.Text() != nil || s.Number() != 0 || s.Value() != nil || len(s.Raw()) != 0 {
		t.Error("a value is read after an error")
	}
	s.End()
	if s.Err != first || s.Pos != pos {
		t.Errorf("at byte %d, %v; want %d, %v", s.Pos, s.Err, pos, first)
	}
}

func TestErrorsNameThePath(t *testing.T) {
	s := Scanner{Data: []byte(`[1`), Path: []string{"attributes", "n"}}
	s.Value()
	var bad *Error
	if !errors.As(s.Err, &bad) || bad.Path != "attributes.n" || s.Err.Error() != "attributes.n: not JSON: unexpected end at byte 2" {
		t.Errorf("Err = %v", s.Err)
	}
}

func nested(open, inner, closing string, depth int) []byte {
	return []byte(strings.Repeat(open, depth) + inner + strings.Repeat(closing, depth))
}

func TestDepthIsBounded(t *testing.T) {
	read := map[string]func(*Scanner){
		"Value": func(s *Scanner) { s.Value() },
		"Skip":  func(s *Scanner) { s.Skip() },
		"Raw":   func(s *Scanner) { s.Raw() },
	}
	for name, read := range read {
		for _, text := range []func(depth int) []byte{
			func(depth int) []byte { return nested("[", "", "]", depth) },
			func(depth int) []byte { return nested(`{"a":`, "1", "}", depth) },
			func(depth int) []byte { return nested(`[{"a":`, "1", "}]", depth/2) },
		} {
			for start := range 3 {
				deepest := MaxDepth - start
				s := Scanner{Data: text(deepest), Depth: start}
				read(&s)
				s.End()
				if s.Err != nil || s.Depth != start {
					t.Errorf("%s of %.10s… in %d containers: depth %d, %v", name, s.Data, start, s.Depth, s.Err)
				}

				s = Scanner{Data: text(deepest + 2), Depth: start}
				read(&s)
				if s.Err == nil || !strings.Contains(s.Err.Error(), "nested deeper than 64") {
					t.Errorf("%s of %.10s…, too deep in %d containers: %v", name, s.Data, start, s.Err)
				}
			}
		}
	}

	// A trusted text was checked when it was written; passing over it takes no
	// stack.
	s := Scanner{Data: nested("[", "", "]", 1_000_000), Trusted: true}
	s.Skip()
	s.End()
	if s.Err != nil {
		t.Errorf("Skip of a trusted text: %v", s.Err)
	}
}

func TestTextsThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		``:                     "unexpected end at byte 0",
		` `:                    "unexpected end at byte 1",
		`[1,]`:                 `unexpected ']' at byte 3`,
		`[,1]`:                 `unexpected ',' at byte 1`,
		`[1 2]`:                `unexpected '2' at byte 3`,
		`{"a":1,}`:             `unexpected '}' at byte 7`,
		`{"a"}`:                `unexpected '}' at byte 4`,
		`{a:1}`:                `unexpected 'a' at byte 1`,
		`{"a":1]`:              `unexpected ']' at byte 6`,
		`nul`:                  `unexpected 'n' at byte 0`,
		`nulll`:                `unexpected 'l' at byte 4`,
		`+1`:                   `unexpected '+' at byte 0`,
		`01`:                   `unexpected '1' at byte 1`,
		`1.`:                   "unexpected end at byte 2",
		`.5`:                   `unexpected '.' at byte 0`,
		`1e`:                   "unexpected end at byte 2",
		`-`:                    "unexpected end at byte 1",
		`1 2`:                  `unexpected '2' at byte 2`,
		`"a`:                   "unexpected end at byte 2",
		`"a\`:                  "unexpected end at byte 3",
		`"\x"`:                 `unexpected 'x' at byte 2`,
		`"\u`:                  "unexpected end at byte 3",
		`"\u12"`:               "unexpected end at byte 6",
		`"\u12g4"`:             `bad \u escape at byte 3`,
		"\"a\nb\"":             "control character 0x0a in a string at byte 2",
		"\"\\\\a\nb\"":         "control character 0x0a in a string at byte 4",
		"\"a\xff\"":            "not valid UTF-8 at byte 2",
		"\"\\\\a\xff\"":        "not valid UTF-8 at byte 4",
		"\"\xed\xa0\x80\"":     "not valid UTF-8 at byte 1", // a surrogate in UTF-8
		`"\ud800"`:             "lone surrogate at byte 1",
		`"\ud800\ud800"`:       "lone surrogate at byte 1",
		`"\udc00\ud800"`:       "lone surrogate at byte 1",
		`"\ud800\n"`:           "lone surrogate at byte 1",
		`9007199254740992`:     "a number of magnitude 2^53 or more",
		`-9007199254740992.0`:  "a number of magnitude 2^53 or more",
		`1e999`:                "a number of magnitude 2^53 or more",
		`{"a":1,"\u0061":2}`:   `duplicate name "a"`,
		`[{"b":{"":0,"":{}}}]`: `duplicate name ""`,
	} {
		s := Scanner{Data: []byte(text)}
		v := s.Value()
		s.End()
		if s.Err == nil || !strings.Contains(s.Err.Error(), want) {
			t.Errorf("Value of %q = %v, %v, want %q", text, v, s.Err, want)
		}

		skip := Scanner{Data: []byte(text)}
		skip.Skip()
		skip.End()
		isDuplicate := strings.HasPrefix(want, "duplicate")
		if (skip.Err == nil) != isDuplicate {
			t.Errorf("Skip of %q: %v", text, skip.Err)
		}

		// Raw ends within the text, wherever the error is.
		raw := Scanner{Data: slices.Clip([]byte(text))}
		raw.Raw()
		if raw.Pos > len(text) {
			t.Errorf("Raw of %q is at byte %d", text, raw.Pos)
		}
	}
}

// Both scanners have read the same up to the same place.
func compareScanners(t *rapid.T, what string, strict, trusted *Scanner, want, got any) {
	if strict.Err != nil || trusted.Err != nil || strict.Pos != trusted.Pos || strict.Depth != trusted.Depth || !reflect.DeepEqual(want, got) {
		t.Fatalf("%s of %s: strict %v at byte %d, depth %d, %v; trusted %v at byte %d, depth %d, %v", what, strict.Data,
			want, strict.Pos, strict.Depth, strict.Err, got, trusted.Pos, trusted.Depth, trusted.Err)
	}
}

// walk reads a value from both scanners, by ways that are drawn.
func walk(t *rapid.T, strict, trusted *Scanner) {
	c := strict.Peek()
	compareScanners(t, "Peek", strict, trusted, c, trusted.Peek())

	switch rapid.SampledFrom([]string{"value", "skip", "raw", "parts", "parts", "parts"}).Draw(t, "way") {
	case "value":
		compareScanners(t, "Value", strict, trusted, strict.Value(), trusted.Value())
		return
	case "skip":
		strict.Skip()
		trusted.Skip()
		compareScanners(t, "Skip", strict, trusted, nil, nil)
		return
	case "raw":
		compareScanners(t, "Raw", strict, trusted, string(strict.Raw()), string(trusted.Raw()))
		return
	}

	switch {
	case c == '{':
		walkMembers(t, strict, trusted)
	case c == '[':
		walkItems(t, strict, trusted)
	case c == '"':
		compareScanners(t, "Text", strict, trusted, string(strict.Text()), string(trusted.Text()))
	case c == '-' || c-'0' <= 9:
		compareScanners(t, "Number", strict, trusted, strict.Number(), trusted.Number())
	default:
		compareScanners(t, "Value", strict, trusted, strict.Value(), trusted.Value())
	}
}

func walkMembers(t *rapid.T, strict, trusted *Scanner) {
	next, stop := iter.Pull(strict.Members())
	defer stop()
	for name := range trusted.Members() {
		want, ok := next()
		compareScanners(t, "a name", strict, trusted, string(want), string(name))
		if !ok {
			t.Fatalf("strict has no member %q of %s", name, strict.Data)
		}
		walk(t, strict, trusted)
	}
	if name, more := next(); more {
		t.Fatalf("trusted has no member %q of %s", name, strict.Data)
	}
	compareScanners(t, "the end", strict, trusted, nil, nil)
}

func walkItems(t *rapid.T, strict, trusted *Scanner) {
	next, stop := iter.Pull(strict.Items())
	defer stop()
	for range trusted.Items() {
		_, ok := next()
		if !ok {
			t.Fatalf("strict has no further item of %s", strict.Data)
		}
		walk(t, strict, trusted)
	}
	if _, more := next(); more {
		t.Fatalf("trusted has no further item of %s", strict.Data)
	}
	compareScanners(t, "the end", strict, trusted, nil, nil)
}

func TestATrustedTextIsReadAsAStrictOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, err := AppendValue(nil, jsonValue(3).Draw(t, "value"), "", 1)
		if err != nil {
			t.Fatal(err)
		}

		strict := Scanner{Data: text}
		trusted := Scanner{Data: text, Trusted: true}
		walk(t, &strict, &trusted)
		if strict.Pos != len(text) {
			t.Fatalf("%d bytes of %s were read", strict.Pos, text)
		}
	})
}

// No text, however spoiled, leads a scanner outside it.
func FuzzTrustedScanner(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":"\""}],"c":null}`, `{"a":[`, `["\`, `{"a"`, `{"a":1,"b`, `]`, `"`, `[1,`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, read := range []func(*Scanner){
			func(s *Scanner) { s.Value() },
			func(s *Scanner) { s.Raw() },
			func(s *Scanner) { members(s) },
		} {
			s := Scanner{Data: data, Trusted: true}
			read(&s)
			if s.Pos > len(data) {
				t.Fatalf("at byte %d of %q", s.Pos, data)
			}
		}
	})
}

// A text that is accepted means what it means to encoding/json; one that only
// encoding/json accepts breaks a rule.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}],"a":"\ud800"}`, ` [1e999,-0.5E+3] `, "\"\xff\"", strings.Repeat(`{"x":[`, 40), `"\ud83d\ude00"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := Scanner{Data: data}
		got := s.Value()
		s.End()

		var want any
		wantErr := json.Unmarshal(data, &want)
		switch {
		case s.Err == nil && wantErr != nil:
			t.Fatalf("Value of %q = %v, encoding/json refuses it: %v", data, got, wantErr)
		case s.Err == nil && !reflect.DeepEqual(got, want):
			t.Fatalf("Value of %q = %#v, want %#v", data, got, want)
		case s.Err != nil && json.Valid(data) && strings.Contains(s.Err.Error(), "not JSON"):
			t.Fatalf("Value of %q: %v, encoding/json accepts it", data, s.Err)
		}

		skip := Scanner{Data: slices.Clip(data)}
		skip.Raw()
		skip.End()
		refused := s.Err != nil && !strings.Contains(s.Err.Error(), "duplicate name")
		if s.Err == nil && skip.Err != nil || refused && skip.Err == nil {
			t.Fatalf("Raw of %q: %v; Value: %v", data, skip.Err, s.Err)
		}
	})
}

// What is written is read back, by a scanner that trusts it too.
func FuzzAppendValue(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}],"":"\u0000\u2028\ud83d\ude00"}`, `[5e-324,1e-7,-0,9007199254740991]`, `"\ufffd"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		if json.Unmarshal(data, &v) != nil {
			return
		}
		text, err := AppendValue(nil, v, "", 1)
		if err != nil {
			return
		}

		for _, trusted := range []bool{false, true} {
			s := Scanner{Data: text, Trusted: trusted}
			got := s.Value()
			s.End()
			if s.Err != nil || !cmp.Equal(got, v) {
				t.Fatalf("%q was written as %q, and read (trusted %t) as %#v, %v", data, text, trusted, got, s.Err)
			}
			again, err := AppendValue(nil, got, "", 1)
			if err != nil || !bytes.Equal(again, text) {
				t.Fatalf("%q was written as %q, and once more as %q, %v", data, text, again, err)
			}
		}
	})
}
