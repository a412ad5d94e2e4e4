package main

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/attestlog/attestlog/internal/testwait"
)

// A servedProcess is a started "attestlog serve". Its log and its address outlive
// it.
type servedProcess struct {
	t       *testing.T
	path    string // of the log
	address string
	token   string // the first one
	args    []string

	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr *bytes.Buffer
}

var (
	servesOn   = regexp.MustCompile(`^attestlog serves on http://(\S+)\n$`)
	firstToken = regexp.MustCompile(`shown this once: (al_\S+)\n$`)
)

// start starts the program and waits until it has said what it says first.
func (p *servedProcess) start() {
	p.t.Helper()
	p.cmd = exec.Command("attestlog", append([]string{"--log", "sqlite:" + p.path, "serve", "--listen", cmp.Or(p.address, "127.0.0.1:0")}, p.args...)...)
	p.stderr = new(bytes.Buffer)
	p.cmd.Stderr = p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.stdout = bufio.NewReader(out)
	line, err := p.stdout.ReadString('\n')
	m := servesOn.FindStringSubmatch(line)
	if m == nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		p.t.Fatalf("serve said %q, %v: %s", line, err, p.stderr)
	}
	if p.address == "" {
		p.address = m[1]
	}
	for p.token == "" {
		if line, err = p.stdout.ReadString('\n'); err != nil {
			p.t.Fatalf("serve printed no token: %v", err)
		}
		if m := firstToken.FindStringSubmatch(line); m != nil {
			p.token = m[1]
		}
	}
	p.t.Cleanup(func() { // which does nothing to a process that has ended
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
}

// end sends a signal and returns the exit code, -1 for a process that was killed.
func (p *servedProcess) end(signal syscall.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
	hung := time.AfterFunc(testwait.Patience(), func() { p.cmd.Process.Signal(syscall.SIGQUIT) })
	io.Copy(io.Discard, p.stdout)
	p.cmd.Wait() // the exit code tells
	if !hung.Stop() {
		p.t.Errorf("serve has not ended after %v: %s", signal, p.stderr)
	}
	for line := range strings.Lines(p.stderr.String()) {
		if !strings.HasPrefix(line, "{") {
			p.t.Errorf("serve said %q, which is no line of JSON", line)
		}
	}
	return p.cmd.ProcessState.ExitCode()
}

// A reply is a response that was read whole.
type reply struct {
	status  int
	body    []byte
	trailer http.Header
}

// call makes a request. An error is one of the connection, or of a torn answer.
func (p *servedProcess) call(method, path, body string, headers ...string) (reply, error) {
	r, err := http.NewRequestWithContext(p.t.Context(), method, "http://"+p.address+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, text, resp.Trailer}, err
}
