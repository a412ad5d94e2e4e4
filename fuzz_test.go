package attestlog

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
)

// seedLines adds the lines of a file of vectors to a corpus.
func seedLines(f *testing.F, name string, field func(line []byte) []byte) {
	text, err := os.ReadFile(filepath.Join("testdata", "vectors", name))
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		f.Add(field(bytes.TrimSpace(line)))
	}
}

// leafOf returns the leaf of a vector.
func leafOf(line []byte) []byte {
	var v struct{ Leaf string }
	if json.Unmarshal(line, &v) != nil {
		return nil
	}
	return []byte(v.Leaf)
}

// An event that is accepted is written canonically, and read back the same.
func FuzzParseEvent(f *testing.F) {
	seedLines(f, "leaves.jsonl", func(line []byte) []byte {
		var v vector
		if err := json.Unmarshal(line, &v); err != nil {
			f.Fatal(err)
		}
		return v.Event
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEvent(data)
		if err != nil {
			return
		}

		text, err := e.MarshalJSON()
		if err != nil {
			t.Fatalf("ParseEvent accepts %q, MarshalJSON refuses it: %v", data, err)
		}
		canonical, err := jcs.Transform(text)
		if err != nil || !bytes.Equal(canonical, text) {
			t.Fatalf("MarshalJSON(%q) = %q, want %q (%v)", data, text, canonical, err)
		}

		again, err := ParseEvent(text)
		if err != nil {
			t.Fatalf("ParseEvent refuses what MarshalJSON wrote: %q: %v", text, err)
		}
		second, err := again.MarshalJSON()
		if err != nil || !bytes.Equal(second, text) {
			t.Fatalf("MarshalJSON(ParseEvent(%q)) = %q (%v)", text, second, err)
		}
	})
}

// A leaf that is accepted is canonical, and every way to read it gives the same.
func FuzzParseLeaf(f *testing.F) {
	seedLines(f, "leaves.jsonl", leafOf)
	seedLines(f, "invalid.jsonl", leafOf)
	f.Fuzz(func(t *testing.T, data []byte) {
		leaf, err := ParseLeaf(data)
		if err != nil {
			return
		}

		canonical, err := jcs.Transform(data)
		if err != nil || !bytes.Equal(canonical, data) {
			t.Fatalf("ParseLeaf accepts %q, canonical is %q (%v)", data, canonical, err)
		}
		nanos, ok := LeafTime(data)
		if want := leaf.Event.Time.UnixNano(); !ok || nanos != want {
			t.Fatalf("LeafTime(%q) = %d, %t, want %d", data, nanos, ok, want)
		}
		err = Terms(data, nil, func(string, []byte) {})
		if err != nil {
			t.Fatalf("Terms(%q): %v", data, err)
		}
	})
}

func FuzzParseLine(f *testing.F) {
	seedLines(f, "log.jsonl", func(line []byte) []byte { return line })
	f.Add([]byte(`{"index":0,"leaf":"\u`))

	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseLine(data)
		if err != nil {
			return
		}
		if line := AppendLine(nil, &r); !bytes.Equal(line, data) {
			t.Fatalf("AppendLine(ParseLine(%q)) = %q", data, line)
		}
	})
}

func FuzzProof(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "vectors", "proof.tlog-proof"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)

	f.Fuzz(func(t *testing.T, data []byte) {
		var p InclusionProof
		err := p.UnmarshalText(data)
		if err != nil {
			return
		}
		again, err := p.MarshalText()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("MarshalText(UnmarshalText(%q)) = %q (%v)", data, again, err)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte("example.com/log\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— example.com/log AAAA\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCheckpoint(data)
		if err != nil {
			return
		}
		root := base64.StdEncoding.EncodeToString(c.Root[:])
		signed := fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, root)
		if !strings.HasPrefix(string(data), signed) {
			t.Fatalf("ParseCheckpoint(%q) = %+v", data, c)
		}
	})
}
