package witness

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// A statusTest is a request to a witness that knows the tree of size 5.
type statusTest struct {
	name   string
	body   []byte
	status int
	answer string // if not empty
}

// TestStatuses goes through the answers of c2sp.org/tlog-witness.
func TestStatuses(t *testing.T) {
	l := newTestLog(t, origin, 12)
	for _, tt := range slices.Concat(badRequests(t, l), otherStatuses(t, l)) {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, l) })
	}
}

func badRequests(t *testing.T, l *testLog) []statusTest {
	good := l.request(t, 5, 8)
	replace := func(old, new string) []byte {
		return bytes.Replace(good.marshal(), []byte(old), []byte(new), 1)
	}
	beyond := l.request(t, 5, 8)
	beyond.old = 9
	hash := strings.Repeat("A", 43) + "="
	return []statusTest{
		{"no body", nil, 400, ""},
		{"no old size", replace("old 5\n", ""), 400, ""},
		{"leading zero", replace("old 5\n", "old 05\n"), 400, ""},
		{"negative", replace("old 5\n", "old -5\n"), 400, ""},
		{"plus sign", replace("old 5\n", "old +5\n"), 400, ""},
		{"two spaces", replace("old 5\n", "old  5\n"), 400, ""},
		{"carriage return", replace("old 5\n", "old 5\r\n"), 400, ""},
		{"size too large", replace("old 5\n", "old 99999999999999999999\n"), 400, ""},
		{"a hash that is none", replace("old 5\n", "old 5\nAAAA\n"), 400, ""},
		{"stray bits in a hash", replace("old 5\n", "old 5\n"+hash[:42]+"B=\n"), 400, ""},
		{"64 hashes", replace("old 5\n", "old 5\n"+strings.Repeat(hash+"\n", 64)), 400, ""},
		{"no empty line", bytes.Replace(good.marshal(), []byte("\n\n"), []byte("\n"), 1), 400, ""},
		{"no checkpoint", replace(string(good.note), ""), 400, ""},
		{"checkpoint without signatures", replace(string(good.note), l.text(t, 8)), 400, ""},
		{"checkpoint's size is none", replace("\n8\n", "\n08\n"), 400, ""},
		{"empty extension line", sign(t, l, l.text(t, 8)+"\nAAAA\n", 5), 400, ""},
		{"control character", sign(t, l, l.text(t, 8)+"\x01\n", 5), 400, ""},
		{"old size beyond the checkpoint", beyond.marshal(), 400, ""},
		{"not ended by a newline", bytes.TrimSuffix(good.marshal(), []byte("\n")), 400, ""},
	}
}

func otherStatuses(t *testing.T, l *testLog) []statusTest {
	other := newTestLog(t, "example.com/unknown", 12)
	stranger := newTestLog(t, origin, 12)
	fork := l.fork(t, 4, 12, "fork")
	good := l.request(t, 5, 8)
	edit := func(change func(*request)) []byte {
		r := l.request(t, 5, 8)
		change(&r)
		return r.marshal()
	}
	replace := func(old, new string) []byte {
		return bytes.Replace(good.marshal(), []byte(old), []byte(new), 1)
	}
	const conflict = "5\n"
	return []statusTest{
		{"grown", good.marshal(), 200, ""},
		{"the same again", l.request(t, 5, 5).marshal(), 200, ""},
		{"signatures of unknown keys", edit(func(r *request) { r.note = append(r.note, "— somebody.example AAAAAAAAAAAA\n"...) }), 200, ""},

		{"signed by a stranger", stranger.request(t, 5, 8).marshal(), 403, ""},
		{"signature of a known key that does not hold", replace("\n8\n", "\n9\n"), 403, ""},
		{"unknown origin", other.request(t, 0, 8).marshal(), 404, ""},

		{"from size 0", l.request(t, 0, 8).marshal(), 409, conflict},
		{"from another size", l.request(t, 4, 8).marshal(), 409, conflict},
		{"from a size to come", l.request(t, 8, 8).marshal(), 409, conflict},
		{"rolled back", l.request(t, 3, 4).marshal(), 409, conflict},
		{"rolled back to nothing", l.request(t, 0, 0).marshal(), 409, conflict},
		{"another tree of the same size", fork.request(t, 5, 5).marshal(), 409, conflict},

		{"too long", append(good.marshal(), make([]byte, maxBody)...), 413, ""},

		{"fork", fork.request(t, 5, 8).marshal(), 422, ""},
		{"no proof", edit(func(r *request) { r.proof = nil }), 422, ""},
		{"a hash too many", edit(func(r *request) { r.proof = append(r.proof, r.proof[0]) }), 422, ""},
		{"a hash too few", edit(func(r *request) { r.proof = r.proof[1:] }), 422, ""},
		{"a changed hash", edit(func(r *request) { r.proof[0][0] ^= 1 }), 422, ""},
		{"a proof of the same size", edit(func(r *request) { r.note = l.checkpoint(t, 5) }), 422, ""},
	}
}

func (tt statusTest) run(t *testing.T, l *testLog) {
	cfg := config(t, l)
	url := serve(t, open(t, cfg))
	if status, _, text := post(t, url, l.request(t, 0, 5).marshal()); status != 200 {
		t.Fatalf("first checkpoint: %d %s", status, text)
	}
	status, kind, text := post(t, url, tt.body)
	if status != tt.status || tt.answer != "" && text != tt.answer {
		t.Fatalf("status %d %q, want %d %q", status, text, tt.status, tt.answer)
	}
	if (status == 409) != (kind == "text/x.tlog.size") {
		t.Errorf("status %d has Content-Type %q", status, kind)
	}
	if status != 200 { // and nothing has changed
		if status, _, text := post(t, url, l.request(t, 5, 12).marshal()); status != 200 {
			t.Errorf("after a refusal: %d %s", status, text)
		}
		return
	}
	if !strings.HasPrefix(text, "— witness.example/w1 ") || strings.Count(text, "\n") != 1 {
		t.Errorf("answer %q, want one signature line", text)
	}
	r, err := parseRequest(tt.body)
	if err != nil {
		t.Fatal(err)
	}
	verifyLine(t, r.note, text, cfg.Signer.Verifier())
}

