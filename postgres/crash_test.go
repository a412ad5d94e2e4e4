package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

// durable starts a cluster of the test's own, with fsync on.
func durable(t *testing.T) *pgtest.Cluster {
	t.Helper()
	c, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Remove)
	return c
}

func openAt(t *testing.T, dsn, home string) *attestlog.Log {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	s, err := postgres.Open(t.Context(), dsn, postgres.Config{Home: home, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	l, err := attestlog.New(t.Context(), s, attestlog.Config{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Two writers on one log, while backends are killed within their transactions
// and the server crashes: each event is there once, where its receipt says.
func TestCrashesLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	c := durable(t)
	home := filepath.Join(t.TempDir(), "home")
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
				events := testEvents(first, first+n)
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
			if err := c.Restart(); err != nil {
				t.Fatal(err)
			}
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
		closeLog(t, l)
	}
	l = openAt(t, c.DSN("postgres"), home)
	if r, err := verify.Log(t.Context(), l, verify.Options{Index: true}); err != nil || r.Signed != size {
		t.Errorf("Verify = %+v, %v; want %d signed entries", r, err, size)
	}
	closeLog(t, l)
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
	c := durable(t)
	l := openAt(t, c.DSN("postgres"), filepath.Join(t.TempDir(), "home"))
	if _, err := l.Append(t.Context(), testEvent(0)); err != nil {
		t.Fatal(err)
	}
	c.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := l.Append(ctx, testEvent(1))
	var failed *attestlog.AppendError
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &failed) || len(failed.IDs) != 1 {
		t.Errorf("Append = %v, want an *AppendError of the deadline with one id", err)
	}
	if waited := time.Since(began); waited > 2*time.Second {
		t.Errorf("Append took %v", waited)
	}
	if err := l.Record(t.Context(), testEvent(2)); err != nil {
		t.Errorf("Record = %v, want it queued", err)
	}
	if err := c.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := flushed(l); err != nil {
		t.Errorf("Flush = %v", err)
	}
	for n := range 3 {
		e, err := l.EntryByID(t.Context(), testEvent(n).ID)
		if n != 1 && err != nil || n == 1 && err != nil && !errors.Is(err, attestlog.ErrNotFound) {
			t.Errorf("event %d: entry %d, %v", n, e.Index, err)
		}
	}
	closeLog(t, l)
}

func flushed(l *attestlog.Log) (err error) {
	for range 20 {
		if err = l.Flush(context.Background()); err == nil {
			return nil
		}
	}
	return fmt.Errorf("after 20 tries: %w", err)
}
