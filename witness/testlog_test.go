package witness

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestlog/attestlog"
)

const origin = "example.com/log"

// A testLog is a log in memory, of which sizes up to its own can be signed
// and proven.
type testLog struct {
	signer note.Signer
	keys   []note.Verifier
	stored []tlog.Hash
	size   uint64
}

func newTestLog(t testing.TB, origin string, size uint64) *testLog {
	t.Helper()
	l := &testLog{}
	l.rotate(t, origin)
	l.grow(t, size, "main")
	return l
}

// rotate gives the log a new key beside those it has.
func (l *testLog) rotate(t testing.TB, origin string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	if l.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	l.keys = append(l.keys, v)
}

func (l *testLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		out[i] = l.stored[at]
	}
	return out, nil
}

// grow adds n leaves that only logs grown with the same word share.
func (l *testLog) grow(t testing.TB, n uint64, word string) {
	for range n {
		hashes, err := tlog.StoredHashes(int64(l.size), fmt.Appendf(nil, "%s %d", word, l.size), l)
		if err != nil {
			t.Fatal(err)
		}
		l.stored = append(l.stored, hashes...)
		l.size++
	}
}

// fork returns a log of the same keys whose entries differ from size on.
func (l *testLog) fork(t testing.TB, size, total uint64, word string) *testLog {
	f := &testLog{signer: l.signer, keys: l.keys, size: size}
	f.stored = slices.Clone(l.stored[:tlog.StoredHashIndex(0, int64(size))])
	f.grow(t, total-size, word)
	return f
}

func (l *testLog) root(t testing.TB, size uint64) tlog.Hash {
	root, err := tlog.TreeHash(int64(size), l)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func (l *testLog) text(t testing.TB, size uint64) string {
	return fmt.Sprintf("%s\n%d\n%v\n", l.signer.Name(), size, l.root(t, size))
}

func (l *testLog) checkpoint(t testing.TB, size uint64) []byte {
	signed, err := note.Sign(&note.Note{Text: l.text(t, size)}, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// prove is a Proof.
func (l *testLog) prove(_ context.Context, from, to uint64) ([]attestlog.Hash, error) {
	return tlog.ProveTree(int64(to), int64(from), l)
}

// request makes a request that is right for a witness that knows the tree of
// size old.
func (l *testLog) request(t testing.TB, old, size uint64) request {
	r := request{old: old, note: l.checkpoint(t, size)}
	if 0 < old && old < size {
		var err error
		if r.proof, err = l.prove(t.Context(), old, size); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func newTestSigner(t testing.TB, name string) *Signer {
	t.Helper()
	skey, _, err := GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// config returns one of a witness for logs, with a new folder.
func config(t testing.TB, logs ...*testLog) Config {
	cfg := Config{
		Signer: newTestSigner(t, "witness.example/w1"), Dir: t.TempDir(), Create: true,
		Logs: map[string][]note.Verifier{}, Logger: slog.New(slog.DiscardHandler),
	}
	for _, l := range logs {
		cfg.Logs[l.signer.Name()] = l.keys
	}
	return cfg
}

func open(t testing.TB, cfg Config) *Witness {
	t.Helper()
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// serve returns the address of a witness.
func serve(t testing.TB, h http.Handler) string {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// post returns the status, the content type and the body of an answer.
func post(t testing.TB, url string, body []byte) (status int, kind, text string) {
	t.Helper()
	resp, err := http.Post(url+"/add-checkpoint", "text/plain", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(answer)
}

// verifyLine checks an answer's cosignature of a checkpoint.
func verifyLine(t testing.TB, checkpoint []byte, line string, v *Verifier) time.Time {
	t.Helper()
	n, err := note.Open(append(bytes.Clone(checkpoint), line...), note.VerifierList(v))
	if err != nil {
		t.Fatalf("note.Open(%q): %v", line, err)
	}
	at, err := Time(n.Sigs[0])
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// line returns a signature line of the key hash and signature in raw.
func line(name string, raw []byte) string {
	return fmt.Sprintf("— %s %s\n", name, base64.StdEncoding.EncodeToString(raw))
}
