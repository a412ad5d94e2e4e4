package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/attestlog/attestlog/internal/testwait"
)

// dial opens a connection and says the beginning of a request.
func (p *servedProcess) dial(text string) net.Conn {
	p.t.Helper()
	c, err := net.Dial("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// Clients that take every connection and send only a part of a header keep the
// connections for the ten seconds that a header may take, and no longer.
func TestSlowClientsDoNotKeepOthersOut(t *testing.T) {
	t.Parallel()
	p := &servedProcess{t: t, path: filepath.Join(t.TempDir(), "log.db"), args: []string{"--max-connections", "5"}}
	p.start()
	began := time.Now()
	var slow []net.Conn
	for range 5 {
		slow = append(slow, p.dial("GET /healthz HTTP/1.1\r\nHost: x\r\nX: "))
	}
	late := &http.Client{Timeout: testwait.Patience()}
	resp, err := late.Get("http://" + p.address + "/healthz") // waits in the listener's queue
	if err != nil {
		t.Fatalf("next to slow clients: %v", err)
	}
	resp.Body.Close()
	// No other limit of the server is as short, even on a slow machine.
	longest := headerWait + testwait.Patience()/4
	if took := time.Since(began); resp.StatusCode != http.StatusOK || took < time.Second || took > longest {
		t.Errorf("next to slow clients: %d after %v, want 200 after %v", resp.StatusCode, took, headerWait)
	}
	for _, c := range slow {
		c.SetReadDeadline(testwait.Deadline())
		if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a slow client keeps its connection")
		}
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
}

// A stop ends what would not end by itself, and lets end what does.
func TestAStopIsGraceful(t *testing.T) {
	t.Parallel()
	p := &servedProcess{t: t, path: filepath.Join(t.TempDir(), "log.db")}
	p.start()
	head := " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + p.token + "\r\n"
	tail := bufio.NewReader(p.dial("GET /api/v1/logs/default/tail" + head + "\r\n"))
	if line, err := tail.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200 ") {
		t.Fatalf("tail = %q, %v", line, err)
	}
	p.dial("") // one that says nothing
	idle := p.dial("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	idle.SetReadDeadline(testwait.Deadline())
	if _, err := idle.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	const body = `{"id":"019a9f0c-2f5e-7cc1-9c1e-000000000001","action":"x","actor":{"id":"a"}}`
	slow := p.dial(fmt.Sprintf("POST /api/v1/logs/default/entries%sContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", head, len(body)))
	answer := bufio.NewReader(slow)
	if line, err := answer.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q, %v; want to go on with the body", line, err)
	}
	code := make(chan int)
	go func() { code <- p.end(syscall.SIGTERM) }()
	if _, err := io.Copy(io.Discard, tail); err != nil { // so the stop has begun
		t.Errorf("the tail ended with %v", err)
	}
	if _, err := io.WriteString(slow, body); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(answer)
	if !strings.Contains(string(rest), "HTTP/1.1 201 ") {
		t.Errorf("a request under way = %q, %v; want 201", rest, err)
	}
	if got := <-code; got != 0 {
		t.Errorf("exit code %d: %s", got, p.stderr)
	}
	p.start()
	if r, err := p.call("GET", "/api/v1/logs/default/entry?id=019a9f0c-2f5e-7cc1-9c1e-000000000001", ""); err != nil || r.status != http.StatusOK {
		t.Errorf("after the stop, the entry = %d %s, %v", r.status, r.body, err)
	}
	p.end(syscall.SIGKILL)
}

// The log is that of a daemon: what clients send forges no line of it.
func TestServesLogIsNotForged(t *testing.T) {
	t.Parallel()
	p := &servedProcess{t: t, path: filepath.Join(t.TempDir(), "log.db")}
	p.start()
	forged := "\n" + `{"level":"ERROR","msg":"forged"}` + "\n"
	for _, body := range []string{forged, `{"auditID":"1","stage":"x","verb":"get","user":{"username":"` + strings.Repeat("x", 10) + `"}}` + forged} {
		if _, err := p.call("POST", "/ingest/default/kubernetes", body); err != nil {
			t.Error(err)
		}
		if _, err := p.call("POST", "/ingest/default/json%0a%7b%22msg%22:%22forged%22%7d", body); err != nil {
			t.Error(err)
		}
	}
	p.dial("GET / HTTP/1.1\r\nHost: x\n" + forged + "\r\n\r\n")
	p.dial("\x16\x03\x01" + forged)
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(p.stderr.String(), "\n"); n == 0 {
		t.Errorf("nothing was logged")
	}
	for line := range strings.Lines(p.stderr.String()) {
		if strings.Contains(line, `"msg":"forged"`) {
			t.Errorf("a line of the log is %q", line)
		}
	}
}
