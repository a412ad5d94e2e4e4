package postgres_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/verify"
)

// replicated starts a primary and its streaming replica, and returns besides
// them the DSN with both hosts.
func replicated(t *testing.T) (primary, replica *pgtest.Cluster, both string) {
	t.Helper()
	primary = durable(t)
	replica, err := primary.Replica("standby")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(replica.Remove)
	return primary, replica, primary.DSN("postgres", "host="+primary.Dir+","+replica.Dir)
}

// setting changes a setting of a running server, and waits until a new session
// has it.
func setting(t *testing.T, conn *pgx.Conn, name, value string) {
	t.Helper()
	execute(t, conn, "ALTER SYSTEM SET "+name+" = '"+value+"'", "SELECT pg_reload_conf()")
	until(t, name+" to be "+value, 5*time.Second, func() bool {
		return one[string](t, conn, "SELECT current_setting($1)", name) == value
	})
}

// synchronous makes a primary's commits wait for its replica.
func synchronous(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	setting(t, conn, "synchronous_standby_names", "standby")
	until(t, "the synchronous replica", 5*time.Second, func() bool {
		return one[int](t, conn, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1
	})
}

// commitsHang waits until the server's commits wait for a replica: a setting
// that was reloaded takes effect some time later. A commit is left waiting.
func commitsHang(t *testing.T, c *pgtest.Cluster, conn *pgx.Conn) {
	t.Helper()
	probe := admin(t, c.DSN("postgres"))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			probe.Exec(ctx, "SELECT pg_logical_emit_message(true, '', '')")
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	until(t, "a commit that waits for a replica", 5*time.Second, func() bool {
		return one[int](t, conn, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") > 0
	})
}

// With synchronous replication the primary crashes while two processes write,
// and the replica takes over: nothing that was acknowledged is lost, nothing
// is there twice, and the same processes go on.
func TestFailoverToASynchronousReplicaLosesNothing(t *testing.T) {
	t.Parallel()
	primary, replica, both := replicated(t)
	home := filepath.Join(t.TempDir(), "home")
	logs := []*attestlog.Log{openAt(t, both, home), openAt(t, both, home)}
	synchronous(t, admin(t, primary.DSN("postgres")))

	var g ledger
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() { g.write(t, logs[w%2], []int{3, 300}[w/2], 0) })
	}
	until(t, "3000 receipts from the primary", 20*time.Second, func() bool { return g.len() >= 3000 || t.Failed() })
	primary.Kill()
	if err := replica.Promote(); err != nil {
		t.Fatal(err)
	}
	before := g.len()
	until(t, "3000 receipts from the replica", 20*time.Second, func() bool { return g.len() >= before+3000 || t.Failed() })
	g.stop.Store(true)
	wg.Wait()
	t.Logf("%d events, about %d of them before the failover; %d calls failed", g.len(), before, g.failures.Load())
	for _, l := range logs {
		if err := l.ReadOnly(); err != nil {
			t.Errorf("ReadOnly = %v", err)
		}
		closeLog(t, l)
	}
	g.checkVerified(t, both, home)
}

