package postgres_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
)

// pauseReplay keeps a replica at what it has, until resumeReplay.
func pauseReplay(t *testing.T, onReplica *pgx.Conn) {
	t.Helper()
	execute(t, onReplica, "SELECT pg_wal_replay_pause()")
	testwait.Until(t, "the replica has paused", func() bool { return replayState(t, onReplica) == "paused" })
}

func resumeReplay(t *testing.T, onReplica *pgx.Conn) {
	t.Helper()
	execute(t, onReplica, "SELECT pg_wal_replay_resume()")
	testwait.Until(t, "the replica goes on", func() bool { return replayState(t, onReplica) == "not paused" })
}

func replayState(t *testing.T, onReplica *pgx.Conn) string {
	t.Helper()
	return one[string](t, onReplica, "SELECT pg_get_wal_replay_pause_state()")
}

func TestQueriesGoToTheReader(t *testing.T) {
	t.Parallel()
	primary := pgtest.New(t)
	replica := primary.Replica(t, "reader")
	onReplica := admin(t, replica.DSN("postgres"))
	cfg := postgres.Config{Home: newHome(t), Reader: replica.DSN("postgres")}
	l := openWith(t, primary.DSN("postgres"), cfg, attestlog.Config{})
	defer testlog.Close(t, l)

	alice := query.Field("actor", "alice")
	sees := func(size uint64) bool {
		page, err := l.Query(t.Context(), alice, attestlog.PageOptions{Limit: 1})
		return err == nil && page.Size == size
	}

	testlog.Append(t, l, testlog.Events(0, 300)...)
	testwait.Until(t, "the replica has 300 entries", func() bool { return sees(300) })

	pauseReplay(t, onReplica)
	testlog.Append(t, l, testlog.Events(300, 500)...)
	page, err := l.Query(t.Context(), alice, attestlog.PageOptions{})
	if err != nil || page.Size != 300 || page.Entries[0].Index != 299 {
		t.Errorf("Query while the replica has paused: of %d entries, the first %d, %v; want what it has received",
			page.Size, page.Entries[0].Index, err)
	}
	if n, err := l.Count(t.Context(), alice, 0); err != nil || n != 300 {
		t.Errorf("Count = %d, %v; want 300", n, err)
	}
	if e, err := l.EntryByID(t.Context(), testlog.Event(499).ID); err != nil || e.Index != 499 {
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
	testlog.Close(t, ahead)
	page, err = l.Query(t.Context(), alice, attestlog.PageOptions{Cursor: first.Next})
	if err != nil || page.Size != 500 || page.Entries[0].Index != 498 {
		t.Errorf("the page after entry 499: of %d entries, %+v; want 498 first", page.Size, err)
	}

	// Tail gives what the reader has, and waits for the rest.
	next := uint64(0)
	for e, err := range l.Tail(testwait.Context(t), 0, alice) {
		if err != nil || e.Index != next {
			t.Fatalf("Tail = entry %d, %v; want %d", e.Index, err, next)
		}
		next++
		if next == 300 {
			resumeReplay(t, onReplica)
		}
		if next == 500 {
			break
		}
	}
	if next != 500 {
		t.Errorf("Tail ended after %d entries", next)
	}
	testwait.Until(t, "the replica has all entries", func() bool { return sees(500) })
}

func TestAReaderOfAnotherLogIsRefused(t *testing.T) {
	t.Parallel()
	a, b := filled(t, 3), filled(t, 3)
	conn := b.connect(t)
	other := fmt.Sprintf("other_%s", b.log)
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+other); err != nil {
		t.Fatal(err)
	}
	second := opener{a.log, newHome(t)}
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
