package storetest

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/spool"
)

func aFullSpoolHoldsCallersBack(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{})}
	box := openSpool(t, filepath.Join(t.TempDir(), "audit.spool"), spool.Config{MaxBytes: 20_000})
	l := openLog(t, s, attestlog.Config{Spool: box, QueueEvents: 50})
	s.down.Store(true)
	accepted := 0
	for ; ; accepted++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := l.Record(ctx, event(accepted))
		cancel()
		if err != nil {
			if !errors.Is(err, attestlog.ErrQueueFull) || !errors.Is(err, attestlog.ErrSpoolFull) {
				t.Fatalf("Record with a full spool and a full queue = %v, want ErrQueueFull and ErrSpoolFull", err)
			}
			break
		}
	}
	if st := stats(t, l); st.SpoolFull == 0 || st.QueueEvents != 50 || int(st.Spooled)+50 != accepted {
		t.Errorf("Stats = %+v; want the spool full, 50 events queued, and the other %d spooled", st, accepted-50)
	}
	s.down.Store(false)
	until(t, "the queue is empty", func() bool { return stats(t, l).QueueEvents == 0 })
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, 0, accepted)
}

func closeEmptiesAFullSpool(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{})}
	path := filepath.Join(t.TempDir(), "audit.spool")
	l := openLog(t, s, attestlog.Config{Spool: openSpool(t, path, spool.Config{MaxBytes: 5_000}), QueueEvents: 40})
	s.down.Store(true)
	accepted := 0
	for ; ; accepted++ {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		err := l.Record(ctx, event(accepted))
		cancel()
		if err != nil {
			break
		}
	}
	if err := l.Ready(t.Context()); err == nil {
		t.Error("Ready while spool and queue are full = nil")
	}
	s.down.Store(false)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Fatalf("Close with a full spool and a store that is back = %v", err)
	}
	l = openLog(t, openStore(t, o, Options{}), attestlog.Config{Spool: openSpool(t, path, spool.Config{})})
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, 0, accepted)
}

// broken is a spool on a disk that cannot be written.
type broken struct{ *spool.Spool }

func (broken) Put(context.Context, []attestlog.Prepared) (int, error) {
	return 0, errors.New("input/output error")
}

func aBrokenSpoolHoldsNothingUp(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{})}
	l := openLog(t, s, attestlog.Config{Spool: broken{openSpool(t, filepath.Join(t.TempDir(), "audit.spool"), spool.Config{})}})
	s.down.Store(true)
	for n := range 10 {
		if err := l.Record(t.Context(), event(n)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the spool was tried", func() bool { return stats(t, l).SpoolFull > 0 })
	s.down.Store(false)
	for n := 10; n < 20; n++ {
		if err := l.Record(t.Context(), event(n)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all are in the log", func() bool { return stats(t, l).Size == 20 })
	holdsInOrder(t, l, 0, 20)
	if err := l.Ready(t.Context()); err != nil {
		t.Errorf("Ready afterwards = %v", err)
	}
}

func aStoreThatHangsHoldsNoRecordInMemory(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{})}
	g := &gate{Store: s, open: make(chan struct{})}
	path := filepath.Join(t.TempDir(), "audit.spool")
	box := openSpool(t, path, spool.Config{})
	if err := box.Record(t.Context(), event(0)); err != nil { // left by another process
		t.Fatal(err)
	}
	l := openLog(t, g, attestlog.Config{Spool: box})
	until(t, "the store hangs over the first", func() bool { return g.waiting.Load() > 0 })
	for n := 1; n < 100; n++ {
		if err := l.Record(t.Context(), event(n)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the others are in the spool", func() bool { return stats(t, l).Spooled == 99 })
	if err := l.Ready(t.Context()); !errors.Is(err, attestlog.ErrUnavailable) {
		t.Errorf("Ready while events wait = %v, want ErrUnavailable", err)
	}
	close(g.open)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, 0, 100)
}

func aConflictLeavesTheLogReady(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{})}
	l := openLog(t, s, attestlog.Config{})
	mustAppend(t, l, event(0))
	s.down.Store(true)
	other := event(0)
	other.Message = "other content"
	if err := l.Record(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	until(t, "the record waits", func() bool { return errors.Is(l.Ready(t.Context()), attestlog.ErrUnavailable) })
	s.down.Store(false)
	until(t, "the record was refused", func() bool { return stats(t, l).Failed == 1 })
	until(t, "the log is ready", func() bool { return l.Ready(t.Context()) == nil })
}

// aStoreThatHangsSendsRecordsToTheSpool has the spool empty when the store
// begins to hang.
func aStoreThatHangsSendsRecordsToTheSpool(t *testing.T, o Opener) {
	g := &gate{Store: openStore(t, o, Options{}), open: make(chan struct{})}
	l := openLog(t, g, attestlog.Config{Spool: openSpool(t, filepath.Join(t.TempDir(), "audit.spool"), spool.Config{})})
	for n := range 50 {
		if err := l.Record(t.Context(), event(n)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all are in the spool", func() bool { return stats(t, l).Spooled == 50 })
	close(g.open)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, 0, 50)
}
