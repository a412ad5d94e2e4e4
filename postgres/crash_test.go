package postgres_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

// Two writers on one log, while backends are killed within their transactions
// and the server crashes: each event is there once, where its receipt says.
func TestCrashesLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t)
	home := newHome(t)
	logs := []*attestlog.Log{openAt(t, c.DSN("postgres"), home), openAt(t, c.DSN("postgres"), home)}

	var stop atomic.Bool
	var mu sync.Mutex
	receipts := map[string]attestlog.Receipt{}
	var wg sync.WaitGroup
	var next, failures atomic.Int64
	for w := range 6 {
		wg.Go(func() {
			l := logs[w%2]
			for !stop.Load() {
				n := []int{1, 7, 300}[w/2]
				first := int(next.Add(int64(n))) - n
				events := testlog.Events(first, first+n)
				for {
					got, err := l.Append(context.Background(), events...)
					if err == nil {
						mu.Lock()
						for _, r := range got {
							receipts[r.ID] = r
						}
						mu.Unlock()
						break
					}
					failures.Add(1)
					if !errors.Is(err, attestlog.ErrUnavailable) {
						t.Errorf("Append = %v, want ErrUnavailable", err)
						return
					}
				}
			}
		})
	}

	for round := range 6 {
		for range 10 {
			time.Sleep(30 * time.Millisecond)
			terminate(c)
		}
		if round%2 == 1 {
			c.Kill()
			c.Restart(t)
		}
	}
	stop.Store(true)
	wg.Wait()

	l := logs[0]
	size, err := l.Size(t.Context())
	if err != nil || size != uint64(len(receipts)) || size != uint64(next.Load()) {
		t.Fatalf("%d entries, %v; want one for each of %d receipts and %d events", size, err, len(receipts), next.Load())
	}

	seen := uint64(0)
	for e, err := range l.Entries(t.Context(), query.Indexes(0, size)) {
		if err != nil {
			t.Fatal(err)
		}
		seen++
		r := receipts[e.ID]
		if r.Index != e.Index || r.LeafHash != attestlog.LeafHash(e.Leaf) {
			t.Fatalf("entry %d has id %s, whose receipt is %+v", e.Index, e.ID, r)
		}
	}
	if seen != size {
		t.Errorf("%d of %d entries were read", seen, size)
	}
	t.Logf("%d entries, %d calls failed", size, failures.Load())

	for _, l := range logs {
		testlog.Close(t, l)
	}
	l = openAt(t, c.DSN("postgres"), home)
	if r, err := verify.Log(t.Context(), l, verify.Options{Index: true}); err != nil || r.Signed != size {
		t.Errorf("Verify = %+v, %v; want %d signed entries", r, err, size)
	}
	testlog.Close(t, l)
}

// terminate ends every backend that is in a transaction.
func terminate(c *pgtest.Cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.DSN("postgres"))
	if err != nil {
		return
	}
	defer conn.Close(ctx)
	conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND random() < 0.7")
}

func TestAppendEndsWithItsContextWhileTheServerIsDown(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t)
	l := openAt(t, c.DSN("postgres"), newHome(t))
	if _, err := l.Append(t.Context(), testlog.Event(0)); err != nil {
		t.Fatal(err)
	}

	c.Kill()
	appendInVain(t, l, testlog.Events(1, 2))
	if err := l.Record(t.Context(), testlog.Event(2)); err != nil {
		t.Errorf("Record = %v, want it queued", err)
	}

	c.Restart(t)
	flush(t, l)

	for n := range 3 {
		e, err := l.EntryByID(t.Context(), testlog.Event(n).ID)
		if n != 1 && err != nil || n == 1 && err != nil && !errors.Is(err, attestlog.ErrNotFound) {
			t.Errorf("event %d: entry %d, %v", n, e.Index, err)
		}
	}
	testlog.Close(t, l)
}

// flush calls Flush until it succeeds: one that meets the end of a connection
// gets its error.
func flush(t *testing.T, l *attestlog.Log) {
	t.Helper()
	testwait.Until(t, "a Flush that succeeds", func() bool { return l.Flush(t.Context()) == nil })
}
