package server_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/server"
)

// raw sends bytes over a connection of its own and returns all that comes back
// until the server closes it.
func (s *service) raw(text string) string {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(testwait.Deadline())
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	out, err := io.ReadAll(conn) // a connection may also be reset
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Errorf("the server does not close the connection after %.40q and %.200q", text, out)
	}
	return string(out)
}

// Who has no token cannot make the server keep a body for it.
func TestATokenIsAskedForBeforeTheBody(t *testing.T) {
	s := serve(t, viaProxy)
	reading := s.token(server.ScopeRead)
	for _, r := range routes {
		if r.body == "" {
			continue
		}
		for token, want := range map[string]string{"": "401", "al_wrong": "401", reading: "403"} {
			request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000\r\n\r\n{", r.path, "X-Forwarded-For", address()[1], token)
			conn, err := net.Dial("tcp", s.address)
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(testwait.Deadline())
			io.WriteString(conn, request)
			line, err := bufio.NewReader(conn).ReadString('\n')
			if !strings.HasPrefix(line, "HTTP/1.1 "+want+" ") {
				t.Errorf("%s with the token %.10q and no body yet = %q, %v; want %s", r.pattern, token, line, err, want)
			}
			conn.Close()
		}
	}
}

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestHugeBodiesCostNoMemory(t *testing.T) {
	s := serve(t, viaProxy, func(s *service) { s.config.MaxBody = 1 << 20 })
	token := s.token(server.ScopeAppend)
	var bomb bytes.Buffer // of 64 MiB
	z, err := gzip.NewWriterLevel(&bomb, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	io.CopyN(z, zeros{}, 64<<20)
	z.Close()
	for _, r := range routes {
		if r.body == "" {
			continue
		}
		for name, body := range map[string]io.Reader{"endless": io.LimitReader(zeros{}, 1<<40), "a bomb": bytes.NewReader(bomb.Bytes())} {
			req := s.request(t.Context(), call{"POST", r.path, token, "", r.headers})
			req.Body, req.ContentLength = io.NopCloser(body), -1
			if name == "a bomb" {
				req.Header.Set("Content-Encoding", "gzip")
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			resp, err := client.Do(req)
			runtime.ReadMemStats(&after)
			if err == nil {
				resp.Body.Close()
			}
			// A connection that is closed on an endless body may be reset before the answer is read.
			if err == nil && resp.StatusCode != http.StatusRequestEntityTooLarge && !(r.path == "/add" && name == "a bomb") {
				t.Errorf("%s: %s body = %d, want 413", r.pattern, name, resp.StatusCode)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
				t.Errorf("%s: %s body took %d MiB", r.pattern, name, grown>>20)
			}
		}
	}
}

// Two bytes can be a record, and an event takes hundreds.
func TestManyRecordsCostBoundedMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("reads too much for the race detector")
	}
	s := serve(t)
	token := s.token(server.ScopeAppend)
	for _, r := range routes {
		if r.body == "" || r.path == "/add" {
			continue
		}
		for _, body := range []string{"[" + strings.Repeat("0,", 4<<20) + "0]", strings.Repeat("{}", 4<<20), strings.Repeat(eventBody, 200_000)} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			a := s.do(call{"POST", r.path, token, body, r.headers})
			runtime.ReadMemStats(&after)
			if a.StatusCode < 400 || a.StatusCode >= 500 {
				t.Errorf("%s of %.20q… = %d %.200s, want 4xx", r.pattern, body, a.StatusCode, a.body)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<30 {
				t.Errorf("%s of %.20q… took %d MiB", r.pattern, body, grown>>20)
			}
		}
	}
	if n := s.size(); n != 0 {
		t.Errorf("%d entries were stored", n)
	}
}

// Deep and odd JSON is refused, or bounded, and the server lives on.
func TestDeepAndOddBodiesAreRefused(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAppend)
	deep := 200_000
	if raceEnabled {
		deep = 12_000
	}
	for _, r := range routes {
		if r.body == "" {
			continue
		}
		for _, body := range []string{
			strings.Repeat("[", deep), strings.Repeat(`{"a":`, deep), strings.Repeat("[", deep) + strings.Repeat("]", deep), `{"action":"x","actor":{"id":"a"},"attributes":` + strings.Repeat(`{"a":`, deep) + "1" + strings.Repeat("}", deep) + "}",
			`{"specversion":"1.0","id":"1","source":"s","type":"t","data":` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + "}", "\x00\xff\xfe", `"\ud800"`, strings.Repeat("\n", 100_000), strings.Repeat(`{},`, deep/2),
			"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", strings.Repeat("\x0a\x80\x80\x80\x08", 1000), `{"resourceLogs":` + strings.Repeat(`[{"scopeLogs":`, deep) + "}", `{"` + strings.Repeat("k", 1<<20) + `":1}`, "-", `{"a":1e999999999}`,
		} {
			before := testwait.CPUTime()
			a := s.do(call{"POST", r.path, token, body, r.headers})
			if a.StatusCode >= 500 && a.StatusCode != 503 || len(a.body) > 4<<20 {
				t.Errorf("%s of %.40q = %d, %d bytes: %.300s", r.pattern, body, a.StatusCode, len(a.body), a.body)
			}
			if took := testwait.CPUTime() - before; took > 10*time.Second {
				t.Errorf("%s of %.40q took %v of processors", r.pattern, body, took)
			}
		}
	}
}

