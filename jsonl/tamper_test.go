package jsonl_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/jsonl"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
)

// followedLog returns the file that a follower wrote of a log of 12 entries,
// its lines, and what to verify it with. Checkpoints follow entries 3 and 11.
func followedLog(t *testing.T) (path string, lines [][]byte, opts verify.Options) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "audit.jsonl")
	for from := range 2 {
		f, err := jsonl.Open(path, jsonl.Config{})
		if err != nil {
			t.Fatal(err)
		}
		s := sqlitetest.Store(t, filepath.Join(dir, "log.db"), sqlite.Config{})
		l := testlog.New(t, s, attestlog.Config{Followers: []attestlog.Follower{f}})
		var events []attestlog.Event
		for n := from * 4; n < 4+from*8; n++ {
			events = append(events, attestlog.Event{
				ID: fmt.Sprint("id-", n), Time: time.Date(2026, 3, 1, 10, 0, n, 0, time.UTC), Action: "mail.view",
				Actor: attestlog.Actor{ID: "alice"}, Source: attestlog.Source{IP: "192.0.2.7"},
			})
		}
		testlog.Append(t, l, events...)
		testlog.Close(t, l)
		if opts.Checkpoint, err = s.Home().Checkpoint(); err != nil {
			t.Fatal(err)
		}
		keys, err := s.Home().VerifierKeys()
		if err != nil {
			t.Fatal(err)
		}
		k, err := note.NewVerifier(keys[0])
		if err != nil {
			t.Fatal(err)
		}
		opts.Keys = []note.Verifier{k}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines = slices.Collect(bytes.Lines(content))
	if len(lines) != 14 || !bytes.HasPrefix(lines[4], []byte(`{"checkpoint"`)) || !bytes.HasPrefix(lines[13], []byte(`{"checkpoint"`)) {
		t.Fatalf("%d lines, want 12 entries and checkpoints at lines 5 and 14", len(lines))
	}
	return path, lines, opts
}

func verifyLines(t *testing.T, path string, lines [][]byte, opts verify.Options) (verify.Report, error) {
	t.Helper()
	if err := os.WriteFile(path, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return jsonl.Verify(t.Context(), opts, path)
}

func TestVerifyFindsTamperingWithTheFile(t *testing.T) {
	path, lines, opts := followedLog(t)
	if r, err := verifyLines(t, path, lines, opts); err != nil || r.Signed != 12 {
		t.Fatalf("Verify = %+v, %v; want 12 signed entries", r, err)
	}
	for _, test := range []struct {
		name   string
		change func(l [][]byte) [][]byte
		index  int // of the first bad entry; -1: a checkpoint's
	}{
		{"entry deleted", func(l [][]byte) [][]byte { return slices.Delete(l, 6, 7) }, 5},
		{"first entry deleted", func(l [][]byte) [][]byte { return slices.Delete(l, 0, 1) }, -1},
		{"entry repeated", func(l [][]byte) [][]byte { return slices.Insert(l, 7, l[6]) }, 5},
		{"entries swapped", func(l [][]byte) [][]byte { l[6], l[7] = l[7], l[6]; return l }, 5},
		{"contents swapped", func(l [][]byte) [][]byte {
			l[6], l[7] = bytes.Replace(l[7], []byte(`{"index":6`), []byte(`{"index":5`), 1), bytes.Replace(l[6], []byte(`{"index":5`), []byte(`{"index":6`), 1)
			return l
		}, -1},
		{"disclosures swapped", func(l [][]byte) [][]byte {
			a, b := bytes.Index(l[6], []byte(`,"disclosures"`)), bytes.Index(l[7], []byte(`,"disclosures"`))
			l[6], l[7] = slices.Concat(l[6][:a], l[7][b:]), slices.Concat(l[7][:b], l[6][a:])
			return l
		}, 5},
		{"disclosures removed", func(l [][]byte) [][]byte {
			a := bytes.Index(l[6], []byte(`,"disclosures"`))
			l[6] = slices.Concat(l[6][:a], []byte("}\n"))
			return l
		}, 5},
		{"cut after a line", func(l [][]byte) [][]byte { return l[:9] }, 8},
		{"cut after an older checkpoint", func(l [][]byte) [][]byte { return l[:5] }, 4},
		{"cut within a line", func(l [][]byte) [][]byte { l[8] = l[8][:40]; return l[:9] }, 7},
		{"emptied", func([][]byte) [][]byte { return nil }, 0},
		{"checkpoints swapped", func(l [][]byte) [][]byte { l[4], l[13] = l[13], l[4]; return l }, -1},
		{"entry appended", func(l [][]byte) [][]byte {
			return append(l, bytes.Replace(l[12], []byte(`{"index":11`), []byte(`{"index":13`), 1))
		}, 12},
	} {
		r, err := verifyLines(t, path, test.change(slices.Clone(lines)), opts)
		var corrupt *attestlog.CorruptError
		switch {
		case test.name == "first entry deleted":
			if err == nil {
				t.Errorf("%s: Verify = %+v, want an error", test.name, r)
			}
		case !errors.As(err, &corrupt):
			t.Errorf("%s: Verify = %+v, %v; want a CorruptError", test.name, r, err)
		case test.index >= 0 && corrupt.Index != uint64(test.index):
			t.Errorf("%s: Verify = %v, want entry %d", test.name, err, test.index)
		}
	}
}

// TestVerifyFindsAnyFlippedByteOfTheFile flips each byte in turn. Where only the
// name or number of a checkpoint's key is hit, the note is of a key that nobody
// knows, and is reported as such.
func TestVerifyFindsAnyFlippedByteOfTheFile(t *testing.T) {
	path, lines, opts := followedLog(t)
	whole := bytes.Join(lines, nil)
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1 << (i % 7)
		r, err := verifyLines(t, path, [][]byte{flipped}, opts)
		if err == nil && r.Unknown == 0 {
			t.Errorf("byte %d (%q to %q) flipped: Verify = %+v, want an error", i, whole[i], flipped[i], r)
		}
	}
}
