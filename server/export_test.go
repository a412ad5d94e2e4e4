package server_test

import (
	"bufio"
	"bytes"
	"context"
	stdcsv "encoding/csv"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/jsonl"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/verify"
)

// verifyLines verifies an export as attestlog verify --jsonl does.
func (s *service) verifyLines(lines []byte) (verify.Report, error) {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "export.jsonl")
	if err := os.WriteFile(path, lines, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return jsonl.Verify(context.Background(), verify.Options{Keys: []note.Verifier{s.verifier()}}, path)
}

func TestAnExportVerifiesByItself(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	s.append(events(0, 600)...)
	s.append(attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "a"}, Source: attestlog.Source{IP: "192.0.2.7"}, Original: []byte("canary")})
	s.checkpoint(s.post(api+"/checkpoint", token, ""))
	s.append(events(601, 5)...)
	for _, params := range []string{"", "?format=jsonl", "?q=order:time", "?q=order:index", "?disclosures=true"} {
		a := s.get(api+"/export"+params, token)
		report, err := s.verifyLines(a.body)
		if err != nil || report.Size < 606 || report.Signed < 601 {
			t.Errorf("export%s: Verify = %+v, %v; want at least 606 entries, 601 of them signed", params, report, err)
		}
		if size, err := strconv.ParseUint(a.Trailer.Get("Attestlog-Size"), 10, 64); err != nil || size != report.Size {
			t.Errorf("export%s: trailer %v, want %d", params, a.Trailer, report.Size)
		}
		if a.Header.Get("Content-Type") != "application/x-ndjson" || a.Header.Get("Content-Disposition") != `attachment; filename="default.jsonl"` {
			t.Errorf("export%s: %v", params, a.Header)
		}
	}
	a := s.get(api+"/export?disclosures=false", token)
	if bytes.Contains(a.body, []byte("192.0.2.7")) || bytes.Contains(a.body, []byte("canary")) {
		t.Errorf("an export without disclosures has them")
	}
	changed := bytes.Replace(s.get(api+"/export", token).body, []byte("user-3"), []byte("user-4"), 1)
	if report, err := s.verifyLines(changed); err == nil {
		t.Errorf("a changed export: Verify = %+v", report)
	}
	a = s.get(api+"/export?q=actor:user-1", token)
	if n := bytes.Count(a.body, []byte("\n")); n != 121 || bytes.Contains(a.body, []byte("checkpoint")) {
		t.Errorf("an export of a query has %d lines, want 121 and no checkpoint", n)
	}
}

func TestAnExportOfNothing(t *testing.T) {
	s := serve(t)
	a := s.get(api+"/export", s.token(server.ScopeRead))
	if report, err := s.verifyLines(a.body); err != nil || report.Size > 1 { // the look itself
		t.Errorf("export of an empty log: %q, Verify = %+v, %v", a.body, report, err)
	}
	for _, params := range []string{"?from=99", "?q=actor:nobody", "?q=index:7"} {
		a := s.get(api+"/export"+params, s.token(server.ScopeRead))
		if a.StatusCode != 200 || strings.Contains(string(a.body), "leaf") || a.Trailer.Get("Attestlog-Size") == "" {
			t.Errorf("export%s = %d %s", params, a.StatusCode, a.body)
		}
	}
}

func TestATableHasItsColumns(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	s.append(attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "=cmd"}, Message: "a,\"b\"\nc"}, attestlog.Event{Action: "y", Actor: attestlog.Actor{ID: "b"}, Attributes: map[string]any{"n": 7}})
	a := s.get(api+"/export?format=csv&fields=index,action,message,attributes.n&q=index:0..1", token)
	got, err := stdcsv.NewReader(bytes.NewReader(a.body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"index", "action", "message", "attributes.n"}, {"0", "x", "a,\"b\"\nc", ""}, {"1", "y", "", "7"}}, got); diff != "" {
		t.Errorf("csv (-want +got):\n%s", diff)
	}
	a = s.get(api+"/export?format=csv&q=index:0..1", token)
	if lines := strings.Split(string(a.body), "\n"); !strings.HasPrefix(lines[0], "index,") || bytes.Contains(a.body, []byte(",=cmd")) {
		t.Errorf("csv = %s", a.body)
	}
	if a.Header.Get("Content-Type") != "text/csv; charset=utf-8; header=present" || a.Trailer.Get("Attestlog-Size") == "" {
		t.Errorf("csv: %v, trailer %v", a.Header, a.Trailer)
	}
}

// An export that broke off goes on behind its last whole line.
func TestAnExportThatBrokeOffGoesOn(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	s.append(events(0, 600)...)
	s.checkpoint(s.post(api+"/checkpoint", token, ""))
	s.append(events(600, 20)...)
	whole := s.get(api+"/export", token).body
	for cut := 1; cut < len(whole); cut += len(whole)/17 + 1 {
		kept := whole[:bytes.LastIndexByte(whole[:cut], '\n')+1]
		s.append(events(700+cut, 1)...) // the log goes on meanwhile
		from := lastIndex(t, kept)
		rest := s.get(api+"/export?from="+strconv.FormatUint(from, 10), token)
		if report, err := s.verifyLines(append(bytes.Clone(kept), rest.body...)); err != nil || strconv.FormatUint(report.Size, 10) != rest.Trailer.Get("Attestlog-Size") {
			t.Errorf("cut at %d, resumed from %d: Verify = %+v, %v", cut, from, report, err)
		}
	}
	// Behind the checkpoint as well.
	from := lastIndex(t, whole)
	rest := s.get(api+"/export?from="+strconv.FormatUint(from, 10), token)
	if report, err := s.verifyLines(append(whole, rest.body...)); err != nil {
		t.Errorf("resumed from %d: Verify = %+v, %v", from, report, err)
	}
}

