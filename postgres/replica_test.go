package postgres_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/verify"
)

// replicated starts a primary and its streaming replica, and also returns the
// DSN with both hosts.
func replicated(t *testing.T) (primary, replica *pgtest.Cluster, both string) {
	t.Helper()
	primary = pgtest.New(t)
	replica = primary.Replica(t, "standby")
	return primary, replica, primary.DSN("postgres", "host="+primary.Dir+","+replica.Dir)
}

// replayed waits until a replica has all that its primary has now.
func replayed(t *testing.T, onPrimary, onReplica *pgx.Conn) {
	t.Helper()
	position := one[string](t, onPrimary, "SELECT pg_current_wal_lsn()::text")
	testwait.Until(t, "a replica that has replayed all", func() bool {
		return one[bool](t, onReplica, "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)", position)
	})
}

// setting changes a setting of a running server, and waits until a new session
// has it.
func setting(t *testing.T, conn *pgx.Conn, name, value string) {
	t.Helper()
	execute(t, conn, "ALTER SYSTEM SET "+name+" = '"+value+"'", "SELECT pg_reload_conf()")
	testwait.Until(t, name+" is "+value, func() bool {
		return one[string](t, conn, "SELECT current_setting($1)", name) == value
	})
}

// synchronous makes a primary's commits wait for its replica.
func synchronous(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	setting(t, conn, "synchronous_standby_names", "standby")
	testwait.Until(t, "the synchronous replica", func() bool {
		return one[int](t, conn, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1
	})
}

// commitsHang waits until the server's commits wait for a replica: a setting
// that was reloaded takes effect some time later. It leaves a commit waiting.
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
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	testwait.Until(t, "a commit that waits for a replica", func() bool {
		return one[int](t, conn, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") > 0
	})
}

// With synchronous replication the primary crashes while two processes write,
// and the replica takes over: nothing that was acknowledged is lost, nothing
// is there twice, and the same processes go on.
func TestFailoverToASynchronousReplicaLosesNothing(t *testing.T) {
	t.Parallel()
	primary, replica, both := replicated(t)
	home := newHome(t)
	logs := []*attestlog.Log{openAt(t, both, home), openAt(t, both, home)}
	synchronous(t, admin(t, primary.DSN("postgres")))

	var g ledger
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() { g.write(t, logs[w%2], []int{3, 300}[w/2]) })
	}
	testwait.Until(t, "3000 receipts from the primary", func() bool { return g.len() >= 3000 || t.Failed() })

	primary.Kill()
	replica.Promote(t)
	before := g.len()
	testwait.Until(t, "3000 receipts from the replica", func() bool { return g.len() >= before+3000 || t.Failed() })

	g.stop.Store(true)
	wg.Wait()

	t.Logf("%d events, about %d of them before the failover; %d calls failed", g.len(), before, g.failures.Load())
	for _, l := range logs {
		if err := l.ReadOnly(); err != nil {
			t.Errorf("ReadOnly = %v", err)
		}
		testlog.Close(t, l)
	}
	g.checkVerified(t, both, home)
}

// A receipt means that the replica has the entry, even if the log's session asks
// for less durability than the server's replication promises. A session that asks
// for more gets it.
func TestReceiptsWaitForTheReplicaWhateverTheSessionSays(t *testing.T) {
	t.Parallel()
	for _, commit := range []string{"off", "local", "on", "remote_apply"} {
		t.Run(commit, func(t *testing.T) {
			t.Parallel()
			c := pgtest.New(t)
			conn := admin(t, c.DSN("postgres"))
			home := newHome(t)
			dsn := c.DSN("postgres", "synchronous_commit="+commit)
			var g ledger
			l := openWith(t, dsn, postgres.Config{Home: home, Timeout: hangTimeout(), LockTimeout: lockTimeout, Retry: -1}, attestlog.Config{})
			g.append(t, l, testlog.Events(0, 10)...)

			setting(t, conn, "synchronous_standby_names", "nobody")
			commitsHang(t, c, conn)
			for _, n := range []int{1, 300} {
				appendInVain(t, l, testlog.Events(10, 10+n))
			}
			// Tried again, the event is found to be there. That is not enough to
			// acknowledge it: its transaction has to reach the replica too.
			if got, err := l.Append(testwait.Context(t), testlog.Event(10)); err == nil {
				t.Errorf("Append again = %v, want an error while there is no replica", got)
			}

			setting(t, conn, "synchronous_standby_names", "")
			g.append(t, l, testlog.Events(10, 310)...)
			testlog.Close(t, l)
			g.checkVerified(t, dsn, home)
		})
	}
}

// With asynchronous replication a failover loses what the replica did not have.
// A process that is still running does not write after them, one that is started
// says why it does not, and Verify names the first entry that is gone.
func TestFailoverThatLostEntriesIsNotWritten(t *testing.T) {
	t.Parallel()
	primary, replica, both := replicated(t)
	home := newHome(t)
	running, ended := openAt(t, both, home), openAt(t, both, home)
	var g ledger
	g.append(t, running, testlog.Events(0, 300)...)
	onPrimary, onReplica := admin(t, primary.DSN("postgres")), admin(t, replica.DSN("postgres"))
	replayed(t, onPrimary, onReplica)

	setting(t, onReplica, "primary_conninfo", "") // ends its walreceiver
	testwait.Until(t, "no replication", func() bool {
		return one[int](t, onPrimary, "SELECT count(*) FROM pg_stat_replication") == 0
	})
	if _, err := running.Append(t.Context(), testlog.Events(300, 320)...); err != nil {
		t.Fatal(err)
	}
	if _, err := ended.Append(t.Context(), testlog.Events(320, 340)...); err != nil {
		t.Fatal(err)
	}
	testlog.Close(t, ended) // keeps a checkpoint over all of them
	primary.Kill()
	replica.Promote(t)

	var corrupt *attestlog.CorruptError
	testwait.Until(t, "an answer of the promoted replica", func() bool {
		_, err := running.Append(t.Context(), testlog.Event(340))
		if err == nil {
			t.Fatal("a process wrote after entries that were lost")
		}
		return errors.As(err, &corrupt)
	})
	if corrupt.Index != 300 {
		t.Errorf("Append of a running process = %v, want a *CorruptError at entry 300", corrupt)
	}
	running.Close(t.Context()) // fails for the same reason

	l := openAt(t, both, home)
	reason := l.ReadOnly()
	if !errors.Is(reason, attestlog.ErrReadOnly) || !strings.Contains(reason.Error(), "300 entries") || !strings.Contains(reason.Error(), "340") {
		t.Errorf("ReadOnly = %v, want that 300 of 340 entries are there", reason)
	}
	if _, err := l.Append(t.Context(), testlog.Event(340)); !errors.Is(err, attestlog.ErrReadOnly) {
		t.Errorf("Append = %v, want ErrReadOnly", err)
	}
	if _, err := verify.Log(t.Context(), l, verify.Options{}); !errors.As(err, &corrupt) || corrupt.Index != 300 {
		t.Errorf("Verify = %v, want a *CorruptError at entry 300", err)
	}
	if others := g.check(t, l); others > 0 {
		t.Errorf("%d entries were written after those that were lost", others)
	}
	testlog.Close(t, l)
}
