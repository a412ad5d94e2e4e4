package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

// trips counts what is sent to the server.
type trips struct{ n atomic.Int64 }

func (c *trips) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	c.n.Add(1)
	return ctx
}
func (c *trips) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (c *trips) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

func (c *trips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.n.Add(1)
	return ctx
}
func (c *trips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A process that has the log to itself stores a few events in one round trip. What it
// assumes is wrong once another process has written, or an id is not new; then it
// looks, and stores what it should.
func TestAFewEventsAreOneRoundTrip(t *testing.T) {
	t.Parallel()
	o := newLog(t)
	cfg, err := pgxpool.ParseConfig(cluster.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	sent := &trips{}
	cfg.ConnConfig.Tracer = sent
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store, err := postgres.OpenPool(t.Context(), pool, postgres.Config{Log: o.log, Home: o.home, NoIndex: true, Logger: testlog.Quiet})
	if err != nil {
		t.Fatal(err)
	}
	l, err := attestlog.New(t.Context(), store, attestlog.Config{Logger: testlog.Quiet, OutboxInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	other := openAt(t, cluster.DSN("postgres", "search_path="+o.log)+"&log="+o.log, o.home)

	// The publisher may send something in between, so the least of some is counted.
	n := 0
	least := func() (out int64) {
		for range 20 {
			before := sent.n.Load()
			testlog.Append(t, l, testlog.Event(n), testlog.Event(n+1))
			n += 2
			took := sent.n.Load() - before
			if out == 0 || took < out {
				out = took
			}
		}
		return out
	}
	if got := least(); got != 1 {
		t.Errorf("two events take %d round trips", got)
	}

	for round := range 10 {
		index := testlog.Append(t, other, testlog.Event(n))[0].Index
		first := testlog.Append(t, l, testlog.Event(n+1))[0]
		if first.Index != index+1 {
			t.Fatalf("round %d: after another process's entry %d comes %d", round, index, first.Index)
		}
		n += 2

		again := testlog.Event(n)
		want := testlog.Append(t, l, again)[0]
		if got := testlog.Append(t, l, again)[0]; got != want {
			t.Fatalf("round %d: the same event again is %+v, want the receipt %+v", round, got, want)
		}
		mixed := testlog.Append(t, l, again, testlog.Event(n+1))
		if mixed[0] != want || mixed[1].Index != want.Index+1 {
			t.Fatalf("round %d: an old event and a new one are %+v", round, mixed)
		}
		n += 2
	}
	if got := least(); got != 1 {
		t.Errorf("alone again, two events take %d round trips", got)
	}
	r, err := verify.Log(t.Context(), l, verify.Options{})
	if err != nil || r.Size != uint64(n) {
		t.Errorf("Verify = %+v, %v; want %d entries", r, err, n)
	}
}

// Processes that all believe to be alone store each event once.
func TestManyProcessesThatAssumeToBeAlone(t *testing.T) {
	t.Parallel()
	o := newLog(t)
	const processes, each = 4, 150
	var running sync.WaitGroup
	var l *attestlog.Log
	for p := range processes {
		l = openAt(t, cluster.DSN("postgres")+"&log="+o.log, o.home)
		log := l
		running.Go(func() {
			for n := range each {
				e := testlog.Event(p*each + n)
				_, err := log.Append(context.Background(), e)
				if err != nil {
					t.Error(err)
					return
				}
				if n%10 > 6 { // the others come in between less often
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	running.Wait()

	got := map[string]bool{}
	for _, e := range testlog.Entries(t, l, query.Query{}) {
		if got[e.ID] {
			t.Errorf("the id %s is there twice", e.ID)
		}
		got[e.ID] = true
	}
	if len(got) != processes*each {
		t.Errorf("%d entries, want %d", len(got), processes*each)
	}
	if _, err := verify.Log(t.Context(), l, verify.Options{Index: true}); err != nil {
		t.Error(fmt.Errorf("verify: %w", err))
	}
}