func TestSlowClientsAreGivenUp(t *testing.T) {
	s, limits := limited(t)
	limits.keepPassing(t, 2*limit)
	token := s.token(server.ScopeAdmin)
	for _, text := range []string{
		"", "GET / HTTP/1.1\r\nHost: x\r\n", "GET / HT", "POST /ingest/default/json HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nAuthorization: Bearer " + token + "\r\n\r\n{",
		"POST /add HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer " + token + "\r\n\r\n5\r\nab", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		s.raw(text)
	}
	if n := s.size(); n != 0 {
		t.Errorf("%d entries of broken bodies", n)
	}
}

func TestThousandsOfConnectionsAreServed(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeAppend)
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range 2000 {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n") // and no more
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if a := s.post(api+"/entries", token, eventBody); a.StatusCode != http.StatusCreated {
					t.Errorf("beside idle connections: %d %s", a.StatusCode, a.body)
				}
			}
		})
	}
	wg.Wait()
}

// from is a client with an address of its own.
func from(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
}

// mostGuesses is how many wrong tokens an address may try within a time.
func mostGuesses(within time.Duration) int { return 25 + int(within/(6*time.Second)) }

func TestGuessingIsBounded(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeRead)
	status := func(c *http.Client, token string, headers ...string) int {
		resp, err := c.Do(s.request(t.Context(), call{"GET", api, token, "", headers}))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	guesser, other := from("127.0.0.7"), from("127.0.0.8")
	wrong, refused := 0, 0
	began := time.Now()
	for i := range 100 {
		// Whoever is no proxy cannot choose its address.
		switch got := status(guesser, "al_wrong", "X-Forwarded-For", fmt.Sprintf("198.18.0.%d", i), "Forwarded", "for=198.18.1.1", "X-Real-Ip", "198.18.1.2"); got {
		case 401:
			wrong++
		case 429:
			refused++
		default:
			t.Fatalf("guess %d = %d", i, got)
		}
	}
	if most := mostGuesses(time.Since(began)); wrong < 10 || wrong > most || refused != 100-wrong {
		t.Errorf("%d guesses were looked at, and %d refused; want at most %d of 100", wrong, refused, most)
	}
	testwait.Until(t, "a valid token is refused after too many guesses, or a guess would tell", func() bool {
		for status(guesser, "al_wrong") != http.StatusTooManyRequests {
		}
		return status(guesser, token) == http.StatusTooManyRequests
	})
	for range 100 { // valid tokens and missing ones are no guesses
		if got := status(other, token); got != 200 {
			t.Fatalf("a valid token from elsewhere = %d", got)
		}
		if got := status(other, ""); got != 401 {
			t.Fatalf("no token from elsewhere = %d", got)
		}
	}
}

// An IPv6 host has a network of addresses to guess from.
func TestGuessesOfANetworkAreOnes(t *testing.T) {
	s := serve(t, viaProxy)
	token := s.token(server.ScopeRead)
	refused := 0
	began := time.Now()
	for i := range 100 {
		a := s.do(call{"GET", api, "al_wrong", "", []string{"X-Forwarded-For", fmt.Sprintf("2001:db8:1:2:%x::%x", i, i+1)}})
		if a.StatusCode == http.StatusTooManyRequests {
			refused++
		}
	}
	if most := mostGuesses(time.Since(began)); 100-refused > most {
		t.Errorf("%d of 100 guesses of one /64 were refused, want at least %d", refused, 100-most)
	}
	for _, other := range []string{"2001:db8:1:3::1", "::ffff:192.0.2.1", "192.0.2.2"} {
		if a := s.do(call{"GET", api, token, "", []string{"X-Forwarded-For", other}}); a.StatusCode != 200 {
			t.Errorf("a valid token from %s = %d", other, a.StatusCode)
		}
	}
}

