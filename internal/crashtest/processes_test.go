package crashtest

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/google/go-cmp/cmp"
)

// TestTwoProcessesTakeTurns has two programs on one log; each sees what the
// other appended.
func TestTwoProcessesTakeTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	seedLog(t, path, 1)
	a, b := startAppend(t, path), startAppend(t, path)
	source := newEvents(1, "turns")
	for i := uint64(1); i < 101; i += 2 {
		for k, w := range []*writer{a, b} {
			e := source.event()
			got := w.append(t, e)
			if got.Index != i+uint64(k) || got.ID != e.id {
				t.Fatalf("receipt %+v; want index %d, id %s", got, i+uint64(k), e.id)
			}
			other := []*writer{b, a}[k]
			if diff := cmp.Diff(got, other.append(t, e)); diff != "" {
				t.Fatalf("the other process's receipt for the same event (-want +got):\n%s", diff)
			}
		}
	}
	a.end(t)
	b.end(t)
	if n := len(entries(t, path)); n != 101 {
		t.Errorf("the log holds %d entries, want 101", n)
	}
	if r := runLog(t, path, "", "verify", "--index"); r.code != 0 {
		t.Errorf("verify --index: %v", r)
	}
}

// TestIndexCatchesUpWhoeverDies kills either of two processes; the other one
// indexes what the dead one appended.
func TestIndexCatchesUpWhoeverDies(t *testing.T) {
	for name, victim := range map[string]int{"the first dies": 0, "the second dies": 1} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.db")
			seedLog(t, path, 1)
			pair := []*writer{startAppend(t, path), startAppend(t, path)}
			source := newEvents(2, "pair")
			for range 20 {
				pair[0].append(t, source.event())
				pair[1].append(t, source.event())
			}
			pair[victim].append(t, source.event())
			pair[victim].kill(t)
			survivor := pair[1-victim]
			waitIndexed(t, path, 42)
			survivor.append(t, source.event())
			waitIndexed(t, path, 43)
			survivor.end(t)
			if r := runLog(t, path, "", "verify", "--index"); r.code != 0 {
				t.Errorf("verify --index: %v", r)
			}
		})
	}
}

// waitIndexed waits until the log has size entries and the index has all of them.
func waitIndexed(t *testing.T, path string, size uint64) {
	t.Helper()
	log := openReading(t, path)
	defer log.Close(t.Context())
	testwait.Until(t, fmt.Sprintf("an index of all %d entries", size), func() bool {
		s := testlog.Stats(t, log)
		return s.Size == size && s.Store.IndexLag == 0
	})
}

// seedLog appends n events, in transactions of up to 10,000.
func seedLog(t *testing.T, path string, n int) []event {
	t.Helper()
	events := newEvents(0, "seed").events(n)
	r := runLog(t, path, lines(events), "append", "--batch", "10000")
	if r.code != 0 {
		t.Fatalf("append: %v", r)
	}
	return events
}

// TestAppendEndsWhileTheIndexIsBehind has one event to append and an index
// that was deleted, which takes longer to fill.
func TestAppendEndsWhileTheIndexIsBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	source := newEvents(3, "small")
	var events []event
	for range 50_000 {
		id := source.id()
		events = append(events, event{id, `{"id":"` + id + `","action":"a","actor":{"id":"b"}}`})
	}
	if r := runLog(t, path, lines(events), "append", "--batch", "10000"); r.code != 0 {
		t.Fatalf("append: %v", r)
	}
	removeFiles(t, path+".index*")
	if r := runLog(t, path, source.event().line+"\n", "append"); r.code != 0 {
		t.Errorf("append: %v", r)
	}
	if r := runLog(t, path, "", "verify", "--index"); r.code != 0 {
		t.Errorf("verify --index: %v", r)
	}
}
