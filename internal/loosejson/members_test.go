package loosejson_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/attestlog/attestlog/internal/loosejson"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestMembersAndItemsOfAnyText(t *testing.T) {
	for _, tt := range []struct {
		in             string
		members, items []string // "!" for an error
	}{
		{`{}`, nil, []string{"!"}},
		{` [ ] `, []string{"!"}, nil},
		{`{"a" : 1 , "b":[1,{"x":"}]"}],"a":"\""}`, []string{"a=1", `b=[1,{"x":"}]"}]`, `a="\""`}, []string{"!"}},
		{`{"a":tru e,"b":{"x":"\q"},"c":"	"}`, []string{"a=tru e", `b={"x":"\q"}`, `c="	"`}, []string{"!"}},
		{`{"\u0061":1,b:2,"c":3,}`, []string{"a=1", "!", "c=3", "!"}, []string{"!"}},
		{`["a,]", {"b":[}}, x y,,1]`, []string{"!"}, []string{`"a,]"`, `{"b":[}}`, "x y", "", "1"}},
		{`[1,2`, []string{"!"}, []string{"1", "2", "!"}},
		{`["\`, []string{"!"}, []string{`"\`, "!"}},
		{`[1]2`, []string{"!"}, []string{"1", "!"}},
		{`{"a":1`, []string{"a=1", "!"}, []string{"!"}},
		{`7`, []string{"!"}, []string{"!"}},
	} {
		var members, items []string
		for m, err := range loosejson.Members([]byte(tt.in)) {
			if err != nil {
				members = append(members, "!")
			} else {
				members = append(members, m.Name+"="+string(m.Raw))
			}
		}
		for raw, err := range loosejson.Items([]byte(tt.in)) {
			if err != nil {
				items = append(items, "!")
			} else {
				items = append(items, string(raw))
			}
		}
		if diff := cmp.Diff(tt.members, members); diff != "" {
			t.Errorf("Members(%s) (-want +got):\n%s", tt.in, diff)
		}
		if diff := cmp.Diff(tt.items, items); diff != "" {
			t.Errorf("Items(%s) (-want +got):\n%s", tt.in, diff)
		}
	}
}

// textGen draws texts, also such that are not UTF-8 and such that look like JSON.
func textGen() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.StringOf(rapid.RuneFrom([]rune("a\"\\{}[],:\u00e9\ufffd"))),
		rapid.SampledFrom([]string{"\xff", "a\xc3", "\xed\xa0\x80", "\x00"}),
	)
}

// valueGen draws values that encoding/json can marshal.
func valueGen(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kind := rapid.IntRange(0, 6).Draw(t, "kind")
		if depth == 0 {
			kind %= 5
		}
		switch kind {
		case 0:
			return nil
		case 1:
			return rapid.Bool().Draw(t, "bool")
		case 2:
			return json.Number(rapid.SampledFrom([]string{"0", "-1.5", "9007199254740992", "-1e400", "1E15"}).Draw(t, "number"))
		case 3:
			return rapid.Float64().Draw(t, "float")
		case 5:
			return rapid.SliceOfN(valueGen(depth-1), 0, 4).Draw(t, "array")
		case 6:
			return rapid.MapOfN(textGen(), valueGen(depth-1), 0, 4).Draw(t, "object")
		}
		return textGen().Draw(t, "text")
	})
}

func TestMembersOfAnyObjectAreThoseThatWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.MapOfN(rapid.String(), valueGen(3), 0, 5).Draw(t, "object")
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		want, got := map[string]string{}, map[string]string{}
		for name, v := range m {
			name := strings.ToValidUTF8(name, "\ufffd")
			one, _ := json.Marshal(v)
			want[name] = string(one)
		}
		for m, err := range loosejson.Members(text) {
			if err != nil {
				t.Fatalf("Members(%s): %v", text, err)
			}
			got[m.Name] = string(m.Raw)
			if !strings.HasPrefix(string(m.Text), `"`) || !strings.HasSuffix(string(m.Text), string(m.Raw)) {
				t.Fatalf("Members(%s): the text %s", text, m.Text)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("Members (-want +got):\n%s", diff)
		}
	})
}
