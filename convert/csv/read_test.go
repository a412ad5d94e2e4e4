package csv_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/convert/csv"
	"github.com/attestlog/attestlog/internal/loosejson"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// read returns the column x of each row, or where and why there is none.
func read(in string) (out []string) {
	for e, err := range csv.Read(iotest.HalfReader(strings.NewReader(in)), "f") {
		var refused *convert.RecordError
		if errors.As(err, &refused) {
			out = append(out, fmt.Sprintf("-%d:%d:%d %v", refused.Record, refused.Line, refused.Offset, refused.Err))
			continue
		}
		text, _ := e.Attributes["x"].(string)
		out = append(out, text)
	}
	return out
}

func TestNoRowIsLost(t *testing.T) {
	long := strings.Repeat("y", convert.MaxRecord)
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"quoted", "x,y\n\"a,\"\"b\"\"\r\nc\",1\nd,2", []string{"a,\"b\"\nc", "d"}},
		{"stray quotes", "x,y\na\"b,\"1\"\nc \"d\" e,2\nf,\"g\"h\ni,\"\n", []string{`a"b`, `c "d" e`, "f", "-4:5:29 a quoted cell does not end; it begins in line 5"}},
		{"a quote behind a cell", "x,y\n\"a\"b,1\n\"c\" ,2\nd,3\n", []string{`a"b`, `c" `, "d"}},
		{"a cell that does not end", "x,y\na,1\n\"b\nc,3\nd,4", []string{"a", "-2:3:8 a quoted cell does not end; it begins in line 3", "c", "d"}},
		{"a cell that does not end in a later line", "x,y\n\"a\nb\",\"1\nc,3\n", []string{"-1:2:4 a quoted cell does not end; it begins in line 3", "c"}},
		{"a long row", "x,y\n\"" + long + "\n\n" + long + "\"\nb,2\n" + long + long + "\nc,3", []string{"-1:2:4 longer than 16777216 bytes", "b", "-3:6:33554445 longer than 16777216 bytes", "c"}},
		{"semicolons", "\"x\";\"y,z\"\n1;2", []string{"1"}},
		{"tabs and a quoted comma", "\"x\"\t\"y,z\"\n\"1\ta\"\t2", []string{"1\ta"}},
		{"empty", "\n \nx\n\n1\n\n", []string{"1"}},
	} {
		if diff := cmp.Diff(tt.want, read(tt.in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestABadHeaderEndsItsFile(t *testing.T) {
	for _, in := range []string{"x,\"y\n1,2\n", strings.Repeat("x", attestlog.MaxOriginal+1) + "\n1", strings.Repeat("x,", loosejson.MaxValues) + "x\n1", strings.Repeat("x", convert.MaxRecord+5) + "\n1\n"} {
		if got := read("\n" + in); len(got) != 1 || !strings.HasPrefix(got[0], "-1:2:1 the first line has no column names: ") {
			t.Errorf("Read(%.20q) = %q", in, got)
		}
	}
}

func TestARowHasAtMostMaxValuesCells(t *testing.T) {
	cells := strings.Repeat("1,", loosejson.MaxValues-1)
	if got := read("x,y\n" + cells + "1\n" + cells + "1,1\n2,3"); len(got) != 3 || !strings.HasSuffix(got[1], loosejson.ErrTooMany.Error()) || got[2] != "2" {
		t.Errorf("Read = %.100q", got)
	}
}

func TestOriginalHasTheNames(t *testing.T) {
	ids := map[string]bool{}
	for _, in := range []string{"a,b\n1,\"2\n3\"\n", "a,c\r\n1,\"2\n3\"\r\n", "\uFEFFa,b\n1,\"2\n3\""} {
		for e, err := range csv.Read(strings.NewReader(in), "f") {
			want := strings.Replace(strings.Trim(in, "\uFEFF\r\n"), "\r", "", 1)
			if err != nil || string(e.Original) != want {
				t.Errorf("original = %q, %v, want %q", e.Original, err, want)
			}
			ids[e.ID] = true
		}
	}
	if len(ids) != 2 { // the first and the last are the same
		t.Errorf("ids %v", ids)
	}
}

func TestTargetsOfTheWriterAreSplit(t *testing.T) {
	for _, targets := range [][]attestlog.Target{
		{{Type: "mail", ID: "7"}}, {{Type: "mail", ID: "7"}, {Type: "folder", ID: "a/b"}}, {{Type: "mail", ID: "seven and a half"}},
	} {
		e := attestlog.Entry{Event: attestlog.Event{Action: "a", Actor: attestlog.Actor{ID: "x"}, Targets: targets}}
		var b bytes.Buffer
		w, err := csv.NewWriter(&b, csv.Fields)
		if err == nil {
			err = errors.Join(w.Write(&e), w.Flush())
		}
		if err != nil {
			t.Fatal(err)
		}
		for got, err := range csv.Read(&b, "f") {
			if diff := cmp.Diff(targets, got.Targets); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		}
	}
}

// Cells that are written by the rules come back, whatever rows stand before them.
func TestAnyTableIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in strings.Builder
		in.WriteString("x,y\n")
		var want []string
		for range rapid.IntRange(0, 6).Draw(t, "rows") {
			if rapid.Bool().Draw(t, "stray") {
				row := rapid.StringMatching(`[a-z][a-z"]{0,6}(,[a-z][a-z"]{0,3})?`).Draw(t, "row")
				in.WriteString(row + "\n")
				x, _, _ := strings.Cut(row, ",")
				want = append(want, x)
				continue
			}
			cell := rapid.StringMatching(`[a-z,"\n;]{1,8}`).Draw(t, "cell")
			in.WriteString(`"` + strings.ReplaceAll(cell, `"`, `""`) + "\",1\n")
			want = append(want, cell)
		}
		if diff := cmp.Diff(want, read(in.String())); diff != "" {
			t.Fatalf("Read(%q) (-want +got):\n%s", in.String(), diff)
		}
	})
}
