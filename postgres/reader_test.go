package postgres_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
)

// paused holds a replica back at what it has received, until the end.
func paused(t *testing.T, c *pgtest.Cluster, pause bool) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	call := map[bool]string{true: "SELECT pg_wal_replay_pause()", false: "SELECT pg_wal_replay_resume()"}[pause]
	if _, err := conn.Exec(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	until(t, "the replica's pause", 10*time.Second, func() bool {
		return one[string](t, conn, "SELECT pg_get_wal_replay_pause_state()") == map[bool]string{true: "paused", false: "not paused"}[pause]
	})
}

func TestQueriesGoToTheReader(t *testing.T) {
	t.Parallel()
	primary := durable(t)
	replica, err := primary.Replica("reader")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(replica.Remove)
	cfg := postgres.Config{Home: filepath.Join(t.TempDir(), "home"), Reader: replica.DSN("postgres")}
	l := openWith(t, primary.DSN("postgres"), cfg, attestlog.Config{})
	defer closeLog(t, l)
	append1 := func(from, to int) {
		t.Helper()
		if _, err := l.Append(t.Context(), testEvents(from, to)...); err != nil {
			t.Fatal(err)
		}
	}
	alice := query.Field("actor", "alice")
	sees := func(size uint64) bool {
		page, err := l.Query(t.Context(), alice, attestlog.PageOptions{Limit: 1})
		return err == nil && page.Size == size
	}
	append1(0, 300)
	until(t, "the replica's receipt of 300 entries", 10*time.Second, func() bool { return sees(300) })

	paused(t, replica, true)
	append1(300, 500)
	page, err := l.Query(t.Context(), alice, attestlog.PageOptions{})
	if err != nil || page.Size != 300 || page.Entries[0].Index != 299 {
		t.Errorf("Query while the replica is behind: of %d entries, the first %d, %v; want what it has received", page.Size, page.Entries[0].Index, err)
	}
	if n, err := l.Count(t.Context(), alice, 0); err != nil || n != 300 {
		t.Errorf("Count = %d, %v; want 300", n, err)
	}
	if e, err := l.EntryByID(t.Context(), testEvent(499).ID); err != nil || e.Index != 499 {
		t.Errorf("EntryByID = %d, %v; want what was just appended", e.Index, err)
	}
	// A page that began where more had been received is answered there.
	primaryAlone := cfg
	primaryAlone.Reader = ""
	ahead := openWith(t, primary.DSN("postgres"), primaryAlone, attestlog.Config{})
	first, err := ahead.Query(t.Context(), alice, attestlog.PageOptions{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, ahead)
	if page, err := l.Query(t.Context(), alice, attestlog.PageOptions{Cursor: first.Next}); err != nil || page.Size != 500 || page.Entries[0].Index != 498 {
		t.Errorf("the page behind entry 499: of %d entries, %+v; want 498 first", page.Size, err)
	}
	// Tail gives what the reader has, and waits for the rest.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	next := uint64(0)
	for e, err := range l.Tail(ctx, 0, alice) {
		if err != nil || e.Index != next {
			t.Fatalf("Tail = entry %d, %v; want %d", e.Index, err, next)
		}
		if next++; next == 300 {
			paused(t, replica, false)
		}
		if next == 500 {
			break
		}
	}
	if next != 500 {
		t.Errorf("Tail ended after %d entries", next)
	}
	until(t, "the replica's receipt of all", 10*time.Second, func() bool { return sees(500) })
}

func TestAReaderOfAnotherLogIsRefused(t *testing.T) {
	t.Parallel()
	a, b := filled(t, 3), filled(t, 3)
	conn := b.connect(t)
	other := fmt.Sprintf("other_%s", b.log)
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+other); err != nil {
		t.Fatal(err)
	}
	second := opener{a.log, filepath.Join(t.TempDir(), "home")}
	l, err := postgres.Open(t.Context(), cluster.DSN(other), postgres.Config{Log: second.log, Home: second.home})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if s, err := a.open(t.Context(), postgres.Config{Reader: cluster.DSN(other)}); err == nil {
		s.Close()
		t.Error("Open with a reader that has another log of the name succeeded")
	}
}