// lockedBuffer is what a logger writes into.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// What a client sends neither forges a line of the log nor a header of an answer.
func TestNothingIsInjected(t *testing.T) {
	var lines lockedBuffer
	faults := &faultyStore{}
	s := serve(t, func(s *service) {
		s.config.Logger = slog.New(slog.NewJSONHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s.tokens = func(store server.TokenStore) server.TokenStore {
			faults.TokenStore = store
			return faults
		}
	})
	token := s.token(server.ScopeAdmin)
	s.append(events(0, 5)...)
	const evil = "%0d%0aX-Evil:%201%0d%0a%7b%22level%22:%22ERROR%22,%22msg%22:%22forged%22%7d%0a%1b%5b31m"
	for _, path := range []string{
		"/" + evil, "/api/v1/logs/" + evil, "/api/v1/logs/default" + evil + "/entries", "/tile/" + evil, "/tiles/" + evil + "/checkpoint", api + "/entries?limit=1&q=" + evil, api + "/entries?limit=1&q=%22event%22+-actor:%22" + evil + "%22",
		api + "/entries?cursor=" + evil, api + "/entries/" + evil, api + "/entry?id=" + evil, api + "/facets?field=" + evil, api + "/tail?from=" + evil, api + "/export?format=" + evil, api + "/export?format=csv&fields=attributes." + evil,
		api + "/verifications/" + evil, api + "/histogram?after=" + evil + "&before=" + evil,
	} {
		for _, panics := range []bool{false, true} {
			if panics {
				faults.fail(func() error { panic("broken\n{\"level\":\"ERROR\",\"msg\":\"forged\"}") })
			}
			resp, err := client.Do(s.request(t.Context(), call{"GET", path, s.token(server.ScopeAdmin), "", []string{"User-Agent", "a\tb", "X-Forwarded-For", "1.2.3.4\t\"", "Referer", "x"}}))
			faults.fault.Store(nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Header.Get("X-Evil") != "" {
				t.Errorf("GET %s: a header was injected: %v", path, resp.Header)
			}
			resp.Body.Close()
		}
	}
	for _, body := range []string{`{"specversion":"1.0\n{\"level\":\"ERROR\",\"msg\":\"forged\"}"}`, "[\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\n"} {
		s.post("/ingest/default/cloudevents", token, body, "Content-Type", "application/cloudevents+json")
		s.post("/ingest/default/kubernetes", token, body)
	}
	s.raw("GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: aaaaaaaa\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\r\nConnection: close\r\n\r\n")
	n := 0
	for line := range strings.Lines(lines.String()) {
		n++
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry["msg"] == "forged" || entry["time"] == nil {
			t.Errorf("a line of the log is %q, %v", line, err)
		}
		if strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\r\n\x1b\x00") {
			t.Errorf("a line of the log has control characters: %q", line)
		}
	}
	if n < 50 {
		t.Errorf("%d lines of log, want those of what was refused", n)
	}
}

// net/http decides what is one request; a server must not be behind a listener that
// decides otherwise.
func TestRequestsAreNotSmuggled(t *testing.T) {
	s := serve(t, func(s *service) {
		s.tune = func(h *http.Server) { h.IdleTimeout = 100 * time.Millisecond } // so that each connection ends
	})
	token := s.token(server.ScopeAppend)
	head := "POST /add HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\n"
	const inner = "POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
	for name, text := range map[string]string{
		"two lengths": head + "Content-Length: 1\r\nContent-Length: 5\r\n\r\nx" + inner, "a signed length": head + "Content-Length: +1\r\n\r\nx" + inner, "a list of lengths": head + "Content-Length: 1, 5\r\n\r\nx" + inner,
		"two encodings": head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner, "an unknown encoding": head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner,
		"a bad chunk": head + "Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n" + inner, "a space before a colon": head + "Content-Length : 1\r\n\r\nx" + inner, "no host": "GET / HTTP/1.1\r\n\r\n" + inner, "a folded header": head + "X: a\r\n Content-Length: 1\r\n\r\n",
	} {
		out := s.raw(text)
		if n := strings.Count(out, "HTTP/1."); name != "a folded header" && (n != 1 || !strings.HasPrefix(out, "HTTP/1.1 400 ") && !strings.HasPrefix(out, "HTTP/1.1 501 ")) {
			t.Errorf("%s: %d answers, %.100q; want one 400", name, n, out)
		}
	}
	if n := s.size(); n > 1 {
		t.Errorf("%d entries came of it", n)
	}
}
