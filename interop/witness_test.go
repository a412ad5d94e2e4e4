package interop

import (
	"bytes"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/witness"
)

// openLog opens, or makes, the log in dir, and closes it with the test.
func openLog(t *testing.T, dir string) *attestlog.Log {
	t.Helper()
	return sqlitetest.LogAt(t, filepath.Join(dir, "audit.db"), attestlog.Config{Origin: "example.com/interop"})
}

// grow appends n entries and returns the signed checkpoint over them.
func grow(t *testing.T, log *attestlog.Log, n int, message string) []byte {
	t.Helper()
	events := make([]attestlog.Event, n)
	for i := range events {
		events[i] = attestlog.Event{Action: "mail.view", Actor: attestlog.Actor{ID: "alice"}, Message: message}
	}
	if _, err := log.Append(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	c, err := log.Publish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c.Note
}

// copyLog copies a log that is closed, key and kept checkpoint included.
func copyLog(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(to, "audit.db.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// startWitness serves a witness of the log in dir, and returns a client.
func startWitness(t *testing.T, dir, skey string) *witness.Client {
	t.Helper()
	keys, err := os.ReadFile(filepath.Join(dir, "audit.db.pub"))
	if err != nil {
		t.Fatal(err)
	}
	logKey, err := note.NewVerifier(string(bytes.TrimSpace(keys)))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := witness.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	w, err := witness.New(witness.Config{
		Signer: signer, Dir: t.TempDir(), Create: true,
		Logs: map[string][]note.Verifier{"example.com/interop": {logKey}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	return &witness.Client{URL: srv.URL, Verifier: signer.Verifier()}
}

// TestWitnessedLog has the checkpoints of a log cosigned, which another library
// verifies. Copies of the log that went another way or back are refused.
func TestWitnessedLog(t *testing.T) {
	dir := t.TempDir()
	log := openLog(t, dir)
	grow(t, log, 300, "before the copies")
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	forked, back := copyLog(t, dir), copyLog(t, dir)

	skey, vkey, err := witness.GenerateKey(rand.Reader, "witness.example/w1")
	if err != nil {
		t.Fatal(err)
	}
	oracle, err := formats.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		t.Fatalf("formats does not read the key %q: %v", vkey, err)
	}
	client := startWitness(t, dir, skey)
	log = openLog(t, dir)
	began := time.Now().Truncate(time.Second)
	for _, n := range []int{1, 211, 600} {
		cosigned, err := client.Cosign(t.Context(), grow(t, log, n, "the true log"), log.ConsistencyProof)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := note.Open(cosigned, note.VerifierList(oracle))
		if err != nil {
			t.Fatalf("formats does not verify the cosignature: %v\n%s", err, cosigned)
		}
		if at, err := formats.CoSigV1Timestamp(opened.Sigs[0]); err != nil || at.Before(began) || at.After(time.Now()) {
			t.Errorf("formats reads the time %v, %v", at, err)
		}
	}

	fork := openLog(t, forked)
	for _, n := range []int{812, 1, 400} { // the same size at first
		_, err := client.Cosign(t.Context(), grow(t, fork, n, "another history"), fork.ConsistencyProof)
		if !errors.Is(err, witness.ErrForked) {
			t.Errorf("forked, and grown by %d: %v, want ErrForked", n, err)
		}
	}
	old := openLog(t, back)
	if _, err := client.Cosign(t.Context(), grow(t, old, 1, "rolled back"), old.ConsistencyProof); !errors.Is(err, witness.ErrRolledBack) {
		t.Errorf("rolled back: %v, want ErrRolledBack", err)
	}
	if _, err := client.Cosign(t.Context(), grow(t, log, 1, "the true log"), log.ConsistencyProof); err != nil {
		t.Errorf("the true log, afterwards: %v", err)
	}
}

// TestCosignaturesOfOthers has each library read what the other signed, by the
// same key.
func TestCosignaturesOfOthers(t *testing.T) {
	skey, vkey, err := witness.GenerateKey(rand.Reader, "witness.example/w1")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := formats.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatalf("formats does not read the signing key: %v", err)
	}
	ours, err := witness.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := witness.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	if theirs.KeyHash() != ours.KeyHash() || theirs.Name() != ours.Name() {
		t.Fatalf("%s+%08x is %s+%08x to formats", ours.Name(), ours.KeyHash(), theirs.Name(), theirs.KeyHash())
	}
	text := "example.com/interop\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nextension\n"
	for name, pair := range map[string]struct {
		s note.Signer
		v note.Verifier
	}{"theirs": {theirs, verifier}, "ours": {ours, theirs.Verifier()}} {
		signed, err := note.Sign(&note.Note{Text: text}, pair.s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := note.Open(signed, note.VerifierList(pair.v)); err != nil {
			t.Errorf("%s is not verified by the other: %v", name, err)
		}
	}
}
