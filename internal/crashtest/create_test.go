package crashtest

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestKilledBeforeTheFirstCheckpoint kills the program when it has given the
// first receipt of a new log.
func TestKilledBeforeTheFirstCheckpoint(t *testing.T) {
	log := &ledger{path: filepath.Join(t.TempDir(), "a.db"), events: newEvents(5, "first").events(2)}
	w := startAppend(t, log.path)
	log.acked = append(log.acked, w.append(t, log.events[0]))
	w.kill(t)
	log.recover(t, 2)
}

// TestSecondProcessBeforeTheFirstCheckpoint opens a new log again as soon as
// its first receipt was given.
func TestSecondProcessBeforeTheFirstCheckpoint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	source := newEvents(6, "first")
	a := startAppend(t, path)
	a.append(t, source.event())
	b := startAppend(t, path)
	if got := b.append(t, source.event()); got.Index != 1 {
		t.Errorf("the second process's receipt is %+v, want index 1", got)
	}
	a.end(t)
	b.end(t)
}

// TestManyProcessesCreateOneLog has programs start at the same time where
// there is no log yet.
func TestManyProcessesCreateOneLog(t *testing.T) {
	for i := range 10 {
		path := filepath.Join(t.TempDir(), "a.db")
		var wg sync.WaitGroup
		for k := range 4 {
			wg.Go(func() {
				e := newEvents(uint64(k), fmt.Sprint("creator-", k)).event()
				r := runLog(t, path, e.line+"\n", "append")
				if r.code != 0 || len(parseReceipts(t, r.stdout)) != 1 || r.stderr != "" {
					t.Errorf("log %d, process %d: %v", i, k, r)
				}
			})
		}
		wg.Wait()
		if n := len(entries(t, path)); n != 4 {
			t.Errorf("log %d holds %d entries, want 4", i, n)
		}
		if t.Failed() {
			return
		}
	}
}

// TestFileThatIsNoLog expects an error, whatever the file is.
func TestFileThatIsNoLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	if err := os.WriteFile(path, []byte("not a database, and longer than a header of one would be"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"append", "verify"} {
		if r := runLog(t, path, newEvents(7, "foreign").event().line, command); r.code != 2 {
			t.Errorf("%s: %v; want exit 2", command, r)
		}
	}
}
