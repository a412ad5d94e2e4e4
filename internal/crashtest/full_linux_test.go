package crashtest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
)

// mountSmall mounts a file system of some size, and returns its folder and
// what makes it larger.
func mountSmall(t *testing.T, size string) (dir string, grow func(size string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir, func(size string) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskFull fills the log's disk up with the program, twice, and then
// makes room.
func TestDiskFull(t *testing.T) {
	dir, grow := mountSmall(t, "4m")
	log := &ledger{path: filepath.Join(dir, "a.db")}
	log.events = seedLog(t, log.path, 100)
	log.acked = entries(t, log.path)
	more := newEvents(8, "full").events(10_000)
	for try := range 2 {
		r := runLog(t, log.path, lines(more), "append", "--batch", "20")
		receipts := parseReceipts(t, r.stdout)
		if r.code != 2 || len(receipts) == len(more) {
			t.Fatalf("try %d: append to a full disk gave %d receipts: %v; want an error", try, len(receipts), r)
		}
		t.Logf("try %d: %d receipts, %s", try, len(receipts), clip(r.stderr))
		log.acked = append(log.acked, receipts...)
		wantReceipts(t, log.path, log.acked)
		if r := runLog(t, log.path, "", "verify"); r.code != 0 {
			t.Errorf("try %d: verify on a full disk: %v", try, r)
		}
	}
	grow("64m")
	log.events = append(log.events, more...)
	log.recover(t, len(more))
}

// TestDiskFullWhileOpen fills the disk up under one open log, which carries on
// when there is room again. A recorded event waits for that.
func TestDiskFullWhileOpen(t *testing.T) {
	dir, grow := mountSmall(t, "4m")
	path := filepath.Join(dir, "a.db")
	log := sqlitetest.LogAt(t, path, attestlog.Config{})
	source := newEvents(9, "open")
	next := func() attestlog.Event {
		e, err := attestlog.ParseEvent([]byte(source.event().line))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	var acked []receipt
	var failed attestlog.Event
	for {
		failed = next()
		receipts, err := log.Append(t.Context(), failed)
		if err != nil {
			if !errors.Is(err, attestlog.ErrUnavailable) {
				t.Errorf("Append = %v, want ErrUnavailable", err)
			}
			break
		}
		r := receipts[0]
		acked = append(acked, receipt{r.Index, r.ID, r.LeafHash.String(), r.LoggedTime.Format(timeFormat)})
	}
	recorded := next()
	recorded.Attributes = map[string]any{"large": string(make([]byte, 10_000))} // does not fit what is left
	if err := log.Record(t.Context(), recorded); err != nil {
		t.Errorf("Record = %v", err)
	}
	grow("64m")
	if err := log.Flush(t.Context()); err != nil {
		t.Errorf("Flush = %v", err)
	}
	if _, err := log.Append(t.Context(), failed, recorded, next()); err != nil {
		t.Errorf("Append = %v", err)
	}
	if err := log.Close(t.Context()); err != nil {
		t.Errorf("Close = %v", err)
	}
	wantReceipts(t, path, acked)
	if got, want := len(entries(t, path)), len(acked)+3; got != want {
		t.Errorf("the log holds %d entries, want %d", got, want)
	}
	if r := runLog(t, path, "", "verify", "--index"); r.code != 0 {
		t.Errorf("verify: %v", r)
	}
}
