package attestlog

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
)

var update = flag.Bool("update", false, "write the vectors anew that follow from their inputs")

// A vector is one line of testdata/vectors/leaves.jsonl: docs/format.md, §8.
type vector struct {
	Name        string            `json:"name"`
	Event       json.RawMessage   `json:"event"`
	Sealed      []string          `json:"sealed"`
	Salts       map[string]string `json:"salts"`
	LoggedTime  string            `json:"logged_time"`
	Leaf        string            `json:"leaf"`
	LeafHash    string            `json:"leaf_hash"`
	Key         string            `json:"key"`
	Disclosures json.RawMessage   `json:"disclosures"`
}

// vectorInputs are the inputs that -update makes vectors from.
var vectorInputs = []vector{
	{Name: "smallest", Event: raw(`{"id":"1","time":"2026-01-02T03:04:05Z","action":"a","actor":{"id":"x"}}`)},
	{Name: "uuidv7", Event: raw(`{"id":"019a9f0c-2f5e-7cc1-9c1e-5d6f3a1b2c3d","time":"2026-11-22T10:00:00.0001Z","action":"mail.view",
		"actor":{"id":"alice"},"outcome":"success","targets":[{"type":"mail","id":"123"}]}`)},
	{Name: "upper case is no UUIDv7", Event: raw(`{"id":"019A9F0C-2F5E-7CC1-9C1E-5D6F3A1B2C3D","time":"2026-11-22T10:00:00Z","action":"a","actor":{"id":"x"}}`)},
	{Name: "before 1970", Event: raw(`{"id":"old","time":"1969-12-31T23:59:59.9995Z","action":"a","actor":{"id":"x"},"tenant":"t","service":"s"}`)},
	{Name: "offset", Event: raw(`{"id":"o","time":"2026-06-01T12:00:00.5+02:00","action":"a","actor":{"id":"x"}}`)},
	{Name: "every field", Sealed: DefaultSealed, Event: raw(`{"id":"all","time":"2026-01-02T03:04:05.123456789Z","tenant":"acme","service":"webmail","module":"inbox",
		"action":"mail.move","operation":"update","outcome":"failure","reason":"quota","actor":{"id":"alice","type":"user","name":"Alice","session":"s1","on_behalf_of":"bob"},
		"source":{"ip":"2001:DB8::0:1","user_agent":"curl/8","host":"laptop"},"targets":[{"type":"mail","id":"1","name":"Hello"},{"id":"2"}],
		"request":{"id":"r","method":"POST","path":"/m/1","route":"/m/{id}","status":507,"duration_us":1234},
		"trace":{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"},
		"changes":[{"path":"folder","op":"replace","old":"inbox","new":null},{"old":{"b":1,"a":[true,false,null,""]}}],
		"message":"moved","attributes":{"folder":"inbox","size":1.5e3,"nested":{"empty":{},"list":[]}},"original":"raw record\n"}`)},
	{Name: "strings", Event: raw(`{"id":"s","time":"2026-01-02T03:04:05Z","action":"a","actor":{"id":"x"},
		"message":"\u0000\u001f\b\t\n\f\r\"\\/\u007f\u00e9\u20ac\ud83d\ude00\u2028</script>"}`)},
	{Name: "names in UTF-16 order", Event: raw(`{"id":"n","time":"2026-01-02T03:04:05Z","action":"a","actor":{"id":"x"},
		"attributes":{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7,"":8}}`)},
	{Name: "numbers", Event: raw(`{"id":"f","time":"2026-01-02T03:04:05Z","action":"a","actor":{"id":"x"},
		"attributes":{"a":[0,-0,-0.0,1.0,1e0,0.1,1E-6,1e-7,123456789.125,9007199254740991,-9007199254740991,5e-324,4.35,0.000001,1e15]}}`)},
	{Name: "empty is absent", Event: raw(`{"id":"e","time":"2026-01-02T03:04:05Z","action":"a","actor":{"id":"x","name":""},
		"source":{},"targets":[],"message":null,"attributes":{},"request":{"status":0},"changes":null,"trace":null}`)},
	{Name: "sealed actor", Sealed: []string{"/actor/id"}, Event: raw(`{"id":"p","time":"2026-01-02T03:04:05Z","action":"a","actor":{"id":"alice"}}`)},
	{Name: "sealed attributes", Sealed: []string{"/attributes/a~1b", "/attributes/~0c", "/attributes/none", "/source/ip"}, Event: raw(`
		{"id":"q","time":"2026-01-02T03:04:05Z","action":"a","actor":{"id":"x"},
		"attributes":{"a/b":{"z":1,"a":[]},"~c":null,"clear":true},"source":{"ip":"192.0.2.7"}}`)},
	{Name: "all attributes sealed", Sealed: []string{"/attributes/ssn"}, Event: raw(`
		{"id":"r","time":"2026-01-02T03:04:05Z","action":"a","actor":{"id":"x"},"attributes":{"ssn":"078-05-1120"}}`)},
	{Name: "original in base64", Event: raw(`{"id":"b","time":"2026-01-02T03:04:05Z","action":"a","actor":{"id":"x"},"original":"data:;base64,/wA="}`)},
}

