package main

import (
	"bufio"
	"bytes"
	"errors"
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
		command = strings.Replace(command, "curl ", "exec curl -sSf ", 1)
		command, tail := cutTail(command)
		sh := exec.CommandContext(ctx, "sh", "-c", command)
		sh.Dir = dir
		sh.Env = append(os.Environ(), "TOKEN="+token, "PATH="+dir+":"+os.Getenv("PATH"))
		got, err := outputUntil(sh, tail, func(text string) bool {
			return strings.Contains(text, `"id":"`) || strings.Contains(text, "alice  mail.view")
		})
		if err != nil {
			t.Errorf("%s\n%v: %s", command, err, got)
		}
	}
	serve.Process.Signal(os.Interrupt)
	if err := serve.Wait(); err != nil {
		t.Errorf("serve ended with %v", err)
	}
}

// cutTail takes the limit of two seconds out of a command that tails the log:
// the test ends that command as soon as it has printed an entry.
func cutTail(command string) (without string, tail bool) {
	without = strings.Replace(command, "-m 2 ", "", 1)
	return without, without != command
}

// outputUntil runs a command, which must print what is wanted, to its end, or if
// it is endless until it has printed that. It returns what was printed.
func outputUntil(cmd *exec.Cmd, endless bool, wanted func(string) bool) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}

	var text strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if endless && wanted(text.String()) {
			cmd.Process.Kill()
		}
	}
	err = cmd.Wait()
	printed := text.String() + stderr.String()
	if !wanted(text.String()) {
		return printed, errors.New("it did not print an entry")
	}
	if endless {
		err = nil // the kill
	}
	return printed, err
}
