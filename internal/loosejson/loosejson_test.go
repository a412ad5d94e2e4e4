package loosejson_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/attestlog/attestlog/internal/loosejson"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestDecodeLosesNothing(t *testing.T) {
	tests := []struct {
		in   string
		want any
	}{
		{`null`, nil},
		{` [1, -2.5e+3 ,"x"] `, []any{json.Number("1"), json.Number("-2.5e+3"), "x"}},
		{`{"a":1,"b":2,"a":[],"a":null}`, map[string]any{"a": loosejson.Repeated{json.Number("1"), []any{}, nil}, "b": json.Number("2")}},
		{`"\u00e9\ud83d\ude00\ud83dx\udc00"`, "é\U0001F600\xed\xa0\xbdx\xed\xb0\x80"},
		{"\"\xff\t\"", "\xff\t"},
		{`"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t"},
		{`123456789012345678901234567890`, json.Number("123456789012345678901234567890")},
	}
	for _, tt := range tests {
		got, err := loosejson.Decode([]byte(tt.in))
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("Decode(%s): %v (-want +got):\n%s", tt.in, err, diff)
		}
	}

	for _, in := range []string{
		``, `{`, `[1,]`, `{"a"}`, `{"a":1,}`, `01`, `1.`, `-`, `"\x"`, `"\u12"`, `"`, `nul`, `{} {}`,
		strings.Repeat("[", 1_000_000), strings.Repeat("[", 80) + "}" + strings.Repeat("]", 80),
	} {
		if v, err := loosejson.Decode([]byte(in)); err == nil {
			t.Errorf("Decode(%.20s) = %v, want an error", in, v)
		}
	}
}

func TestDecodeRefusesTooManyValues(t *testing.T) {
	list := func(n int) []byte { return fmt.Appendf(nil, "[%s0]", strings.Repeat("0,", n-1)) }
	if _, err := loosejson.Decode(list(loosejson.MaxValues)); err != nil {
		t.Errorf("Decode of %d values: %v", loosejson.MaxValues, err)
	}
	if _, err := loosejson.Decode(list(loosejson.MaxValues + 1)); err != loosejson.ErrTooMany {
		t.Errorf("Decode of one more: %v, want %v", err, loosejson.ErrTooMany)
	}
}

func TestDecodeAgreesWithEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, err := json.MarshalIndent(valueGen(4).Draw(t, "value"), "", rapid.SampledFrom([]string{"", "\t"}).Draw(t, "indent"))
		if err != nil {
			t.Fatal(err)
		}

		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil {
			t.Fatal(err)
		}

		got, err := loosejson.Decode(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Decode(%s): %v (-encoding/json +got):\n%s", text, err, diff)
		}
	})
}

func TestDecodeKeepsTheTextOfWhatIsTooDeep(t *testing.T) {
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	innermost := func(in string) any {
		v, err := loosejson.Decode([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		for {
			a, ok := v.([]any)
			if !ok || len(a) == 0 {
				return v
			}
			v = a[0]
		}
	}

	got := innermost(nested(loosejson.MaxNest + 1))
	if diff := cmp.Diff(any([]any{}), got); diff != "" {
		t.Errorf("the deepest array that is decoded (-want +got):\n%s", diff)
	}
	got = innermost(nested(loosejson.MaxNest + 3))
	if diff := cmp.Diff(any(loosejson.JSONText("[[]]")), got); diff != "" {
		t.Errorf("the arrays in it (-want +got):\n%s", diff)
	}
}

func TestJSONTextIsMarshaledAsWhatWasRead(t *testing.T) {
	for text, want := range map[loosejson.JSONText]string{`[{"a":[1]}]`: `[{"a":[1]}]`, `[tru]`: `"[tru]"`} {
		got, err := json.Marshal(text)
		if err != nil || string(got) != want {
			t.Errorf("Marshal(JSONText(%s)) = %s, %v, want %s", string(text), got, err, want)
		}
	}
}

func TestAddAndPut(t *testing.T) {
	m := map[string]any{}
	for n := range 3 {
		loosejson.Add(m, "a", n)
	}
	loosejson.Add(m, "b", nil)
	loosejson.Add(m, "b", []any{1})

	for _, want := range []string{"c", "c_", "c__"} {
		if got := loosejson.Put(m, "c", want); got != want {
			t.Errorf("Put(c) = %s, want %s", got, want)
		}
	}

	want := map[string]any{
		"a": loosejson.Repeated{0, 1, 2}, "b": loosejson.Repeated{nil, []any{1}},
		"c": "c", "c_": "c_", "c__": "c__",
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("the object (-want +got):\n%s", diff)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}],"a":"\ud800"}`, `[1e999,-0]`, "\"\xff\"", strings.Repeat(`{"x":[`, 70)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := loosejson.Decode(data)
		if json.Valid(data) && err != nil {
			t.Fatalf("Decode(%q): %v, encoding/json accepts it", data, err)
		}
		if _, marshalErr := json.Marshal(v); err == nil && marshalErr != nil {
			t.Fatalf("Decode(%q) cannot be marshaled: %v", data, marshalErr)
		}
	})
}
