package postgres_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/postgres"
)

// The disk is full: Append says so, what was acknowledged is there, what was
// recorded is kept, and the log goes on once there is room again.
func TestAFullDiskLosesNothing(t *testing.T) {
	t.Parallel()
	t.Run("of the tables", func(t *testing.T) {
		t.Parallel()
		c := pgtest.New(t)
		path := c.Mount(t, "small", 48<<20)
		conn := admin(t, c.DSN("postgres"))
		execute(t, conn, "CREATE TABLESPACE small LOCATION '"+path+"'")
		execute(t, conn, "CREATE DATABASE small TABLESPACE small")
		fillDisk(t, c, "small", path, 8<<20)
	})
	t.Run("of the whole cluster", func(t *testing.T) {
		t.Parallel()
		c := pgtest.NewSmall(t, 176<<20, "max_wal_size=48MB", "min_wal_size=32MB", "shared_buffers=16MB")
		fillDisk(t, c, "postgres", filepath.Join(c.Dir, "data"), 40<<20) // two segments of WAL, and more
	})
}

// largeEvents are events that take much room on a disk, and little work.
func largeEvents(from, to int) []attestlog.Event {
	events := testlog.Events(from, to)
	noise := rand.NewChaCha8([32]byte{})
	for i := range events {
		events[i].Original = make([]byte, 4<<10)
		noise.Read(events[i].Original)
	}
	return events
}

// fillDisk appends to a log in a database on the disk at path until the disk is
// full. On it there is also another file of so many bytes, which is deleted
// then.
func fillDisk(t *testing.T, c *pgtest.Cluster, database, path string, ballast int) {
	other := filepath.Join(path, "ballast")
	if err := os.WriteFile(other, make([]byte, ballast), 0o600); err != nil {
		t.Fatal(err)
	}

	home := newHome(t)
	l := openWith(t, c.DSN(database), postgres.Config{Home: home, Retry: 500 * time.Millisecond}, attestlog.Config{})
	var g ledger
	var failed *attestlog.AppendError
	const call = 500
	first := 0
	for ; ; first += call {
		got, err := l.Append(t.Context(), largeEvents(first, first+call)...)
		g.note(got)
		if err != nil {
			if !errors.Is(err, attestlog.ErrUnavailable) || !errors.As(err, &failed) || len(failed.IDs) != call {
				t.Fatalf("Append to a full disk = %v, want an *AppendError of ErrUnavailable with %d ids", err, call)
			}
			break
		}
		if first > 1_000_000 {
			t.Fatal("the disk does not get full")
		}
	}
	t.Logf("full after %d events: %v", g.len(), failed.Err)
	if err := l.Record(t.Context(), testlog.Event(1<<30)); err != nil {
		t.Errorf("Record = %v, want it queued", err)
	}

	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	runs := func() bool {
		conn, err := pgx.Connect(t.Context(), c.DSN("postgres"))
		if err != nil {
			return false
		}
		conn.Close(t.Context())
		return true
	}
	testwait.Until(t, "the server recovers, or ends itself for want of room for its log", func() bool {
		return !c.Running() || runs()
	})
	if !c.Running() {
		c.Restart(t)
	}

	g.append(t, l, largeEvents(first, first+call)...)
	flush(t, l)
	e, err := l.EntryByID(t.Context(), testlog.Event(1<<30).ID)
	if err != nil {
		t.Fatalf("the event that was recorded meanwhile: %v", err)
	}
	g.note([]attestlog.Receipt{{Index: e.Index, ID: e.ID, LeafHash: attestlog.LeafHash(e.Leaf), LoggedTime: e.LoggedTime}})
	testlog.Close(t, l)
	g.checkVerified(t, c.DSN(database), home)
}
