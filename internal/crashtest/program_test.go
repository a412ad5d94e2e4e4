package crashtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/attestlog/attestlog/internal/testwait"
)

// TestMain builds programs, and these are their paths: the attestlog program, the
// same with known names of temporary files, and the test's own with known names.
var program, knownProgram, knownWriter string

func TestMain(m *testing.M) {
	if path := os.Getenv(followEnv); path != "" {
		if err := follow(path, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		os.Exit(0)
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "crashtest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer os.RemoveAll(dir)
	if err := buildAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return m.Run()
}

// buildAll builds the programs into a folder. They are without -race even in a
// race run: SQLite is 20 times slower under it.
func buildAll(dir string) error {
	overlay, err := knownNames(dir)
	if err != nil {
		return err
	}

	program = filepath.Join(dir, "attestlog")
	knownProgram = filepath.Join(dir, "attestlog-known")
	knownWriter = filepath.Join(dir, "writer-known")
	const pkg = "github.com/attestlog/attestlog/cmd/attestlog"
	for _, args := range [][]string{
		{"build", "-race=false", "-o", program, pkg},
		{"build", "-race=false", "-o", knownProgram, "-overlay", overlay, pkg},
		{"test", "-race=false", "-c", "-o", knownWriter, "-overlay", overlay, "."},
	} {
		build := exec.Command("go", args...)
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", build, err, out)
		}
	}
	return nil
}

// known is what a temporary file of a program with known names has after the name
// of the file that it is to replace.
const known = ".aaaaaaaaaaaaaaaa.new"

// knownNames makes an overlay for go build, which puts this in the place of the
// random part of such a name.
func knownNames(dir string) (overlay string, err error) {
	const source = `package durable

func random() string { return "aaaaaaaaaaaaaaaa" }
`
	original, err := filepath.Abs("../durable/random.go")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(original); err != nil { // else the overlay would be without effect
		return "", err
	}

	replacement := filepath.Join(dir, "random.go")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{original: replacement}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	err = errors.Join(os.WriteFile(replacement, []byte(source), 0o600), os.WriteFile(overlay, text, 0o600))
	return overlay, err
}

// rounds returns how many rounds to run, and whether that is a soak.
func rounds(t *testing.T) (n int, soak bool) {
	t.Helper()
	text := os.Getenv("ATTESTLOG_ROUNDS")
	if text == "" {
		return 12, false
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("ATTESTLOG_ROUNDS: %v", err)
	}
	return n, true
}

// seed returns the seed of the test's choices, and prints it.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if text := os.Getenv("ATTESTLOG_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("ATTESTLOG_SEED: %v", err)
		}
	}
	t.Logf("ATTESTLOG_SEED=%d", n)
	return n
}

// A receipt is a line that append prints.
type receipt struct {
	Index      uint64 `json:"index"`
	ID         string `json:"id"`
	LeafHash   string `json:"leaf_hash"`
	LoggedTime string `json:"logged_time"`
}

// parseReceipts reads whole lines. A killed process may leave a part of a line,
// which is not a receipt.
func parseReceipts(t *testing.T, out string) []receipt {
	t.Helper()
	var all []receipt
	for line := range strings.Lines(out) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var r receipt
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("receipt %q: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

// A result is what became of a process.
type result struct {
	code   int // -1: killed
	stdout string
	stderr string
}

func (r result) String() string {
	return fmt.Sprintf("exit %d, stdout %q, stderr %q", r.code, clip(r.stdout), clip(r.stderr))
}

func clip(s string) string {
	const most = 2000
	if len(s) > most {
		return s[:most/2] + " … " + s[len(s)-most/2:]
	}
	return s
}

// runLog runs the program on the log at path to its end.
func runLog(t *testing.T, path, stdin string, args ...string) result {
	t.Helper()
	return run(t, stdin, program, append([]string{"--log", "sqlite:" + path}, args...)...)
}

func run(t *testing.T, stdin, name string, args ...string) result {
	t.Helper()
	var stdout bytes.Buffer
	r := wait(t, exec.Command(name, args...), strings.NewReader(stdin), &stdout)
	r.stdout = stdout.String()
	return r
}

// wait runs cmd to its end.
func wait(t *testing.T, cmd *exec.Cmd, stdin io.Reader, stdout io.Writer) result {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, &stderr
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(testwait.Patience(), func() { endGroup(cmd) })
	cmd.Wait() // the exit code tells
	r := result{code: cmd.ProcessState.ExitCode(), stderr: stderr.String()}
	if !hung.Stop() {
		t.Fatalf("%v has not ended after %v: %v", cmd, testwait.Patience(), r)
	}
	if strings.Contains(r.stderr, "panic: ") {
		t.Errorf("%v panicked: %v", cmd, r)
	}
	return r
}
