package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestQueryArgs(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"query -outcome:failure", "query|NOT outcome:failure"},
		{"tail -f -n5 -ofile -o:x", "tail|-f|-n5|-ofile|NOT o:x"},
		{"query -- -outcome:failure", "query|--|-outcome:failure"},
		{"append -x:y", "append|-x:y"},
		{"--log query show -x:y", "--log|query|show|-x:y"},
		{"--config flags.json --log sqlite:x query -x:y", "--config|flags.json|--log|sqlite:x|query|NOT x:y"},
		{"--log=sqlite:x export --query -x:y", "--log=sqlite:x|export|--query|NOT x:y"},
	} {
		args := strings.Fields(c.args)
		got := queryArgs(slices.Clone(args))
		if strings.Join(got, "|") != c.want {
			t.Errorf("queryArgs(%q) = %q, want %s", args, got, c.want)
		}
	}
}

func TestVersionFlag(t *testing.T) {
	var out bytes.Buffer
	code := run(t.Context(), []string{"--version"}, nil, &out, io.Discard)
	if code != exitYes || out.String() != version()+"\n" {
		t.Errorf("attestlog --version = %d, %q, want 0 and %q", code, &out, version())
	}
}

func TestATokenInTheURLIsNotShown(t *testing.T) {
	t.Setenv(tokenVariable, "")
	var said bytes.Buffer
	code := run(t.Context(), []string{"--log", "https://u:hunter2@localhost/log", "query"}, nil, io.Discard, &said)
	if code != exitError || strings.Contains(said.String(), "hunter2") || !strings.Contains(said.String(), "holds a password") {
		t.Errorf("a URL with a password = %d, %q", code, &said)
	}
}

// closedPipe returns the end to write to of a pipe that nobody reads.
func closedPipe(t *testing.T) *os.File {
	t.Helper()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	t.Cleanup(func() { out.Close() })
	return out
}

func TestOnlyAReaderThatHasGoneIsNoError(t *testing.T) {
	a := &app{ctx: t.Context(), stdout: closedPipe(t), stderr: io.Discard}
	_, left := fmt.Fprintln(a.stdout, "entry")
	if !errors.Is(left, syscall.EPIPE) {
		t.Fatalf("writing to a closed pipe = %v", left)
	}
	connection := &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}
	_, other := closedPipe(t).WriteString("x")
	other.(*os.PathError).Path = "another"

	for _, c := range []struct {
		err  error
		code int
	}{
		{left, exitYes},
		{errors.Join(left, left, errors.New("and the log cannot be closed")), exitYes},
		{errors.Join(errors.New("the log was tampered with"), left), exitError},
		{fmt.Errorf("the log is not available: %w", connection), exitError},
		{other, exitError},
	} {
		if code := a.report(c.err); code != c.code {
			t.Errorf("report(%q) = %d, want %d", c.err, code, c.code)
		}
	}
}

// A program that reads receipts and goes away leaves events that are not stored.
func TestReceiptsThatNobodyReadsAreAnError(t *testing.T) {
	log := "sqlite:" + filepath.Join(t.TempDir(), "audit.db")
	line := `{"action":"mail.view","actor":{"id":"alice"}}` + "\n"
	code := run(t.Context(), []string{"--log", log, "append", "--batch", "1"},
		strings.NewReader(line+line), closedPipe(t), io.Discard)
	if code != exitError {
		t.Errorf("append to a closed pipe = %d, want %d", code, exitError)
	}

	code = run(t.Context(), []string{"--log", log, "query"}, nil, closedPipe(t), io.Discard)
	if code != exitYes {
		t.Errorf("query to a closed pipe = %d, want %d", code, exitYes)
	}
}
