package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
)

// counted counts the requests that reach a handler.
func counted(h http.Handler, n *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.Add(1); h.ServeHTTP(w, r) })
}

func TestClientFollowsTheWitness(t *testing.T) {
	l := newTestLog(t, origin, 40)
	cfg := config(t, l)
	var requests atomic.Int64
	url := serve(t, counted(open(t, cfg), &requests))
	v := cfg.Signer.Verifier()
	a, b := &Client{URL: url, Verifier: v}, &Client{URL: url + "/", Verifier: v}
	for _, tt := range []struct {
		client *Client
		size   uint64
		want   int64 // requests
	}{
		{a, 0, 1}, {a, 3, 1}, {a, 3, 1}, {a, 7, 1},
		{b, 9, 2}, // it learns of size 7
		{a, 20, 2}, {a, 20, 1}, {b, 20, 2}, {b, 40, 1},
	} {
		requests.Store(0)
		cosigned, err := tt.client.Cosign(t.Context(), l.checkpoint(t, tt.size), l.prove)
		if err != nil {
			t.Fatalf("size %d: %v", tt.size, err)
		}
		if got := requests.Load(); got != tt.want {
			t.Errorf("size %d took %d requests, want %d", tt.size, got, tt.want)
		}
		if _, err := note.Open(cosigned, note.VerifierList(v, l.keys[0])); err != nil {
			t.Errorf("size %d: %v", tt.size, err)
		}
		n, err := note.Open(cosigned, note.VerifierList(v))
		if err != nil || len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 1 || n.UnverifiedSigs[0].Name != origin {
			t.Errorf("size %d: signatures %v, %v", tt.size, n, err)
		}
		if _, err := attestlog.VerifyCheckpoint(cosigned, l.keys...); err != nil {
			t.Errorf("size %d: %v", tt.size, err)
		}
		again, err := tt.client.Cosign(t.Context(), cosigned, l.prove)
		if err != nil || bytes.Count(again, []byte("\n— ")) != 2 {
			t.Errorf("size %d, cosigned again: %q, %v", tt.size, again, err)
		}
	}
}

