package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

// A ledger is what writers were told: a receipt for each event that was
// acknowledged.
type ledger struct {
	next     atomic.Int64 // the number of the next event
	failures atomic.Int64 // calls that failed
	stop     atomic.Bool

	mu       sync.Mutex
	receipts map[string]attestlog.Receipt
}

func (g *ledger) note(receipts []attestlog.Receipt) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.receipts == nil {
		g.receipts = map[string]attestlog.Receipt{}
	}
	for _, r := range receipts {
		g.receipts[r.ID] = r
	}
}

func (g *ledger) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.receipts)
}

// append appends events until that succeeds, as a caller does whose server is
// away, and notes the receipts.
func (g *ledger) append(t *testing.T, l *attestlog.Log, events ...attestlog.Event) {
	t.Helper()
	testwait.Until(t, "an Append that succeeds", func() bool {
		got, err := l.Append(t.Context(), events...)
		if err != nil && !errors.Is(err, attestlog.ErrUnavailable) {
			t.Fatalf("Append = %v, want ErrUnavailable or success", err)
		}
		g.note(got)
		return err == nil
	})
}

// write appends n events at a time until stop is set, each call again until it
// succeeds. Meanwhile only ErrUnavailable may come back.
func (g *ledger) write(t *testing.T, l *attestlog.Log, n int) {
	for !g.stop.Load() {
		first := int(g.next.Add(int64(n))) - n
		for {
			got, err := l.Append(context.Background(), testlog.Events(first, first+n)...)
			if err == nil {
				g.note(got)
				break
			}

			g.failures.Add(1)
			if got != nil {
				t.Errorf("Append gave %d receipts together with the error %v", len(got), err)
				return
			}
			var failed *attestlog.AppendError
			if !errors.As(err, &failed) || len(failed.IDs) != n || !errors.Is(err, attestlog.ErrUnavailable) {
				t.Errorf("Append = %v, want an *AppendError with %d ids that is ErrUnavailable", err, n)
				return
			}
		}
	}
}

// check compares a log with what the writers were told: every acknowledged
// event is where its receipt says, none twice, the indexes are contiguous and
// the times do not go back. It returns how many entries have no receipt.
func (g *ledger) check(t *testing.T, l *attestlog.Log) int {
	t.Helper()
	size, err := l.Size(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	seen := map[string]bool{}
	var last time.Time
	next, others := uint64(0), 0
	for e, err := range l.Entries(t.Context(), query.Indexes(0, size)) {
		if err != nil {
			t.Fatal(err)
		}
		switch r, known := g.receipts[e.ID]; {
		case e.Index != next:
			t.Fatalf("entry %d comes where %d is due", e.Index, next)
		case seen[e.ID]:
			t.Fatalf("entry %d has id %s, which an earlier entry has", e.Index, e.ID)
		case e.LoggedTime.Before(last):
			t.Fatalf("entry %d was logged at %v, the one before at %v", e.Index, e.LoggedTime, last)
		case !known:
			others++
		case r.Index != e.Index || r.LeafHash != attestlog.LeafHash(e.Leaf) || !r.LoggedTime.Equal(e.LoggedTime):
			t.Fatalf("entry %d of %v has hash %v, its receipt is %+v", e.Index, e.LoggedTime, attestlog.LeafHash(e.Leaf), r)
		}
		seen[e.ID] = true
		last = e.LoggedTime
		next++
	}

	if next != size {
		t.Errorf("%d of %d entries were read", next, size)
	}
	for id, r := range g.receipts {
		if !seen[id] {
			t.Errorf("event %s was acknowledged as entry %d and is not in the log", id, r.Index)
		}
	}
	return others
}

// checkVerified checks the log that dsn names, which nobody has open, and
// demands that it holds the acknowledged events and nothing else.
func (g *ledger) checkVerified(t *testing.T, dsn, home string) {
	t.Helper()
	l := openAt(t, dsn, home)
	defer testlog.Close(t, l)
	if others := g.check(t, l); others > 0 {
		t.Errorf("%d entries were never acknowledged, though every call was repeated until it was", others)
	}

	size := uint64(g.len())
	if r, err := verify.Log(t.Context(), l, verify.Options{Index: true}); err != nil || r.Size != size || r.Signed != size {
		t.Errorf("Verify = %+v, %v; want %d signed entries", r, err, size)
	}
}

// Stores that meet a server or a network that hangs are told to give up soon,
// so that their tests end soon. What does not hang must be done by then, also on
// a busy machine.
const lockTimeout = 500 * time.Millisecond

func hangTimeout() time.Duration { return testwait.Patience() / 60 }

// openAt opens the log that dsn names.
func openAt(t *testing.T, dsn, home string) *attestlog.Log {
	t.Helper()
	return openWith(t, dsn, postgres.Config{Home: home}, attestlog.Config{})
}

// openWith opens the log that dsn names with the store's configuration and the
// log's own.
func openWith(t *testing.T, dsn string, sc postgres.Config, lc attestlog.Config) *attestlog.Log {
	t.Helper()
	sc.Logger = testlog.Quiet
	s, err := postgres.Open(t.Context(), dsn, sc)
	if err != nil {
		t.Fatal(err)
	}
	return testlog.New(t, s, lc)
}

// admin connects to a database as the superuser.
func admin(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// one returns the value that a query gives.
func one[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) (v T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// database creates a database of the test's own in the shared cluster, with
// settings that every session in it begins with.
func database(t *testing.T, settings ...string) (dsn string) {
	t.Helper()
	name := fmt.Sprintf("db_%d", logs.Add(1))
	conn := admin(t, cluster.DSN("postgres"))
	execute(t, conn, "CREATE DATABASE "+name)
	for _, s := range settings {
		execute(t, conn, "ALTER DATABASE "+name+" SET "+s)
	}
	return cluster.DSN(name)
}
