package postgres_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/postgres"
)

// The disk is full: Append says so, what was acknowledged is there, what was
// recorded is kept, and the log goes on once there is room again.
func TestAFullDiskLosesNothing(t *testing.T) {
	t.Parallel()
	t.Run("of the tables", func(t *testing.T) {
		t.Parallel()
		c := durable(t)
		path, err := c.Mount("small", 48<<20)
		skipWithoutMounts(t, err)
		conn := admin(t, c.DSN("postgres"))
		execute(t, conn, "CREATE TABLESPACE small LOCATION '"+path+"'")
		execute(t, conn, "CREATE DATABASE small TABLESPACE small")
		fillDisk(t, c, "small", path, 8<<20)
	})
	t.Run("of the whole cluster", func(t *testing.T) {
		t.Parallel()
		c, err := pgtest.StartSmall(176<<20, "max_wal_size=48MB", "min_wal_size=32MB", "shared_buffers=16MB")
		skipWithoutMounts(t, err)
		t.Cleanup(c.Remove)
		fillDisk(t, c, "postgres", filepath.Join(c.Dir, "data"), 40<<20) // two segments of WAL, and more
	})
}

func skipWithoutMounts(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, pgtest.ErrMount) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fillDisk appends to a log in a database on the disk at path until that is
// full. There are so many bytes of another file, which is deleted then.
func fillDisk(t *testing.T, c *pgtest.Cluster, database, path string, ballast int) {
	other := filepath.Join(path, "ballast")
	if err := os.WriteFile(other, make([]byte, ballast), 0o600); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(t.TempDir(), "home")
	l := openWith(t, c.DSN(database), postgres.Config{Home: home, Retry: 500 * time.Millisecond}, attestlog.Config{})
	var g ledger
	var failed *attestlog.AppendError
	const call = 500
	for failed == nil {
		first := int(g.next.Add(call)) - call
		got, err := l.Append(t.Context(), testEvents(first, first+call)...)
		g.note(got)
		if err != nil && (!errors.Is(err, attestlog.ErrUnavailable) || !errors.As(err, &failed) || len(failed.IDs) != call) {
			t.Fatalf("Append to a full disk = %v, want an *AppendError of ErrUnavailable with %d ids", err, call)
		}
		if first > 1_000_000 {
			t.Fatal("the disk does not get full")
		}
	}
	t.Logf("full behind %d events: %v", g.len(), failed.Err)
	if err := l.Record(t.Context(), testEvent(1<<30)); err != nil {
		t.Errorf("Record = %v, want it queued", err)
	}

	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if !answers(c) { // it ended itself, having no room for its log
		c.Kill()
		if err := c.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	first := int(g.next.Load()) - call
	until(t, "an Append that succeeds", 10*time.Second, func() bool {
		got, err := l.Append(t.Context(), testEvents(first, first+call)...)
		g.note(got)
		return err == nil
	})
	if err := flushed(l); err != nil {
		t.Errorf("Flush = %v", err)
	}
	e, err := l.EntryByID(t.Context(), testEvent(1<<30).ID)
	if err != nil {
		t.Fatalf("the event that was recorded meanwhile: %v", err)
	}
	g.note([]attestlog.Receipt{{Index: e.Index, ID: e.ID, LeafHash: attestlog.LeafHash(e.Leaf), LoggedTime: e.LoggedTime}})
	closeLog(t, l)
	g.checkVerified(t, c.DSN(database), home)
}

// answers reports whether the server takes connections, within a few seconds.
func answers(c *pgtest.Cluster) bool {
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		conn, err := pgx.Connect(ctx, c.DSN("postgres"))
		cancel()
		if err == nil {
			conn.Close(context.Background())
			return true
		}
	}
	return false
}