// A log whose session asks for less durability than the server's replication
// promises is not acknowledged before the replica has it all the same; asking
// for more is left alone.
func TestReceiptsWaitForTheReplicaWhateverTheSessionSays(t *testing.T) {
	t.Parallel()
	for _, commit := range []string{"off", "local", "on", "remote_apply"} {
		t.Run(commit, func(t *testing.T) {
			t.Parallel()
			c := durable(t)
			conn := admin(t, c.DSN("postgres"))
			home := filepath.Join(t.TempDir(), "home")
			dsn := c.DSN("postgres", "synchronous_commit="+commit)
			var g ledger
			l := openWith(t, dsn, postgres.Config{Home: home, Timeout: time.Second, LockTimeout: 500 * time.Millisecond, Retry: -1}, attestlog.Config{})
			got, err := l.Append(t.Context(), testEvents(0, 10)...)
			if err != nil {
				t.Fatal(err)
			}
			g.note(got)
			setting(t, conn, "synchronous_standby_names", "nobody")
			commitsHang(t, c, conn)
			for _, n := range []int{1, 300} {
				appendInVain(t, l, testEvents(10, 10+n))
			}
			// Tried again, it is found to be there, and is not acknowledged for
			// that: what it was committed with has to reach the replica too.
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			if got, err := l.Append(ctx, testEvents(10, 11)...); err == nil {
				t.Errorf("Append again = %v, want an error while there is no replica", got)
			}
			setting(t, conn, "synchronous_standby_names", "")
			until(t, "an Append that succeeds", 10*time.Second, func() bool {
				got, err := l.Append(t.Context(), testEvents(10, 310)...)
				if err != nil {
					return false
				}
				g.note(got)
				return true
			})
			closeLog(t, l)
			g.checkVerified(t, dsn, home)
		})
	}
}

// With asynchronous replication a failover loses what the replica did not have.
// A process that is still running does not write behind it, one that is started
// says why it does not, and Verify names the first entry that is gone.
func TestFailoverThatLostEntriesIsNotWritten(t *testing.T) {
	t.Parallel()
	primary, replica, both := replicated(t)
	home := filepath.Join(t.TempDir(), "home")
	running, ended := openAt(t, both, home), openAt(t, both, home)
	var g ledger
	got, err := running.Append(t.Context(), testEvents(0, 300)...)
	if err != nil {
		t.Fatal(err)
	}
	g.note(got)
	onPrimary, onReplica := admin(t, primary.DSN("postgres")), admin(t, replica.DSN("postgres"))
	until(t, "the replica to have it", 10*time.Second, func() bool {
		return one[int64](t, onReplica, "SELECT size FROM attestlog.tree") == 300
	})
	setting(t, onReplica, "primary_conninfo", "") // ends its walreceiver
	until(t, "no replication", 10*time.Second, func() bool {
		return one[int](t, onPrimary, "SELECT count(*) FROM pg_stat_replication") == 0
	})
	if _, err := running.Append(t.Context(), testEvents(300, 320)...); err != nil {
		t.Fatal(err)
	}
	if _, err := ended.Append(t.Context(), testEvents(320, 340)...); err != nil {
		t.Fatal(err)
	}
	closeLog(t, ended) // keeps a checkpoint over all of them
	primary.Kill()
	if err := replica.Promote(); err != nil {
		t.Fatal(err)
	}

	var corrupt *attestlog.CorruptError
	until(t, "an answer of the promoted replica", 10*time.Second, func() bool {
		_, err := running.Append(t.Context(), testEvent(340))
		if err == nil {
			t.Fatal("a process wrote behind entries that were lost")
		}
		return errors.As(err, &corrupt)
	})
	if corrupt.Index != 300 {
		t.Errorf("Append of a running process = %v, want a *CorruptError at entry 300", corrupt)
	}
	running.Close(t.Context()) // fails for the same reason

	l := openAt(t, both, home)
	if err := l.ReadOnly(); !errors.Is(err, attestlog.ErrReadOnly) || !strings.Contains(err.Error(), "300 entries") || !strings.Contains(err.Error(), "340") {
		t.Errorf("ReadOnly = %v, want that 300 of 340 entries are there", err)
	}
	if _, err := l.Append(t.Context(), testEvent(340)); !errors.Is(err, attestlog.ErrReadOnly) {
		t.Errorf("Append = %v, want ErrReadOnly", err)
	}
	if _, err := verify.Log(t.Context(), l, verify.Options{}); !errors.As(err, &corrupt) || corrupt.Index != 300 {
		t.Errorf("Verify = %v, want a *CorruptError at entry 300", err)
	}
	if others := g.check(t, l); others > 0 {
		t.Errorf("%d entries were written behind those that were lost", others)
	}
	closeLog(t, l)
}