// raw returns a JSON text without its white space.
func raw(s string) json.RawMessage {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(s)); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// derive fills in what follows from a vector's inputs: the event, the sealed
// pointers, their salts and the logged time.
func (v *vector) derive() error {
	e, err := ParseEvent(v.Event)
	if err != nil {
		return err
	}
	set, err := newSealSet(v.Sealed)
	if err != nil {
		return err
	}
	s := new(scratch)
	err = set.seal(s, &e)
	if err != nil {
		return err
	}

	// Sealing has drawn random salts. The vector's own take their place.
	disclosures := (&draft{sealed: s.buf}).disclosures(nil)
	var seals []Seal
	for i := range disclosures {
		d := &disclosures[i]
		salt, err := base64.StdEncoding.DecodeString(v.Salts[d.Pointer])
		if err != nil {
			return err
		}
		copy(d.Salt[:], salt)
		seals = append(seals, Seal{d.Pointer, d.Digest()})
	}

	w := leafWriter{seals: &set, sealed: seals}
	w.leaf(&e, v.LoggedTime)
	if w.err != nil {
		return w.err
	}
	v.Leaf = string(w.buf)
	hash := LeafHash(w.buf)
	v.LeafHash = hex.EncodeToString(hash[:])
	key := KeyOf(e.ID, e.Time, e.Tenant, e.Service)
	v.Key = hex.EncodeToString(key[:])

	// A line has the disclosures as its last member, if there are any.
	line := AppendLine(nil, &RawEntry{Leaf: []byte("null"), Disclosures: disclosures})
	v.Disclosures = raw(`{}`)
	_, rest, found := strings.Cut(string(line), `"disclosures":`)
	if found {
		v.Disclosures = raw(strings.TrimSuffix(rest, "}"))
	}
	return nil
}

func vectorPath(name string) string { return filepath.Join("testdata", "vectors", name) }

func eachLine(t *testing.T, path string, fn func(line []byte)) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		fn(s.Bytes())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
}

func updateVectors(t *testing.T) {
	var out bytes.Buffer
	for i, v := range vectorInputs {
		v.LoggedTime = "2026-11-22T10:00:00.000123Z"
		v.Salts = map[string]string{}
		for k, p := range append([]string{"/original"}, v.Sealed...) {
			salt := append([]byte("salt of vector"), byte(i), byte(k)) // 16 bytes
			v.Salts[p] = base64.StdEncoding.EncodeToString(salt)
		}
		if err := v.derive(); err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}

		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
	}

	err := os.WriteFile(vectorPath("leaves.jsonl"), out.Bytes(), 0o644)
	if err != nil {
		t.Fatal(err)
	}
}

func TestLeavesFollowFromTheirVectors(t *testing.T) {
	if *update {
		updateVectors(t)
	}

	n := 0
	eachLine(t, vectorPath("leaves.jsonl"), func(line []byte) {
		n++
		var want vector
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatal(err)
		}

		got := want
		if err := got.derive(); err != nil {
			t.Errorf("%s: %v", want.Name, err)
			return
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", want.Name, diff)
		}

		leaf, err := ParseLeaf([]byte(want.Leaf))
		if err != nil {
			t.Errorf("%s: ParseLeaf: %v", want.Name, err)
			return
		}
		r, err := ParseLine([]byte(`{"index":0,"leaf":` + want.Leaf + disclosuresMember(want.Disclosures) + `}`))
		if err != nil {
			t.Errorf("%s: ParseLine: %v", want.Name, err)
			return
		}
		_, erased, err := leaf.disclosed(r.Disclosures)
		if err != nil || erased != nil {
			t.Errorf("%s: disclosures: %v, erased %v", want.Name, err, erased)
		}
	})

	if n < len(vectorInputs) {
		t.Errorf("%d vectors, want at least %d", n, len(vectorInputs))
	}
}

func disclosuresMember(d json.RawMessage) string {
	if string(d) == "{}" {
		return ""
	}
	return `,"disclosures":` + string(d)
}

// invalidLeaf is one line of testdata/vectors/invalid.jsonl, which is written
// by hand.
type invalidLeaf struct {
	Name string `json:"name"`
	Leaf string `json:"leaf"`
	Why  string `json:"why"`
}

func TestInvalidLeavesAreRefused(t *testing.T) {
	eachLine(t, vectorPath("invalid.jsonl"), func(line []byte) {
		var v invalidLeaf
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		leaf, err := ParseLeaf([]byte(v.Leaf))
		if err == nil {
			t.Errorf("%s: ParseLeaf accepts %s (%s): %+v", v.Name, v.Leaf, v.Why, leaf)
		}
	})
}

func vectorKey(t *testing.T) note.Verifier {
	t.Helper()
	text, err := os.ReadFile(vectorPath("log.pub"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewVerifier(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestProofVectorHolds(t *testing.T) {
	text, err := os.ReadFile(vectorPath("proof.tlog-proof"))
	if err != nil {
		t.Fatal(err)
	}

	var p InclusionProof
	err = p.UnmarshalText(text)
	if err != nil {
		t.Fatal(err)
	}
	_, err = CheckProof(p, vectorKey(t))
	if err != nil {
		t.Errorf("CheckProof: %v", err)
	}

	again, err := p.MarshalText()
	if err != nil || string(again) != string(text) {
		t.Errorf("MarshalText differs from what was read: %v\n%s", err, cmp.Diff(string(text), string(again)))
	}

	p.Index++
	_, err = CheckProof(p, vectorKey(t))
	if err == nil {
		t.Error("CheckProof accepts another index")
	}
}

func TestSecondImplementationAgreesOnVectors(t *testing.T) {
	verifier := exec.Command("python3", "testdata/second/attestlog_verify.py", "vectors", "testdata/vectors")
	out, err := verifier.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no python3 here; make test installs it")
	}
	if err != nil {
		t.Errorf("the second implementation refuses a vector: %v\n%s", err, out)
	}
}
