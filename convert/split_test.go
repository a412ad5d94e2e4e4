package convert_test

import (
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
)

// objects returns the records of a text, and a "-" with the line for what is
// refused.
func objects(in string, wrapper string, byteByByte bool) (out []string) {
	r := strings.NewReader(in)
	events := func(raw []byte) iter.Seq2[attestlog.Event, error] {
		return convert.One(attestlog.Event{Message: string(raw)}, nil)
	}
	seq := convert.Objects(r, "f", wrapper, events)
	if byteByByte {
		seq = convert.Objects(iotest.OneByteReader(r), "f", wrapper, events)
	}
	n := 0
	for e, err := range seq {
		n++
		if err == nil {
			out = append(out, e.Message)
			continue
		}
		refused := err.(*convert.RecordError)
		if refused.Record != n {
			out = append(out, fmt.Sprintf("record %d, want %d", refused.Record, n))
		}
		out = append(out, fmt.Sprintf("-%d:%d", refused.Line, refused.Offset))
	}
	return out
}

func TestObjectsThatBeginALineAreNotTorn(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"a member's value", "{\"a\":\n{\"b\":1}}\n{\"c\":2}", []string{"{\"a\":\n{\"b\":1}}", `{"c":2}`}},
		{"a list's items", "{\"a\":[\n{\"b\":1},\n{\"b\":2}\n]}{\"c\":2}", []string{"{\"a\":[\n{\"b\":1},\n{\"b\":2}\n]}", `{"c":2}`}},
		{"torn behind a colon", "{\"a\":\n{\"b\":1}\n{\"c\":2}\n", []string{"-1:0", `{"b":1}`, `{"c":2}`}},
		{"torn behind a colon at the end", "{\"a\":\n{\"b\":1}\n", []string{"-1:0", `{"b":1}`}},
		{"torn in a list", "{\"a\":[\n{\"b\":1},{\"c\":2},\n{\"d\":3}", []string{"-1:0", `{"b":1}`, `{"c":2}`, `{"d":3}`}},
		{"torn twice", "{\"a\":\n{\"b\":[\n{\"c\":\"x\n{\"d\":3}", []string{"-1:0", "-2:6", "-3:13", `{"d":3}`}},
		{"torn around one that is whole", "{\"a\":[\n{\"b\":{}},{\"c\":{\n{\"d\":3}", []string{"-1:0", `{"b":{}}`, "-2:16", `{"d":3}`}},
		{"torn before a wrapper", "{\"a\":\n{\"W\":[{\"b\":1},{\"c\":", []string{"-1:0", `{"b":1}`, "-2:20"}},
		{"torn in a wrapper", "{\"W\":[{\"a\":\n{\"b\":1},\n{\"c\":2}]}", []string{"-1:6", `{"b":1}`, `{"c":2}`}},
	} {
		for _, byteByByte := range []bool{false, true} {
			if diff := cmp.Diff(tt.want, objects(tt.in, "W", byteByByte)); diff != "" {
				t.Errorf("%s: Objects(%q) (-want +got):\n%s", tt.name, tt.in, diff)
			}
		}
	}
}

// Each of these objects fails, and all in the same place. Reading each to its end
// would take hours.
func TestManyTornObjectsAreReadOnce(t *testing.T) {
	const n = 300_000
	for _, line := range []string{"{\"a\":\n", "{\"a\":[\n{},\n", "{\"a\":[{},\n{},"} {
		refused, read := 0, 0
		for _, s := range objects(strings.Repeat(line, n), "", false) {
			if s[0] == '-' {
				refused++
			} else {
				read++
			}
		}
		if refused < n || strings.Contains(line, "{}") && read < n {
			t.Errorf("%d times %q: %d refused, %d read", n, line, refused, read)
		}
	}
}

func TestObjectsInOneThatIsTooLongAreRead(t *testing.T) {
	item := "{\"b\":\"" + strings.Repeat("x", 1<<20) + "\"}"
	in := "{\"v\":1,\"a\":[\n" + strings.Repeat(item+",\n", 40) + item + "]}\n{\"c\":2}"
	got := objects(in, "", false)
	if len(got) != 43 || got[0] != "-1:0" || got[42] != `{"c":2}` {
		t.Errorf("Objects = %d records, the first %.10q, the last %.10q", len(got), got[0], got[len(got)-1])
	}
	for _, s := range got[1:42] {
		if s != item {
			t.Fatalf("Objects = %.20q of %d bytes", s, len(s))
		}
	}
}
