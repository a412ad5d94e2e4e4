package attestlog_test

import (
	"context"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
)

// A slowFollower keeps what it is given in memory, and takes nothing while its
// lock is held.
type slowFollower struct {
	slow sync.Mutex

	mu          sync.Mutex
	size        uint64
	checkpoints []attestlog.Checkpoint
}

func (f *slowFollower) Name() string { return "slow" }

func (f *slowFollower) Position(context.Context) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size, nil
}

func (f *slowFollower) Take(_ context.Context, entries []attestlog.RawEntry) error {
	f.slow.Lock()
	defer f.slow.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size += uint64(len(entries))
	return nil
}

func (f *slowFollower) Checkpoint(_ context.Context, c attestlog.Checkpoint) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.checkpoints); n > 0 && c.Size <= f.checkpoints[n-1].Size {
		return nil
	}
	f.checkpoints = append(f.checkpoints, c)
	return nil
}

func (f *slowFollower) Close() error { return nil }

func (f *slowFollower) given() []attestlog.Checkpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.checkpoints
}

// A copy that lagged while the key was rotated shows those who trust the first key
// that the others are the log's.
func TestAFollowerThatLagsIsGivenTheHandovers(t *testing.T) {
	f := &slowFollower{}
	path := sqlitetest.Path(t)
	log := sqlitetest.LogAt(t, path, attestlog.Config{Followers: []attestlog.Follower{f}})
	testlog.Append(t, log, testlog.Event(0))
	testwait.Until(t, "the follower's first checkpoint", func() bool { return len(f.given()) > 0 })

	f.slow.Lock()
	var announced []uint64 // the indexes of the entries that name a new key
	for n := 1; n <= 2; n++ {
		testlog.Append(t, log, testlog.Event(n))
		announced = append(announced, testlog.Size(t, log))
		if _, err := log.RotateKey(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	testlog.Append(t, log, testlog.Event(3))
	if _, err := log.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	texts, err := log.Reader().Home().VerifierKeys()
	if err != nil || len(texts) != 3 {
		t.Fatalf("%d keys, %v", len(texts), err)
	}
	f.slow.Unlock()
	testlog.Close(t, log)

	given := f.given()
	if last := given[len(given)-1]; last.Size != f.size {
		t.Errorf("the last checkpoint is over %d entries, want %d", last.Size, f.size)
	}
	for i, index := range announced {
		key, err := note.NewVerifier(texts[i])
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, c := range given {
			_, err := attestlog.VerifyCheckpoint(c.Note, key)
			found = found || err == nil && c.Size > index
		}
		if !found {
			t.Errorf("no checkpoint by key %d covers entry %d, which names the next", i, index)
		}
	}
}
