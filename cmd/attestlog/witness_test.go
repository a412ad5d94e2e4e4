package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/witness"
)

// A witnessProcess is a started "attestlog witness".
type witnessProcess struct {
	cmd    *exec.Cmd
	addr   string
	key    string
	stderr *bufio.Reader
}

var listening = regexp.MustCompile(`"msg":"witness: listening","addr":"([^"]+)"`)

// startWitness starts the program and waits until it listens.
func startWitness(t *testing.T, dir string, args ...string) *witnessProcess {
	t.Helper()
	cmd := exec.Command("attestlog", append([]string{"witness", "--listen", "127.0.0.1:0", "--state", filepath.Join(dir, "state"), "--key", filepath.Join(dir, "w.key")}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // which does nothing to a process that has ended
		cmd.Process.Kill()
		cmd.Wait()
	})
	w := &witnessProcess{cmd: cmd, stderr: bufio.NewReader(errs)}
	for {
		line, err := w.stderr.ReadString('\n')
		if err != nil {
			t.Fatalf("%v: %v, last said %q", cmd, err, line)
		}
		if m := listening.FindStringSubmatch(line); m != nil {
			w.addr = m[1]
			break
		}
	}
	key, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	w.key = strings.TrimSpace(key)
	return w
}

// stop interrupts the program and returns what it said since.
func (w *witnessProcess) stop(t *testing.T) string {
	t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(w.stderr)
	if waitErr := w.cmd.Wait(); err != nil || waitErr != nil {
		t.Errorf("stopped with %v, %v: %s", waitErr, err, said)
	}
	return string(said)
}

// A growingLog is one in dir/audit.db.
type growingLog struct {
	*attestlog.Log
	keys string
}

func newGrowingLog(t *testing.T, dir string) *growingLog {
	t.Helper()
	log := sqlitetest.LogAt(t, filepath.Join(dir, "audit.db"), attestlog.Config{Origin: "example.com/audit"})
	keys, err := os.ReadFile(filepath.Join(dir, "audit.db.pub"))
	if err != nil {
		t.Fatal(err)
	}
	return &growingLog{log, string(keys)}
}

// grow appends n entries and returns the checkpoint that covers them.
func (l *growingLog) grow(t *testing.T, n int) []byte {
	t.Helper()
	events := make([]attestlog.Event, n)
	for i := range events {
		events[i] = attestlog.Event{Action: "mail.view", Actor: attestlog.Actor{ID: "alice"}}
	}
	if _, err := l.Append(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	c, err := l.Publish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c.Note
}

// cosign has the program cosign a checkpoint.
func (w *witnessProcess) cosign(t *testing.T, log *growingLog, signed []byte) {
	t.Helper()
	v, err := witness.NewVerifier(w.key)
	if err != nil {
		t.Fatal(err)
	}
	c := &witness.Client{URL: "http://" + w.addr, Verifier: v}
	cosigned, err := c.Cosign(t.Context(), signed, log.ConsistencyProof)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(cosigned, note.VerifierList(v)); err != nil {
		t.Error(err)
	}
}

func TestWitness(t *testing.T) {
	dir := t.TempDir()
	log := newGrowingLog(t, dir)
	w := startWitness(t, dir, "--name", "witness.example/w1", "--log-key", log.keys)
	if info, err := os.Stat(filepath.Join(dir, "w.key")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the key's mode is %v, %v", info.Mode(), err)
	}
	w.cosign(t, log, log.grow(t, 3))
	w.cosign(t, log, log.grow(t, 300))
	last := log.grow(t, 5)
	said := stopWithin(t, w, fmt.Appendf(nil, "old 0\n\n%s", last))
	for _, want := range []string{`"msg":"witness: cosigned","origin":"example.com/audit","size":303`, `"msg":"witness: refused"`, `"msg":"witness: stopping"`} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not among what it said:\n%s", want, said)
		}
	}

	// Started again it has its key, and knows the log.
	key := w.key
	w = startWitness(t, dir, "--log-key", log.keys)
	if w.key != key || !strings.HasPrefix(key, "witness.example/w1+") {
		t.Errorf("started again it has the key %q, not %q", w.key, key)
	}
	resp, err := http.Post("http://"+w.addr+"/add-checkpoint", "", bytes.NewReader(fmt.Appendf(nil, "old 0\n\n%s", last)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 409 {
		t.Errorf("started again it has forgotten the log: status %d", resp.StatusCode)
	}
	w.cosign(t, log, last)
	w.stop(t)

	// It does not start under another name, nor without its state.
	fails := func(want string, args ...string) {
		t.Helper()
		args = append([]string{"witness", "--state", filepath.Join(dir, "state"), "--key", filepath.Join(dir, "w.key"), "--log-key", log.keys}, args...)
		out, err := exec.Command("attestlog", args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("attestlog %q: %v, %s, want %q", args, err, out, want)
		}
	}
	fails(`is named "witness.example/w1", not "other"`, "--name", "other")
	if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	fails("hint: the state that belongs to")
}

// stopWithin stops the program within a request, whose answer has the status
// 409, and returns what the program said.
func stopWithin(t *testing.T, w *witnessProcess, body []byte) string {
	t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))
	answer := bufio.NewReader(conn)
	if line, err := answer.ReadString('\n'); err != nil || !strings.Contains(line, " 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := answer.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for !strings.Contains(said.String(), "stopping") {
		line, err := w.stderr.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		said.WriteString(line)
	}
	if _, err := conn.Write(body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(answer, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 409 {
		t.Errorf("status %d, want 409", resp.StatusCode)
	}
	rest, err := io.ReadAll(w.stderr)
	if waitErr := w.cmd.Wait(); err != nil || waitErr != nil {
		t.Errorf("stopped with %v, %v: %s", waitErr, err, rest)
	}
	return said.String() + string(rest)
}
