package loosejson_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/attestlog/attestlog/internal/loosejson"
	"github.com/google/go-cmp/cmp"
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
	for _, in := range []string{``, `{`, `[1,]`, `{"a"}`, `{"a":1,}`, `01`, `1.`, `-`, `"\x"`, `"\u12"`, `"`, `nul`, `{} {}`, strings.Repeat("[", 1_000_000), strings.Repeat("[", 80) + "}" + strings.Repeat("]", 80)} {
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
