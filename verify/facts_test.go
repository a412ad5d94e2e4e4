package verify

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/attestlog/attestlog"
)

// leaves returns the valid leaves of the test vectors.
func leaves(t testing.TB) [][]byte {
	text, err := os.ReadFile(filepath.Join("..", "testdata", "vectors", "leaves.jsonl"))
	if err != nil {
		t.Fatal(err)
	}

	var out [][]byte
	for line := range bytes.Lines(text) {
		var v struct{ Leaf string }
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, []byte(v.Leaf))
	}
	return out
}

func checkFacts(t *testing.T, leaf []byte, want attestlog.Leaf) {
	t.Helper()
	var facts leafFacts
	if err := facts.read(leaf); err != nil {
		t.Fatalf("facts of %q: %v", leaf, err)
	}

	e := &want.Event
	sameTimes := facts.time == e.Time.UnixNano() && facts.logged == want.LoggedTime.UnixNano()
	sameKey := facts.key() == attestlog.KeyOf(e.ID, e.Time, e.Tenant, e.Service)
	if string(facts.id) != e.ID || !sameTimes || !sameKey || len(facts.sealed) != len(want.Sealed) {
		t.Fatalf("facts of %q are %+v, the leaf is %+v", leaf, facts, want)
	}
}

func TestFactsAreThoseOfTheLeaf(t *testing.T) {
	for _, leaf := range leaves(t) {
		want, err := attestlog.ParseLeaf(leaf)
		if err != nil {
			t.Fatal(err)
		}
		checkFacts(t, leaf, want)
	}
}

func FuzzFacts(f *testing.F) {
	for _, leaf := range leaves(f) {
		f.Add(leaf)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		leaf, err := attestlog.ParseLeaf(data)
		if err == nil {
			checkFacts(t, data, leaf)
		}
	})
}

func BenchmarkFacts(b *testing.B) {
	leaf := []byte(`{"action":"mail.view","actor":{"id":"user-000123","type":"user"},"changes":[{"new":"ar","old":"inbox","op":"replace"}],` +
		`"id":"019a9f0c-2f5e-7cc1-9c1e-5d6f3a1b2c3d","logged_time":"2026-11-22T10:00:00.000123Z","operation":"read","outcome":"success",` +
		`"request":{"duration_us":1234},"service":"webmail","targets":[{"id":"00001234","type":"message"}],"tenant":"tenant-0001",` +
		`"time":"2026-11-22T10:00:00.000100000Z","v":1}`)

	var facts leafFacts
	b.ReportAllocs()
	for b.Loop() {
		if err := facts.read(leaf); err != nil {
			b.Fatal(err)
		}
		facts.key()
	}
}
