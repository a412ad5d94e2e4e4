package attestlog_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/jsonl"
	"github.com/attestlog/attestlog/verify"
)

// writeFollowed writes a log of n entries with a follower into dir, and returns
// the follower's file and the file of public keys. If rotate is set, the log
// changes its key in the middle.
func writeFollowed(t *testing.T, dir string, n int, rotate bool) (lines, pub string) {
	t.Helper()
	lines = filepath.Join(dir, "log.jsonl")
	follower, err := jsonl.Open(lines, jsonl.Config{})
	if err != nil {
		t.Fatal(err)
	}

	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	log := sqlitetest.LogAt(t, filepath.Join(dir, "log"), attestlog.Config{
		Origin:    "example.com/vectors",
		Followers: []attestlog.Follower{follower},
		Clock:     func() time.Time { return now },
	})
	for i := range n {
		e := vectorEvent(i)
		e.Time = now.Add(time.Duration(i) * time.Second)
		testlog.Append(t, log, e)
		if rotate && i == n/2 {
			_, err := log.RotateKey(t.Context())
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	testlog.Close(t, log)
	return lines, filepath.Join(dir, "log.pub")
}

// vectorEvent returns an event with sealed fields, some of them in every third or
// fifth event only.
func vectorEvent(i int) attestlog.Event {
	e := attestlog.Event{
		ID:      fmt.Sprintf("vector-%d", i),
		Action:  "mail.view",
		Actor:   attestlog.Actor{ID: "alice", Name: "Ålice"},
		Outcome: attestlog.Success,
	}
	if i%3 == 0 {
		e.Source.IP = "192.0.2.7"
	}
	if i%5 == 0 {
		e.Original = []byte{'r', 'a', 'w', byte(i)}
	}
	return e
}

// TestLogVector verifies the log in testdata/vectors. If ATTESTLOG_UPDATE is set,
// it writes another there first: its keys and salts are random, so that it does
// not follow from anything.
func TestLogVector(t *testing.T) {
	dir := filepath.Join("testdata", "vectors")
	if os.Getenv("ATTESTLOG_UPDATE") != "" {
		updateLogVector(t, dir)
	}

	r := verifyLines(t, filepath.Join(dir, "log.jsonl"), filepath.Join(dir, "log.pub"))
	if r.Size != 20 || r.Signed != 20 {
		t.Errorf("the vector has %d entries, %d signed; want 20 and 20", r.Size, r.Signed)
	}
}

func updateLogVector(t *testing.T, dir string) {
	t.Helper()
	tmp := t.TempDir()
	lines, pub := writeFollowed(t, tmp, 20, false)

	log := sqlitetest.LogAt(t, filepath.Join(tmp, "log"), attestlog.Config{ReadOnly: true})
	proof, err := log.InclusionProof(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	text, err := proof.MarshalText()
	if err != nil {
		t.Fatal(err)
	}

	writeFile(t, filepath.Join(dir, "log.jsonl"), readFile(t, lines))
	writeFile(t, filepath.Join(dir, "log.pub"), readFile(t, pub))
	writeFile(t, filepath.Join(dir, "proof.tlog-proof"), string(text))
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	err := os.WriteFile(path, []byte(text), 0o644)
	if err != nil {
		t.Fatal(err)
	}
}

// verifyLines verifies a follower's file, trusting the first of the public keys.
func verifyLines(t *testing.T, lines, pub string) verify.Report {
	t.Helper()
	key, err := note.NewVerifier(strings.Fields(readFile(t, pub))[0])
	if err != nil {
		t.Fatal(err)
	}
	r, err := jsonl.Verify(t.Context(), verify.Options{Keys: []note.Verifier{key}}, lines)
	if err != nil {
		t.Fatalf("jsonl.Verify: %v", err)
	}
	return r
}

func TestSecondImplementationVerifiesAFollowersFile(t *testing.T) {
	_, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here; make test installs it")
	}

	for _, rotate := range []bool{false, true} {
		t.Run(fmt.Sprintf("rotate=%t", rotate), func(t *testing.T) {
			lines, pub := writeFollowed(t, t.TempDir(), 600, rotate)
			verifyLines(t, lines, pub)

			// The first key is enough: the log announces the one that follows it.
			first, _, _ := strings.Cut(readFile(t, pub), "\n")
			writeFile(t, pub, first+"\n")
			second := func() ([]byte, error) {
				args := []string{"testdata/second/attestlog_verify.py", "log", lines, "--key", pub}
				return exec.Command("python3", args...).CombinedOutput()
			}
			out, err := second()
			if err != nil {
				t.Errorf("the second implementation refuses the file: %v\n%s", err, out)
			}

			text := readFile(t, lines)
			writeFile(t, lines, strings.Replace(text, `"outcome":"success"`, `"outcome":"failure"`, 1))
			out, err = second()
			if err == nil {
				t.Errorf("the second implementation accepts a changed entry\n%s", out)
			}
		})
	}
}