// sign returns a request from size old whose checkpoint has any text.
func sign(t *testing.T, l *testLog, text string, old uint64) []byte {
	t.Helper()
	sig, err := l.signer.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	h := l.signer.KeyHash()
	raw := append([]byte{byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)}, sig...)
	r := l.request(t, old, 8)
	r.note = append([]byte(text), "\n"+line(l.signer.Name(), raw)...)
	return r.marshal()
}

// TestFirstSight covers logs that the witness has cosigned nothing of.
func TestFirstSight(t *testing.T) {
	l := newTestLog(t, origin, 8)
	wrongEmpty := fmt.Sprintf("%s\n0\n%v\n", origin, l.root(t, 1))
	proven := l.request(t, 5, 8)
	proven.old = 0
	for _, tt := range []struct {
		name   string
		body   []byte
		status int
		answer string
	}{
		{"from nothing", l.request(t, 0, 8).marshal(), 200, ""},
		{"an empty log", l.request(t, 0, 0).marshal(), 200, ""},
		{"from a size", l.request(t, 5, 8).marshal(), 409, "0\n"},
		{"the same size", l.request(t, 8, 8).marshal(), 409, "0\n"},
		{"a proof from size 0", proven.marshal(), 422, ""},
		{"an empty log with a root", sign(t, l, wrongEmpty, 0), 422, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := serve(t, open(t, config(t, l)))
			status, _, text := post(t, url, tt.body)
			if status != tt.status || tt.answer != "" && text != tt.answer {
				t.Errorf("status %d %q, want %d %q", status, text, tt.status, tt.answer)
			}
		})
	}
}

func TestRotatedLogKeys(t *testing.T) {
	l := newTestLog(t, origin, 8)
	before := l.request(t, 0, 3)
	old := l.keys[0]
	l.rotate(t, origin)
	cfg := config(t, l) // knows both keys
	url := serve(t, open(t, cfg))
	if status, _, text := post(t, url, before.marshal()); status != 200 {
		t.Fatalf("old key: %d %s", status, text)
	}
	if status, _, text := post(t, url, l.request(t, 3, 6).marshal()); status != 200 {
		t.Fatalf("new key: %d %s", status, text)
	}
	// A witness that forgot the new key refuses it, and remembers the log.
	cfg.Logs = map[string][]note.Verifier{origin: {old}}
	cfg.Create = false
	url = serve(t, open(t, cfg))
	if status, _, text := post(t, url, l.request(t, 6, 8).marshal()); status != 403 {
		t.Errorf("unknown new key: %d %s, want 403", status, text)
	}
	if status, _, text := post(t, url, before.marshal()); status != 409 || text != "6\n" {
		t.Errorf("after a restart: %d %q, want 409 and size 6", status, text)
	}
}

func TestCosignaturesHaveTheClocksTime(t *testing.T) {
	l := newTestLog(t, origin, 3)
	cfg := config(t, l)
	now := time.Unix(1763805600, 999)
	cfg.Clock = func() time.Time { return now }
	url := serve(t, open(t, cfg))
	_, _, line := post(t, url, l.request(t, 0, 3).marshal())
	if at := verifyLine(t, l.checkpoint(t, 3), line, cfg.Signer.Verifier()); at.Unix() != now.Unix() {
		t.Errorf("cosigned at %v, want %v", at, now)
	}
	now = time.Unix(0, 0) // a cosignature's time must not be zero
	if status, _, text := post(t, url, l.request(t, 3, 3).marshal()); status != 500 {
		t.Errorf("clock at zero: %d %s, want 500", status, text)
	}
}

// TestMonitorsGetTheNewestNote covers the draft's monitoring address.
func TestMonitorsGetTheNewestNote(t *testing.T) {
	l := newTestLog(t, origin, 8)
	cfg := config(t, l)
	url := serve(t, open(t, cfg))
	get := func(name string) (int, string) {
		resp, err := http.Get(fmt.Sprintf("%s/some/prefix/%x/checkpoint", url, sha256.Sum256([]byte(name))))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if status, _ := get(origin); status != 404 {
		t.Errorf("before a cosignature: %d, want 404", status)
	}
	r := l.request(t, 0, 5)
	r.note = append(r.note, "— somebody.example AAAAAAAAAAAA\n"...)
	_, _, line := post(t, url, r.marshal())
	status, got := get(origin)
	if want := string(l.checkpoint(t, 5)) + line; status != 200 || got != want {
		t.Errorf("got %d %q, want %q", status, got, want)
	}
	if status, _ := get("example.com/unknown"); status != 404 {
		t.Errorf("unknown log: %d, want 404", status)
	}
}

func TestOtherMethodsAndPaths(t *testing.T) {
	url := serve(t, open(t, config(t, newTestLog(t, origin, 1))))
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/add-checkpoint", 405}, {"PUT", "/w1/add-checkpoint", 405}, {"POST", "/w1/add-checkpoint", 400},
		{"POST", "/", 404}, {"POST", "/add-checkpoint/", 404}, {"POST", "/x/checkpoint", 405}, {"GET", "/x/checkpoint", 404},
	} {
		req, err := http.NewRequest(tt.method, url+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, resp.StatusCode, tt.status)
		}
		if tt.status == 405 && resp.Header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", tt.method, tt.path)
		}
	}
}
