package attestlog_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/spool"
	"github.com/attestlog/attestlog/sqlite"
)

// A deadStore takes nothing.
type deadStore struct{ attestlog.Store }

func (deadStore) Write(context.Context, func(attestlog.Tx) error) error {
	return fmt.Errorf("%w: it is down", attestlog.ErrUnavailable)
}

// A fullSpool has no room.
type fullSpool struct{ *spool.Spool }

func (fullSpool) Put(context.Context, []attestlog.Prepared) (int, error) {
	return 0, attestlog.ErrSpoolFull
}

// newStuckLog returns a log with count recorded events that have room neither in
// the store nor in the spool.
func newStuckLog(t *testing.T, count int) *attestlog.Log {
	t.Helper()
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "audit.db"), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	box, err := spool.Open(filepath.Join(dir, "audit.spool"), spool.Config{})
	if err != nil {
		t.Fatal(err)
	}

	// One event waits in the spool already, so that those that follow go there.
	err = box.Record(t.Context(), testlog.Event(count))
	if err != nil {
		t.Fatal(err)
	}
	l := testlog.New(t, deadStore{store}, attestlog.Config{Spool: fullSpool{box}})
	for n := range count {
		err := l.Record(t.Context(), testlog.Event(n))
		if err != nil {
			t.Fatal(err)
		}
	}
	testwait.Until(t, "the spool was tried", func() bool { return testlog.Stats(t, l).SpoolFull > 0 })
	return l
}

func TestFlushSaysThatTheSpoolIsFull(t *testing.T) {
	l := newStuckLog(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := l.Flush(ctx); !errors.Is(err, attestlog.ErrSpoolFull) {
		t.Errorf("Flush with events that have room nowhere = %v, want ErrSpoolFull", err)
	}
	if err := l.Ready(t.Context()); !errors.Is(err, attestlog.ErrUnavailable) {
		t.Errorf("Ready = %v, want ErrUnavailable", err)
	}

	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	l.Close(short)
}

func TestCloseThatGivesUpNamesTheEventsThatAreNowhere(t *testing.T) {
	const count = 3
	l := newStuckLog(t, count)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()

	err := l.Close(ctx)
	if !errors.Is(err, attestlog.ErrClosed) {
		t.Errorf("Close = %v, want ErrClosed for each event", err)
	}
	for n := range count {
		if id := testlog.Event(n).ID; !strings.Contains(fmt.Sprint(err), id) {
			t.Errorf("Close = %v, without the id %s of an event that is nowhere", err, id)
		}
	}
	if id := testlog.Event(count).ID; strings.Contains(fmt.Sprint(err), id) {
		t.Errorf("Close = %v, with the id %s of an event that is in the spool", err, id)
	}

	stats, _ := l.Stats(context.Background()) // of a store that is closed
	if stats.Failed != count {
		t.Errorf("Stats.Failed = %d, want %d", stats.Failed, count)
	}
}