func TestClientTellsForksFromRollbacks(t *testing.T) {
	l := newTestLog(t, origin, 12)
	fork := l.fork(t, 4, 12, "fork")
	cfg := config(t, l)
	url := serve(t, open(t, cfg))
	v := cfg.Signer.Verifier()
	knows := func() *Client { // a client that knows the witness's size
		c := &Client{URL: url, Verifier: v}
		if _, err := c.Cosign(t.Context(), l.checkpoint(t, 6), l.prove); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, tt := range []struct {
		name string
		log  *testLog
		size uint64
		want error
	}{
		{"forked and grown", fork, 9, ErrForked},
		{"forked at the same size", fork, 6, ErrForked},
		{"rolled back", l, 5, ErrRolledBack},
		{"rolled back to nothing", l, 0, ErrRolledBack},
		{"forked and rolled back", fork, 5, ErrRolledBack},
	} {
		for which, c := range map[string]*Client{"that knows": knows(), "that is new": {URL: url, Verifier: v}} {
			_, err := c.Cosign(t.Context(), tt.log.checkpoint(t, tt.size), tt.log.prove)
			for _, kind := range []error{ErrForked, ErrRolledBack, ErrUnavailable, ErrRefused, ErrBadCosignature} {
				if errors.Is(err, kind) != (kind == tt.want) {
					t.Errorf("%s, a client %s: %v, want %v", tt.name, which, err, tt.want)
				}
			}
		}
	}
	if _, err := knows().Cosign(t.Context(), l.checkpoint(t, 12), l.prove); err != nil {
		t.Errorf("the true log, afterwards: %v", err)
	}
}

// TestClientAgainstBadWitnesses has answers that no witness should give.
func TestClientAgainstBadWitnesses(t *testing.T) {
	l := newTestLog(t, origin, 12)
	s, other := newTestSigner(t, "witness.example/w1"), newTestSigner(t, "witness.example/w1")
	cosignature := func(s *Signer, size uint64, at time.Time) string {
		signed, err := note.Sign(&note.Note{Text: l.text(t, size)}, signerAt{s, at})
		if err != nil {
			t.Fatal(err)
		}
		return string(signed[len(l.text(t, size))+1:])
	}
	now := time.Now()
	flips := 0
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); fmt.Fprint(w, body) }
	}
	for _, tt := range []struct {
		name string
		h    http.HandlerFunc
		want error // nil for a cosignature
	}{
		{"good", answer(200, cosignature(s, 9, now)), nil},
		{"good, among others", answer(200, cosignature(other, 9, now)+cosignature(s, 9, now)), nil},
		{"a little early", answer(200, cosignature(s, 9, now.Add(-4*time.Minute))), nil},
		{"of another key", answer(200, cosignature(other, 9, now)), ErrBadCosignature},
		{"of another checkpoint", answer(200, cosignature(s, 8, now)), ErrBadCosignature},
		{"old", answer(200, cosignature(s, 9, now.Add(-6*time.Minute))), ErrBadCosignature},
		{"of the future", answer(200, cosignature(s, 9, now.Add(6*time.Minute))), ErrBadCosignature},
		{"nothing", answer(200, ""), ErrBadCosignature},
		{"another text", answer(200, "\n"+cosignature(s, 9, now)), ErrBadCosignature},
		{"endless", answer(200, strings.Repeat(cosignature(s, 9, now), 1000)), ErrBadCosignature},
		{"a page", answer(200, "<html>"), ErrBadCosignature},
		{"no page", answer(404, "no such log"), ErrRefused},
		{"forbidden", answer(403, ""), ErrRefused},
		{"a bad request", answer(400, ""), ErrRefused},
		{"unprocessable from 0", answer(422, ""), ErrRefused},
		{"conflict without a size", answer(409, "conflict"), ErrRefused},
		{"conflict with the size that was sent", answer(409, "0\n"), ErrRefused},
		{"conflict with a size ahead", answer(409, "10\n"), ErrRolledBack},
		{"busy", answer(503, ""), ErrUnavailable},
		{"broken", answer(500, ""), ErrUnavailable},
		{"too many", answer(429, ""), ErrUnavailable},
		{"undecided", func(w http.ResponseWriter, r *http.Request) {
			flips++
			answer(409, fmt.Sprintf("%d\n", 1+flips%5))(w, r)
		}, ErrUnavailable},
		{"hung up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrUnavailable},
	} {
		c := &Client{URL: serve(t, tt.h), Verifier: s.Verifier()}
		_, err := c.Cosign(t.Context(), l.checkpoint(t, 9), l.prove)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestClientErrorsOfOthers(t *testing.T) {
	l := newTestLog(t, origin, 12)
	cfg := config(t, l)
	srv := httptest.NewServer(open(t, cfg))
	c := &Client{URL: srv.URL, Verifier: cfg.Signer.Verifier()}
	if _, err := c.Cosign(t.Context(), l.checkpoint(t, 3), l.prove); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the store is away")
	_, err := c.Cosign(t.Context(), l.checkpoint(t, 5), func(context.Context, uint64, uint64) ([]attestlog.Hash, error) { return nil, broken })
	if !errors.Is(err, broken) || errors.Is(err, ErrForked) {
		t.Errorf("a proof that cannot be had: %v", err)
	}
	if _, err := c.Cosign(t.Context(), []byte("no checkpoint"), l.prove); err == nil {
		t.Error("no checkpoint: no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Cosign(ctx, l.checkpoint(t, 5), l.prove); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
	srv.Close()
	if _, err := c.Cosign(t.Context(), l.checkpoint(t, 5), l.prove); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a witness that is gone: %v, want ErrUnavailable", err)
	}
}

// TestQuorum has three witnesses, of which one is away and one has seen another
// history.
func TestQuorum(t *testing.T) {
	l := newTestLog(t, origin, 12)
	fork := l.fork(t, 4, 12, "fork")
	var clients []*Client
	var keys []note.Verifier
	for i := range 3 {
		cfg := config(t, l)
		cfg.Signer = newTestSigner(t, fmt.Sprintf("witness.example/w%d", i))
		srv := httptest.NewServer(open(t, cfg))
		defer srv.Close()
		clients = append(clients, &Client{URL: srv.URL, Verifier: cfg.Signer.Verifier()})
		keys = append(keys, cfg.Signer.Verifier())
		if i == 1 {
			if _, err := clients[1].Cosign(t.Context(), fork.checkpoint(t, 6), fork.prove); err != nil {
				t.Fatal(err)
			}
		}
		if i == 2 {
			srv.Close()
		}
	}
	signed := l.checkpoint(t, 9)
	for need := range 4 {
		cosigned, failures, err := Quorum{clients, need}.Cosign(t.Context(), signed, l.prove)
		if enough := need <= 1; enough != (err == nil) || !enough && !errors.Is(err, ErrTooFew) {
			t.Errorf("need %d: %v", need, err)
		}
		if len(failures) != 2 || !errors.Is(failures[0], ErrForked) || !errors.Is(failures[1], ErrUnavailable) {
			t.Errorf("need %d: failures %v", need, failures)
		}
		if err != nil && (!errors.Is(err, ErrForked) || !errors.Is(err, ErrUnavailable)) {
			t.Errorf("need %d: %v has not the failures", need, err)
		}
		n, err := note.Open(cosigned, note.VerifierList(keys...))
		if err != nil || len(n.Sigs) != 1 || n.Sigs[0].Name != "witness.example/w0" {
			t.Errorf("need %d: %q, %v", need, cosigned, err)
		}
	}
	for name, p := range map[string]Quorum{
		"too many needed":  {clients, 4},
		"negative":         {clients, -1},
		"a witness twice":  {[]*Client{clients[0], {URL: clients[0].URL, Verifier: clients[0].Verifier}}, 2},
		"without a key":    {[]*Client{{URL: clients[0].URL}}, 1},
		"two names, a key": {[]*Client{clients[0], {URL: clients[0].URL, Verifier: &Verifier{"x", 1, clients[0].Verifier.public}}}, 2},
	} {
		if _, _, err := p.Cosign(t.Context(), signed, l.prove); err == nil || errors.Is(err, ErrTooFew) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cosigned, failures, err := Quorum{}.Cosign(t.Context(), signed, l.prove)
	if err != nil || len(failures) != 0 || !bytes.Equal(cosigned, signed) {
		t.Errorf("no witnesses: %q, %v, %v", cosigned, failures, err)
	}
}
