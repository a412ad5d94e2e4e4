package main

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/attestlog/attestlog/internal/testwait"
)

// What the README prints under "A server" works as it stands there, but for the
// port, which another program may have.
func TestServerOfTheReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## A server\n")
	_, block, _ := strings.Cut(section, "```sh\n")
	block, _, found := strings.Cut(block, "```")
	start, rest, _ := strings.Cut(block, "\n")
	if !found || !strings.HasPrefix(start, "attestlog serve") {
		t.Fatalf("the README has no commands under \"A server\" that begin with attestlog serve: %q", start)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "attestlog")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	ctx := testwait.Context(t)
	serve := exec.CommandContext(ctx, program, "serve")
	serve.Dir = dir
	serve.Env = append(os.Environ(), "ATTESTLOG_LISTEN="+address)
	serve.Cancel = func() error { return serve.Process.Signal(os.Interrupt) }
	out, err := serve.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	token := ""
	for lines := bufio.NewScanner(out); token == "" && lines.Scan(); {
		token = regexp.MustCompile(`al_\S+`).FindString(lines.Text())
	}
	if token == "" {
		t.Fatal("serve printed no token")
	}
	commands := strings.ReplaceAll(rest, "127.0.0.1:8450", address)
	for command := range strings.SplitSeq(strings.ReplaceAll(commands, "\\\n", " "), "\n") {
		if strings.TrimSpace(command) == "" {
			continue
		}
		sh := exec.CommandContext(ctx, "sh", "-c", strings.Replace(command, "curl ", "curl -sSf ", 1))
		sh.Dir = dir
		sh.Env = append(os.Environ(), "TOKEN="+token, "PATH="+dir+":"+os.Getenv("PATH"))
		var stderr bytes.Buffer
		sh.Stderr = &stderr
		got, err := sh.Output()
		tail := strings.Contains(command, "-m 2") // curl ends it, and says so
		if err != nil && !tail || !strings.Contains(string(got), `"id":"`) && !strings.Contains(string(got), "alice  mail.view") {
			t.Errorf("%s\n%v: %s%s", command, err, got, &stderr)
		}
	}
	serve.Process.Signal(os.Interrupt)
	if err := serve.Wait(); err != nil {
		t.Errorf("serve ended with %v", err)
	}
}
