package convert_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/loosejson"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestEscapeIsOneToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := textGen().Draw(t, "text")
		esc := fit.Escape(s)
		if !utf8.ValidString(esc) {
			t.Fatalf("Escape(%q) = %q, not UTF-8", s, esc)
		}
		if back := fit.Unescape(esc); back != s {
			t.Fatalf("Unescape(%q) = %q, want %q", esc, back, s)
		}
		if utf8.ValidString(s) && !strings.Contains(s, "\ufffd") && esc != s {
			t.Fatalf("Escape(%q) = %q", s, esc)
		}
	})
}

func TestIDsCountEqualRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", ""}), 0, 40).Draw(t, "records")
		ids, again := convert.NewIDs("f", "s"), convert.NewIDs("f", "s")
		seen := map[string]bool{}
		for _, r := range records {
			id := ids.Next([]byte(r))
			if seen[id] {
				t.Fatalf("%q has the id of an earlier record", r)
			}
			seen[id] = true
			if got := again.Next([]byte(r)); got != id {
				t.Fatalf("a second reading gives %s, want %s", got, id)
			}
		}
		// In another order the same ids come out.
		reversed := convert.NewIDs("f", "s")
		for i := range records {
			if id := reversed.Next([]byte(records[len(records)-1-i])); !seen[id] {
				t.Fatalf("another order gives another id %s", id)
			}
		}
	})
}

func TestIDsOfManyRecordsAreDistinct(t *testing.T) {
	ids := convert.NewIDs("f", "s")
	seen := map[string]bool{}
	for i := range 200_000 {
		seen[ids.Next(fmt.Append(nil, i%100_000))] = true
	}
	if len(seen) != 200_000 {
		t.Errorf("%d ids, want 200000", len(seen))
	}
}

func TestIDsDependOnFormatAndSource(t *testing.T) {
	got := map[string]bool{}
	for _, s := range [][2]string{{"f", "s"}, {"f", "t"}, {"g", "s"}, {"f", ""}} {
		got[convert.NewIDs(s[0], s[1]).Next([]byte("r"))] = true
	}
	if len(got) != 4 {
		t.Errorf("%d ids, want 4: %v", len(got), got)
	}
	record := sha256.Sum256([]byte("r"))
	sum := sha256.Sum256([]byte("\x00\x00\x00\x01s" + "\x00\x00\x00\x00\x00\x00\x00\x00" + string(record[:])))
	if id, want := convert.NewIDs("f", "s").Next([]byte("r")), "f:"+hex.EncodeToString(sum[:16]); id != want {
		t.Errorf("id %q, want %q", id, want)
	}
}

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

func TestUndatedIsNoted(t *testing.T) {
	e := attestlog.Event{ID: "x:1", Action: "a", Actor: attestlog.Actor{ID: "b"}, Attributes: map[string]any{fit.NotesName: 1.0}}
	fit.Undated(&e)
	fit.Event(&e)
	want := map[string]any{
		fit.NotesName + "_": 1.0,
		fit.NotesName: map[string]any{
			"/time":                         map[string]any{"as": "unknown"},
			"/attributes/attestlog_mapped_": map[string]any{"name": "renamed"},
		},
	}
	if diff := cmp.Diff(want, e.Attributes); diff != "" || !e.Time.Equal(time.Unix(0, 0)) {
		t.Errorf("Undated: time %v, attributes (-want +got):\n%s", e.Time, diff)
	}
	if back := fit.Restore(e); !back.Time.IsZero() || back.Attributes[fit.NotesName] != 1.0 {
		t.Errorf("Restore = %+v", back)
	}
}

func TestOpenReadsGzipMembers(t *testing.T) {
	var zipped bytes.Buffer
	for _, part := range []string{"one ", "two"} {
		w := gzip.NewWriter(&zipped)
		io.WriteString(w, part)
		w.Close()
	}
	cut := zipped.Bytes()[:zipped.Len()-4]
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		content, want string
		err           error
	}{
		"plain.gz": {"plain", "plain", nil},
		"empty":    {"", "", nil},
		"short":    {"\x1f", "\x1f", nil},
		"zipped":   {zipped.String(), "one two", nil},
		"cut":      {string(cut), "one two", io.ErrUnexpectedEOF},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := convert.Open(path)
		if err != nil {
			t.Fatalf("Open(%s): %v", name, err)
		}
		got, err := io.ReadAll(r)
		if string(got) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: read %q, %v, want %q, %v", name, got, err, tt.want, tt.err)
		}
		r.Close()
	}
	if _, err := convert.Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open of no file: %v", err)
	}
	if got := convert.SourceName("/a/b/app.log.gz"); got != "app.log" {
		t.Errorf("SourceName = %q, want app.log", got)
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
		if err != nil {
			return
		}
		e := attestlog.Event{Attributes: map[string]any{"v": v, "raw": json.RawMessage(data)}}
		fit.Event(&e)
		accepted(t, e)
	})
}
