package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	driver "zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
)

// A database that is put back under a running log is not extended, and so the
// checkpoint that tells of the lost entries stays.
func TestRollbackUnderARunningLogIsNotExtended(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	path, old := filepath.Join(dir, "log.db"), filepath.Join(dir, "old.db")
	s := sqlitetest.Store(t, path, sqlite.Config{})
	l := testlog.New(t, s, attestlog.Config{})
	appendMany := func(n int) error {
		for i := range n {
			if _, err := l.Append(ctx, tamperEvent(i)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := appendMany(100); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(ctx, old); err != nil {
		t.Fatal(err)
	}
	fresh := func(n int) (out []attestlog.Event) {
		for range n {
			out = append(out, attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "y"}})
		}
		return out
	}
	if _, err := l.Append(ctx, fresh(200)...); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Publish(ctx); err != nil {
		t.Fatal(err)
	}
	putBack(t, path, old)
	for range 3 { // also not once the first refusal has been forgotten
		var corrupt *attestlog.CorruptError
		if _, err := l.Append(ctx, fresh(500)...); !errors.As(err, &corrupt) {
			t.Errorf("Append after a rollback = %v, want a *CorruptError", err)
		}
	}
	var corrupt *attestlog.CorruptError
	if _, err := verify.Log(ctx, l, verify.Options{}); !errors.As(err, &corrupt) || corrupt.Index != 100 {
		t.Errorf("Verify after a rollback = %v, want a *CorruptError at entry 100", err)
	}
	l.Close(ctx)
}

// putBack copies an older database over a live one, as SQLite's shell does.
func putBack(t *testing.T, path, old string) {
	t.Helper()
	dst, err := driver.OpenConn(path, driver.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	src, err := driver.OpenConn(old, driver.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	b, err := driver.NewBackup(dst, "main", src, "main")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if more, err := b.Step(-1); err != nil || more {
		t.Fatalf("restore: more %t, %v", more, err)
	}
}

// A loop over entries may use the log, close it, or panic.
func TestLoopsOverEntriesHoldNothing(t *testing.T) {
	ctx := testwait.Context(t)
	s := sqlitetest.Store(t, sqlitetest.Path(t), sqlite.Config{Readers: 1})
	l := testlog.New(t, s, attestlog.Config{})
	for i := range 300 {
		if _, err := l.Append(ctx, tamperEvent(i)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for e, err := range l.Entries(ctx, query.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if got, err := l.Entry(ctx, e.Index); err != nil || got.ID != e.ID {
			t.Fatalf("Entry(%d) within a loop = %v, %v", e.Index, got.ID, err)
		}
		n++
	}
	if n != 300 {
		t.Errorf("the loop saw %d entries, want 300", n)
	}
	func() {
		defer func() { recover() }()
		for range l.Entries(ctx, query.Query{}) {
			panic("a caller's")
		}
	}()
	if _, err := l.Entry(ctx, 0); err != nil {
		t.Errorf("Entry after a loop that panicked: %v", err)
	}
	for range l.Entries(ctx, query.Query{}) {
		if err := l.Close(ctx); err != nil {
			t.Errorf("Close within a loop: %v", err)
		}
		break
	}
}

// Many ids that are taken cost one transaction more, not one each.
func TestManyConflictsAreRefusedTogether(t *testing.T) {
	ctx := t.Context()
	l := sqlitetest.Log(t, attestlog.Config{})
	const n = 2000
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	events := make([]attestlog.Event, n)
	for i := range events {
		events[i] = attestlog.Event{ID: "taken-" + string(rune('a'+i%26)) + at.Add(time.Duration(i)).Format("150405.000000000"), Time: at, Action: "x", Actor: attestlog.Actor{ID: "first"}}
	}
	if _, err := l.Append(ctx, events...); err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		e.Actor.ID = "second"
		if err := l.Record(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(ctx); !errors.Is(err, attestlog.ErrConflict) {
		t.Errorf("Flush = %v, want ErrConflict", err)
	}
	if err := l.Record(ctx, attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "third"}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(ctx); err != nil {
		t.Errorf("Flush after a good record = %v", err)
	}
	st, err := l.Stats(ctx)
	if err != nil || st.Size != n+1 || st.Failed != n {
		t.Errorf("%d entries and %d failures (%v), want %d and %d", st.Size, st.Failed, err, n+1, n)
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// A query that meets an index which another process has emptied says so: it
// does not end as if there were no more entries.
func TestQueryUnderAnEmptiedIndexDoesNotEndEarly(t *testing.T) {
	ctx := t.Context()
	path := sqlitetest.Path(t)
	l := sqlitetest.LogAt(t, path, attestlog.Config{})
	const n = 2000
	events := make([]attestlog.Event, n)
	for i := range events {
		events[i] = attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "y"}}
	}
	if _, err := l.Append(ctx, events...); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for _, q := range []query.Query{
		query.Field("actor", "y"),
		query.Field("actor", "y").OrderBy(query.ByTime),
	} {
		emptied := sqlitetest.Path(t)
		for _, suffix := range []string{"", ".index", ".pub", ".checkpoint"} {
			copyFile(t, path+suffix, emptied+suffix)
		}
		l := sqlitetest.LogAt(t, emptied, attestlog.Config{ReadOnly: true})
		seen := 0
		var ended error
		for _, err := range l.Entries(ctx, q) {
			if ended = err; err != nil {
				break
			}
			if seen++; seen == 1 {
				if err := tamper(emptied+".index", "DELETE FROM runs; DELETE FROM segments"); err != nil {
					t.Fatal(err)
				}
			}
		}
		if seen < n && !errors.Is(ended, attestlog.ErrUnavailable) {
			t.Errorf("%s: %d of %d entries, then %v; want all or ErrUnavailable", q, seen, n, ended)
		}
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

// Closing empties the write-ahead log, also after an abandoned transaction.
func TestCloseLeavesNoWriteAheadLog(t *testing.T) {
	path := sqlitetest.Path(t)
	s, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), func(tx attestlog.Tx) error { return tx.PutCheckpoint(1, time.Now(), []byte("x")) }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = s.Write(ctx, func(attestlog.Tx) error {
		cancel()
		time.Sleep(10 * time.Millisecond) // so that SQLite is interrupted too
		return ctx.Err()
	})
	if err == nil {
		t.Fatal("a transaction whose context ended was committed")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path + "-wal"); err == nil {
		t.Errorf("a write-ahead log of %d bytes is left", info.Size())
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, content)
}
