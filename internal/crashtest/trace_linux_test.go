package crashtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// logFiles are a log's files, as suffixes of the database's path. The folder
// is "/".
var logFiles = []string{
	"", "-wal", "-shm", ".index", ".index-wal", ".index-shm", ".lock",
	".key", ".key" + known, ".pub", ".pub" + known, ".checkpoint", ".checkpoint" + known, ".receipts", "/",
}

func requireStrace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("strace is missing; `make test` installs it, as does `apt-get install strace`")
	}
}

// A trace is what became of a traced append.
type trace struct {
	result
	receipts []receipt
	log      string // strace's
}

// traceAppend appends events in transactions of batch each; see traced.
func traceAppend(t *testing.T, path string, events []event, inject string, suffixes ...string) trace {
	t.Helper()
	input := path + ".events"
	if err := os.WriteFile(input, []byte(lines(events)), 0o600); err != nil {
		t.Fatal(err)
	}
	return traced(t, path, "", inject, suffixes, knownProgram, "--log", "sqlite:"+path, "append", "--batch", fmt.Sprint(batch), input)
}

// traced runs a writer under strace with an injection, which may be empty, in
// system calls on the log's files that suffixes name. Receipts go to a file,
// so that writing them can fail too.
//
// strace counts the calls of each thread by itself, so which call is the N-th
// may vary from run to run; from the first on (when=1+) it does not.
func traced(t *testing.T, path, stdin, inject string, suffixes []string, command ...string) trace {
	t.Helper()
	log := path + ".strace"
	args := []string{"-f", "-y", "-qq", "-o", log, "-e", "signal=none", "-e", "trace=" + strings.Join(calls, ",")}
	for _, suffix := range suffixes {
		file := path + suffix
		if suffix == "/" {
			file = filepath.Dir(path)
		}
		args = append(args, "-P", file)
	}
	if inject != "" {
		args = append(args, "-e", "inject="+inject)
	}
	receipts, err := os.Create(path + ".receipts")
	if err != nil {
		t.Fatal(err)
	}
	defer receipts.Close()
	cmd := exec.Command("strace", append(args, command...)...)
	cmd.Env = append(os.Environ(), followEnv+"="+path)
	r := wait(t, cmd, strings.NewReader(stdin), receipts)
	out, err := os.ReadFile(receipts.Name())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return trace{r, parseReceipts(t, string(out)), string(text)}
}

// injected reports whether the fault happened.
func (tr *trace) injected() bool {
	return strings.Contains(tr.log, "(INJECTED)") || tr.code == -1
}

var callLine = regexp.MustCompile(`(?m)^(\d+) +(\w+)\(`)

// counts returns the most calls of each name that one thread made.
func (tr *trace) counts() map[string]int {
	threads := map[string]int{}
	most := map[string]int{}
	for _, m := range callLine.FindAllStringSubmatch(tr.log, -1) {
		threads[m[1]+m[2]]++
		most[m[2]] = max(most[m[2]], threads[m[1]+m[2]])
	}
	return most
}

// copyLog copies the log's files to a new folder.
func copyLog(t *testing.T, path string) string {
	t.Helper()
	dir := t.TempDir()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	copyFiles(t, dir, files...)
	return filepath.Join(dir, filepath.Base(path))
}

// stored returns how many of events the log holds.
func stored(t *testing.T, path string, events []event) int {
	t.Helper()
	ids := map[string]bool{}
	for _, e := range entries(t, path) {
		ids[e.ID] = true
	}
	n := 0
	for _, e := range events {
		if ids[e.id] {
			n++
		}
	}
	return n
}
