package witness

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

func TestKeysRoundTrip(t *testing.T) {
	for range 50 { // base64 with and without plus signs
		skey, vkey, err := GenerateKey(rand.Reader, "witness.example/w1")
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewSigner(skey)
		if err != nil {
			t.Fatalf("NewSigner(%q): %v", skey, err)
		}
		v, err := NewVerifier(vkey)
		if err != nil {
			t.Fatalf("NewVerifier(%q): %v", vkey, err)
		}
		if s.VerifierKey() != vkey || v.Name() != s.Name() || v.KeyHash() != s.KeyHash() {
			t.Fatalf("%q and %q differ: %q", skey, vkey, s.VerifierKey())
		}
		text := []byte("example.com/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
		before := time.Now().Unix()
		signed, err := note.Sign(&note.Note{Text: string(text)}, s)
		if err != nil {
			t.Fatal(err)
		}
		n, err := note.Open(signed, note.VerifierList(v))
		if err != nil {
			t.Fatal(err)
		}
		if at, err := Time(n.Sigs[0]); err != nil || at.Unix() < before || at.After(time.Now()) {
			t.Errorf("Time = %v, %v", at, err)
		}
		raw, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
		if err != nil {
			t.Fatal(err)
		}
		for i := 4; i < len(raw); i++ { // the time is signed too
			sig := bytes.Clone(raw[4:])
			sig[i-4] ^= 1
			if v.Verify(text, sig) {
				t.Fatalf("byte %d of a signature may be changed", i)
			}
		}
	}
}

func TestBadKeys(t *testing.T) {
	skey, vkey, err := GenerateKey(rand.Reader, "w")
	if err != nil {
		t.Fatal(err)
	}
	logSkey, logVkey, err := note.GenerateKey(rand.Reader, "w")
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Split(vkey, "+")[1]
	for _, key := range []string{
		"", "w", "w+" + hash, vkey[1:], "v" + vkey[1:], vkey[:len(vkey)-4], vkey + "\n", vkey + "AAAA", skey, logVkey,
		strings.Replace(vkey, hash, "00000000", 1), strings.Replace(vkey, "w+", "w w+", 1),
	} {
		if v, err := NewVerifier(key); err == nil {
			t.Errorf("NewVerifier(%q) = %v", key, v)
		}
	}
	for _, key := range []string{"", vkey, "PRIVATE+KEY+" + vkey, logSkey, skey[:len(skey)-4], strings.Replace(skey, hash, "00000000", 1)} {
		_, err := NewSigner(key)
		if err == nil {
			t.Errorf("NewSigner(%q) took it", key)
		} else if parts := strings.SplitN(key, "+", 5); strings.HasPrefix(key, "PRIVATE+KEY+") && strings.Contains(err.Error(), parts[4]) { // base64 has plus signs too
			t.Errorf("NewSigner says the secret: %v", err)
		}
	}
	for _, name := range []string{"", "a b", "a+b", "a\n", "\xff", "\x7f"} {
		if _, _, err := GenerateKey(rand.Reader, name); err == nil {
			t.Errorf("GenerateKey(%q) took it", name)
		}
	}
}

func TestOnlyCheckpointsAreCosigned(t *testing.T) {
	s := newTestSigner(t, "w")
	for _, text := range []string{"", "x\n", "example.com/log\n0\n", "example.com/log\n-1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"} {
		if _, err := s.Sign([]byte(text)); err == nil {
			t.Errorf("Sign(%q) signed it", text)
		}
	}
}