// lastIndex returns the index behind the last entry of lines.
func lastIndex(t *testing.T, lines []byte) uint64 {
	t.Helper()
	next := uint64(0)
	for line := range bytes.Lines(lines) {
		var l struct{ Index *uint64 }
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if l.Index != nil {
			next = *l.Index + 1
		}
	}
	return next
}

// A stream that did not reach its end must not look as if it had.
func TestAnExportThatIsStoppedIsTorn(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	padding := strings.Repeat("x", 10_000)
	for range 2 {
		batch := events(0, 1000)
		for i := range batch {
			batch[i].Message = padding
		}
		s.append(batch...)
	}
	resp, err := client.Do(s.request(t.Context(), call{method: "GET", path: api + "/export", token: token}))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := bufio.NewReader(resp.Body)
	if _, err := body.ReadBytes('\n'); err != nil {
		t.Fatal(err)
	}
	s.srv.Stop()
	if _, err := io.Copy(io.Discard, body); err == nil {
		t.Errorf("the stream ended as if it were whole; trailer %v", resp.Trailer)
	}
}

// An export, and a query of its size, live in memory that does not grow with it.
func TestAnExportNeedsConstantMemory(t *testing.T) {
	const size = 200_000
	if raceEnabled {
		t.Skip("appends too much for the race detector")
	}
	s := serve(t)
	token := s.token(server.ScopeRead)
	for from := 0; from < size; from += 10_000 {
		s.append(events(from, 10_000)...)
	}
	testwait.Until(t, "the search index is still, which takes memory too", func() bool {
		st := testlog.Stats(t, s.log)
		return st.Store.IndexLag == 0 && !st.Store.IndexMerging
	})
	for _, params := range []string{"", "?format=csv", "?q=event+-actor:user-1"} {
		base := liveHeap()
		resp, err := client.Do(s.request(t.Context(), call{method: "GET", path: api + "/export" + params, token: token}))
		if err != nil {
			t.Fatal(err)
		}
		lines, most := 0, uint64(0)
		in := bufio.NewScanner(resp.Body)
		for in.Scan() {
			lines++
			if lines%(size/10) == 0 {
				most = max(most, liveHeap())
			}
		}
		resp.Body.Close()
		if in.Err() != nil || lines < size/2 {
			t.Errorf("export%s: %d lines, %v", params, lines, in.Err())
		}
		const bound = 16 << 20
		t.Logf("export%s: %d lines, %d KiB grown", params, lines, (int64(most)-int64(base))>>10)
		if most > base+bound {
			t.Errorf("export%s: the live heap grew by %d bytes, want at most %d", params, most-base, bound)
		}
	}
}

// liveHeap returns the bytes that are in use. What a goroutine allocates while
// garbage is collected counts as in use, though it may be garbage at once. So
// garbage is collected until that makes no difference: a server whose answer is
// not read meanwhile has stopped by then.
func liveHeap() uint64 {
	least := uint64(math.MaxUint64)
	for {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.HeapAlloc+1<<20 > least {
			return min(least, m.HeapAlloc)
		}
		least = m.HeapAlloc
	}
}

// A stream that is asked for its header alone must not hold the connection.
func TestTheHeaderOfAStreamEnds(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	for _, path := range []string{"/tail", "/export", "/export?format=csv"} {
		head := " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\n"
		out := s.raw("HEAD " + api + path + head + "\r\nGET /healthz" + head + "Connection: close\r\n\r\n")
		if n := strings.Count(out, "HTTP/1.1 200 "); n != 2 {
			t.Errorf("HEAD %s and GET /healthz have %d answers: %q", path, n, out)
		}
	}
}

// Streams outlive the limits that short requests have.
func TestStreamsOutliveTheReadTimeout(t *testing.T) {
	s, limits := limited(t)
	token := s.token(server.ScopeRead, server.ScopeAppend)
	padding := strings.Repeat("x", 10_000)
	batch := events(0, 2000)
	for i := range batch {
		batch[i].Message = padding
	}
	s.append(batch...)
	resp, err := client.Do(s.request(t.Context(), call{method: "GET", path: api + "/export", token: token}))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := bufio.NewReader(resp.Body)
	// The reader is slow: the limit passes while the server waits for it.
	for line := 0; ; line++ {
		if line == 10 {
			limits.pass(2 * limit)
		}
		_, err := body.ReadBytes('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("the export broke off after %d lines: %v", line, err)
		}
	}
	if resp.Trailer.Get("Attestlog-Size") == "" {
		t.Errorf("the export has no trailer")
	}
}

// limit is how long a request may take to be read, or to be answered, in a
// limited service.
const limit = time.Second

// limited starts a service whose limits pass when the test says so.
func limited(t *testing.T) (*service, *deadlines) {
	t.Helper()
	d := &deadlines{}
	s := serve(t, func(s *service) {
		s.tune = func(h *http.Server) {
			h.ReadTimeout = limit
			h.WriteTimeout = limit
		}
		s.listen = func(l net.Listener) net.Listener {
			d.Listener = l
			return d
		}
	})
	return s, d
}
