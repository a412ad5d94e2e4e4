package crashtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/attestlog/attestlog/internal/testwait"
)

// A writer is a process that appends what it is fed, line by line, and prints
// receipts.
type writer struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr bytes.Buffer
}

func startWriter(t *testing.T, cmd *exec.Cmd) *writer {
	t.Helper()
	w := &writer{cmd: cmd}
	cmd.Stderr = &w.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.stdin, w.stdout = in, bufio.NewReader(out)
	hang := time.AfterFunc(testwait.Patience(), func() { cmd.Process.Kill() })
	t.Cleanup(func() { // which does nothing to a process that has ended
		hang.Stop()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return w
}

// startAppend starts the program on the log at path.
func startAppend(t *testing.T, path string) *writer {
	t.Helper()
	return startWriter(t, exec.Command(program, "--log", "sqlite:"+path, "append"))
}

// startFollower starts this test's own program, see follow.
func startFollower(t *testing.T, path string) *writer {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), followEnv+"="+path)
	return startWriter(t, cmd)
}

// append feeds the writer one event and returns its receipt.
func (w *writer) append(t *testing.T, e event) receipt {
	t.Helper()
	if _, err := io.WriteString(w.stdin, e.line+"\n"); err != nil {
		t.Fatalf("%v, stderr %q", err, w.stderr.String())
	}
	line, err := w.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("%v has no receipt: %v, stderr %q", w.cmd, err, w.stderr.String())
	}
	return parseReceipts(t, line)[0]
}

// kill kills the writer at once.
func (w *writer) kill(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	w.cmd.Wait() // reports the kill
}

// end closes the writer's input and waits for it to exit without an error.
func (w *writer) end(t *testing.T) {
	t.Helper()
	w.stdin.Close()
	rest, err := io.ReadAll(w.stdout)
	if waitErr := w.cmd.Wait(); err != nil || waitErr != nil || len(rest) > 0 {
		t.Fatalf("%v: %v, stdout %q, stderr %q", w.cmd, errors.Join(err, waitErr), rest, w.stderr.String())
	}
}

// A moment is when a writer is killed: after some receipts, after some time,
// or if both are zero not at all.
type moment struct {
	receipts int
	time     time.Duration
}

func (m moment) never() bool { return m == moment{} }

func (m moment) String() string {
	switch {
	case m.never():
		return "is not killed"
	case m.receipts > 0:
		return fmt.Sprintf("is killed after %d receipts", m.receipts)
	}
	return fmt.Sprintf("is killed after %v", m.time)
}

// feed writes events in bursts of up to most and returns the receipts that the
// writer printed before it was killed or ended.
func (w *writer) feed(events []event, most int, m moment) (out string, err error) {
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		defer w.stdin.Close()
		for len(events) > 0 {
			n := min(1+len(events)%most, len(events))
			if _, err := io.WriteString(w.stdin, lines(events[:n])); err != nil {
				return // it was killed, which Wait reports
			}
			events = events[n:]
		}
	}()
	if m.time > 0 {
		timer := time.AfterFunc(m.time, func() { w.cmd.Process.Kill() })
		defer timer.Stop()
	}
	var b strings.Builder
	for n := 1; ; n++ {
		line, err := w.stdout.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			break
		}
		if n == m.receipts {
			w.cmd.Process.Kill() // what it printed meanwhile counts too
		}
	}
	err = w.cmd.Wait()
	<-fed
	return b.String(), err
}
