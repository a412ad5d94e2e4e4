package convert_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/attestlog/attestlog/convert"
	"pgregory.net/rapid"
)

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
