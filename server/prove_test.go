package server_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/server"
)

// verifier is the log's key, as it is kept beside it.
func (s *service) verifier() note.Verifier {
	s.t.Helper()
	keys, err := s.store.Home().VerifierKeys()
	if err != nil {
		s.t.Fatal(err)
	}
	v, err := note.NewVerifier(keys[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

func (s *service) checkpoint(a answer) attestlog.Checkpoint {
	s.t.Helper()
	c, err := attestlog.VerifyCheckpoint(a.body, s.verifier())
	if a.StatusCode != http.StatusOK || err != nil {
		s.t.Fatalf("%s = %d %s, %v", a.Request.URL, a.StatusCode, a.body, err)
	}
	if got := a.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
		s.t.Errorf("%s: Content-Type %q", a.Request.URL, got)
	}
	return c
}

func TestProofsConvinceWithoutTheServer(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	s.append(events(0, 700)...)
	if c := s.checkpoint(s.post(api+"/checkpoint", token, "")); c.Size < 700 {
		t.Fatalf("a published checkpoint over %d entries, want at least 700", c.Size)
	}
	for _, index := range []uint64{0, 1, 255, 256, 511, 512, 698, 699} {
		a := s.get(fmt.Sprint(api, "/proofs/", index), token)
		var p attestlog.InclusionProof
		if err := p.UnmarshalText(a.body); err != nil {
			t.Fatalf("proof of %d: %d %s, %v", index, a.StatusCode, a.body, err)
		}
		leaf, err := attestlog.CheckProof(p, s.verifier())
		if err != nil || leaf.Event.Message != "" && leaf.Event.Message != fmt.Sprint("event ", index) || p.Index != index {
			t.Errorf("CheckProof of %d = %+v, %v", index, leaf, err)
		}
		if err := tlog.CheckRecord(p.Hashes, int64(p.Checkpoint.Size), p.Checkpoint.Root, int64(index), tlog.RecordHash(p.Leaf)); err != nil {
			t.Errorf("tlog.CheckRecord of %d = %v", index, err)
		}
		p.Leaf = bytes.Replace(p.Leaf, []byte("user-"), []byte("USER-"), 1)
		if _, err := attestlog.CheckProof(p, s.verifier()); err == nil {
			t.Errorf("a changed leaf of %d is proven", index)
		}
	}
}

func TestConsistencyProofsConvinceWithoutTheServer(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	var seen []attestlog.Checkpoint
	for from := 0; from < 600; from += 150 {
		s.append(events(from, 150)...)
		seen = append(seen, s.checkpoint(s.post(api+"/checkpoint", token, "")))
	}
	for i, was := range seen {
		for _, is := range seen[i:] {
			var got struct {
				From, To uint64
				Hashes   []string
			}
			s.get(fmt.Sprintf("%s/consistency?from=%d&to=%d", api, was.Size, is.Size), token).into(t, 200, &got)
			var proof tlog.TreeProof
			for _, text := range got.Hashes {
				h, err := base64.StdEncoding.DecodeString(text)
				if err != nil {
					t.Fatal(err)
				}
				proof = append(proof, tlog.Hash(h))
			}
			if err := tlog.CheckTree(proof, int64(is.Size), is.Root, int64(was.Size), was.Root); err != nil || got.From != was.Size || got.To != is.Size {
				t.Errorf("tlog.CheckTree(%d, %d) = %v", is.Size, was.Size, err)
			}
		}
	}
	if a := s.get(api+"/consistency?from=0&to=100", token); a.StatusCode != 200 || !strings.Contains(string(a.body), `"hashes":[]`) {
		t.Errorf("from the empty tree: %d %s, want no hashes", a.StatusCode, a.body)
	}
}

func TestTheCheckpointCoversWhatWasAcknowledged(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	if c := s.checkpoint(s.get(api+"/checkpoint", token)); c.Size != 0 || c.Origin != "example.com/log" {
		t.Errorf("of an empty log: %+v", c)
	}
	for n := uint64(1); n < 5; n++ {
		s.append(events(int(n), 1)...)
		if c := s.checkpoint(s.post(api+"/checkpoint", token, "")); c.Size != n {
			t.Errorf("published over %d entries, want %d", c.Size, n)
		}
		if c := s.checkpoint(s.get(api+"/checkpoint", token)); c.Size != n {
			t.Errorf("the newest covers %d entries, want %d", c.Size, n)
		}
	}
}
