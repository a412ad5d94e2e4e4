package attestlog_test

import (
	"context"
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

// follow writes a log of n entries with a follower into dir, rotating the key
// in the middle if asked, and returns the follower's file and the public keys.
func follow(t *testing.T, dir string, n int, rotate bool) (lines, pub string) {
	t.Helper()
	ctx := context.Background()
	lines = filepath.Join(dir, "log.jsonl")
	f, err := jsonl.Open(lines, jsonl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	log := sqlitetest.LogAt(t, filepath.Join(dir, "log"), attestlog.Config{
		Origin: "example.com/vectors", Followers: []attestlog.Follower{f},
		Clock: func() time.Time { return now },
	})
	for i := range n {
		e := attestlog.Event{
			ID: fmt.Sprintf("vector-%d", i), Time: now.Add(time.Duration(i) * time.Second), Action: "mail.view",
			Actor: attestlog.Actor{ID: "alice", Name: "Ålice"}, Outcome: attestlog.Success,
		}
		if i%3 == 0 {
			e.Source.IP = "192.0.2.7"
		}
		if i%5 == 0 {
			e.Original = []byte{'r', 'a', 'w', byte(i)}
		}
		if _, err := log.Append(ctx, e); err != nil {
			t.Fatal(err)
		}
		if rotate && i == n/2 {
			if _, err := log.RotateKey(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	testlog.Close(t, log)
	return lines, filepath.Join(dir, "log.pub")
}

// TestLogVector writes the log's vectors when ATTESTLOG_UPDATE is set: keys and
// salts are random, so they follow from nothing. Otherwise it verifies them.
func TestLogVector(t *testing.T) {
	dir := filepath.Join("testdata", "vectors")
	if os.Getenv("ATTESTLOG_UPDATE") != "" {
		tmp := t.TempDir()
		lines, pub := follow(t, tmp, 20, false)
		copyFile(t, lines, filepath.Join(dir, "log.jsonl"))
		copyFile(t, pub, filepath.Join(dir, "log.pub"))
		ctx := context.Background()
		log := sqlitetest.LogAt(t, filepath.Join(tmp, "log"), attestlog.Config{ReadOnly: true})
		p, err := log.InclusionProof(ctx, 7)
		if err != nil {
			t.Fatal(err)
		}
		text, err := p.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "proof.tlog-proof"), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := verifyLines(t, filepath.Join(dir, "log.jsonl"), filepath.Join(dir, "log.pub"))
	if r.Size != 20 || r.Signed != 20 {
		t.Errorf("the vector holds %d entries, %d signed; want 20 and 20", r.Size, r.Signed)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func verifyLines(t *testing.T, lines, pub string) verify.Report {
	t.Helper()
	text, err := os.ReadFile(pub)
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewVerifier(strings.Fields(string(text))[0])
	if err != nil {
		t.Fatal(err)
	}
	r, err := jsonl.Verify(context.Background(), verify.Options{Keys: []note.Verifier{key}}, lines)
	if err != nil {
		t.Fatalf("jsonl.Verify: %v", err)
	}
	return r
}

func TestSecondImplementationVerifiesAFollowersFile(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3 here; make test installs it")
	}
	for _, rotate := range []bool{false, true} {
		lines, pub := follow(t, t.TempDir(), 600, rotate)
		verifyLines(t, lines, pub)
		// Whoever trusts only the first key comes to trust its successor.
		keys, err := os.ReadFile(pub)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(keys), "\n")
		if err := os.WriteFile(pub, []byte(first+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		second := []string{"testdata/second/attestlog_verify.py", "log", lines, "--key", pub}
		if out, err := exec.Command("python3", second...).CombinedOutput(); err != nil {
			t.Errorf("rotate %t: the second implementation refuses the file: %v\n%s", rotate, err, out)
		}
		text, err := os.ReadFile(lines)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(text), `"outcome":"success"`, `"outcome":"failure"`, 1)
		if err := os.WriteFile(lines, []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("python3", second...).CombinedOutput(); err == nil {
			t.Errorf("rotate %t: the second implementation accepts a changed entry\n%s", rotate, out)
		}
	}
}
