package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/spool"
	"github.com/attestlog/attestlog/verify"
)

func (o opener) outbox(t *testing.T) *postgres.Outbox {
	t.Helper()
	box, err := postgres.NewOutbox(o.log, attestlog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func pool(t *testing.T, params ...string) *pgxpool.Pool {
	t.Helper()
	p, err := pgxpool.New(t.Context(), cluster.DSN("postgres", params...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// A span is a committed transaction, in ticks of a clock that all share.
type span struct{ began, committed int64 }

// transact runs a transaction of a few events with pauses between them, and
// rolls every fourth back.
func transact(ctx context.Context, p *pgxpool.Pool, box *postgres.Outbox, clock *atomic.Int64, n int) (span, bool, error) {
	s := span{began: clock.Add(1)}
	tx, err := p.Begin(ctx)
	if err != nil {
		return s, false, err
	}
	defer tx.Rollback(ctx)

	for i := range 1 + rand.IntN(3) {
		time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond) // so that transactions overlap
		e := testlog.Event(n*10 + i)
		if err := box.AppendTx(ctx, tx, e); err != nil {
			return s, false, err
		}
	}

	if n%4 == 0 {
		return s, false, nil
	}

	err = tx.Commit(ctx)
	s.committed = clock.Add(1)
	return s, true, err
}

func TestCommittedTransactionsAreInTheLogOnceAndInOrder(t *testing.T) {
	t.Parallel()
	o := newLog(t)
	logs := []*attestlog.Log{o.openLog(t, postgres.Config{}), o.openLog(t, postgres.Config{})} // whichever moves
	p, box := pool(t, "pool_max_conns=8"), o.outbox(t)
	var clock atomic.Int64
	spans := map[int]span{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	const writers, each = 8, 40

	stop := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() { // connections that move events are lost now and then
		conn := o.connect(t)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE '%outbox ORDER BY id%' AND pid <> pg_backend_pid() AND random() < 0.3")
			}
		}
	})

	for w := range writers {
		wg.Go(func() {
			for i := range each {
				n := w*each + i
				s, committed, err := transact(t.Context(), p, box, &clock, n)
				if err != nil {
					t.Errorf("transaction %d: %v", n, err)
				}
				if committed {
					mu.Lock()
					spans[n] = s
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	killer.Wait()

	for _, l := range logs {
		flush(t, l)
	}
	for _, l := range logs {
		st, _ := l.Stats(t.Context())
		t.Logf("%+v", st.Outboxes)
	}

	checkOrder(t, logs[0], spans)
	st, err := logs[0].Stats(t.Context())
	if err != nil || st.Outboxes[0].Events != 0 || st.Outboxes[0].Refused != 0 {
		t.Errorf("Stats = %+v, %v; want an empty outbox", st, err)
	}
	if _, err := verify.Log(t.Context(), logs[0], verify.Options{}); err != nil {
		t.Error(err)
	}
	for _, l := range logs {
		testlog.Close(t, l)
	}
}

// checkOrder holds the entries against the transactions: of two that did not
// overlap, the first's entries come first.
func checkOrder(t *testing.T, l *attestlog.Log, spans map[int]span) {
	t.Helper()
	first, last := map[int]uint64{}, map[int]uint64{}
	ids := map[string]bool{}
	for e, err := range l.Entries(t.Context(), query.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		var n int
		fmt.Sscanf(e.ID[strings.LastIndex(e.ID, "-")+1:], "%x", &n)
		n /= 10
		if _, ok := spans[n]; !ok || ids[e.ID] {
			t.Fatalf("entry %d, %s, is of transaction %d: was it committed: %v; a second time: %v", e.Index, e.ID, n, ok, ids[e.ID])
		}
		ids[e.ID] = true
		if _, ok := first[n]; !ok {
			first[n] = e.Index
		}
		last[n] = e.Index
	}

	for a, sa := range spans {
		if _, ok := first[a]; !ok {
			t.Errorf("committed transaction %d is not in the log", a)
		}
		for b, sb := range spans {
			if sa.committed < sb.began && last[a] > first[b] {
				t.Errorf("transaction %d was committed before %d began, and has entry %d after %d", a, b, last[a], first[b])
			}
		}
	}
}

func TestCallersDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	o := newLog(t)
	l := o.openLog(t, postgres.Config{})
	p, box := pool(t, "lock_timeout=2s"), o.outbox(t)

	slow, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Rollback(context.Background())
	if err := box.AppendTx(t.Context(), slow, testlog.Event(0)); err != nil {
		t.Fatal(err)
	}

	err = pgx.BeginFunc(t.Context(), p, func(tx pgx.Tx) error { return box.AppendTx(t.Context(), tx, testlog.Event(1)) })
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if size, err := l.Size(t.Context()); err != nil || size != 1 {
		t.Errorf("Size = %d, %v; want the committed event alone", size, err)
	}

	if err := slow.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	for n, want := range []uint64{1, 0} {
		if e, err := l.EntryByID(t.Context(), testlog.Event(n).ID); err != nil || e.Index != want {
			t.Errorf("event %d is entry %d, %v; want %d", n, e.Index, err, want)
		}
	}
	testlog.Close(t, l)
}

func TestAppendSQLIsPartOfItsTransaction(t *testing.T) {
	t.Parallel()
	o := newLog(t)
	l := o.openLog(t, postgres.Config{})
	db, err := sql.Open("pgx", cluster.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	box := o.outbox(t)

	for n := range 4 {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := box.AppendSQL(t.Context(), tx, testlog.Event(n)); err != nil {
			t.Fatal(err)
		}
		if end := []func() error{tx.Commit, tx.Rollback}[n%2]; end() != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	for n, in := range []bool{true, false, true, false} {
		if _, err := l.EntryByID(t.Context(), testlog.Event(n).ID); (err == nil) != in {
			t.Errorf("event %d: %v; is it in: want %v", n, err, in)
		}
	}
	testlog.Close(t, l)
}

func TestACallerMayOnlyInsertIntoTheOutbox(t *testing.T) {
	t.Parallel()
	o := filled(t, 10)
	caller := o.log + "_caller"

	s, err := o.open(t.Context(), postgres.Config{NoIndex: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Grant(t.Context(), postgres.Roles{Caller: caller}), s.Close()); err != nil {
		t.Fatal(err)
	}

	admin := o.connect(t)
	if _, err := admin.Exec(t.Context(), "ALTER ROLE "+caller+" LOGIN"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), cluster.DSN("postgres"))
		if err == nil {
			conn.Exec(context.Background(), "DROP OWNED BY "+caller+"; DROP ROLE "+caller, pgx.QueryExecModeSimpleProtocol)
			conn.Close(context.Background())
		}
	})

	conn := o.connect(t, "user="+caller)
	err = pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return o.outbox(t).AppendTx(t.Context(), tx, testlog.Event(10)) })
	if err != nil {
		t.Errorf("AppendTx as the caller = %v", err)
	}

	for _, sql := range []string{
		"SELECT * FROM outbox", "DELETE FROM outbox", "UPDATE outbox SET event = ''", "TRUNCATE outbox", "SELECT * FROM entries", "SELECT * FROM refused",
		"INSERT INTO outbox (id, event) OVERRIDING SYSTEM VALUE VALUES (-1, '{}')", "INSERT INTO outbox (at, event) VALUES (0, '{}')", "SELECT 1 FROM locks FOR UPDATE", "INSERT INTO refused VALUES (1, 1, '', '')",
		"INSERT INTO keys VALUES (gen_random_uuid(), 1)", "ALTER TABLE outbox DISABLE TRIGGER refuse", "SELECT setval('outbox_id_seq', 1)",
	} {
		if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "SQLSTATE 42501") {
			t.Errorf("%s as the caller: %v, want it refused for want of a privilege", sql, err)
		}
	}

	if _, err := conn.Exec(t.Context(), "INSERT INTO outbox (event) VALUES (repeat('x', 9000000))"); err == nil || !strings.Contains(err.Error(), "SQLSTATE 23514") {
		t.Errorf("a row of 9 MB: %v, want it refused", err)
	}

	l := o.openLog(t, postgres.Config{})
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, err := l.Entry(t.Context(), 10); err != nil || e.ID != testlog.Event(10).ID {
		t.Errorf("entry 10 is %s, %v; want the caller's", e.ID, err)
	}
	testlog.Close(t, l)
	if _, err := o.verify(t, verify.Options{}); err != nil {
		t.Errorf("Verify with a caller's grants = %v", err)
	}
}

func TestAnEventOfAnotherLanguageIsTaken(t *testing.T) {
	t.Parallel()
	o := newLog(t)
	l := o.openLog(t, postgres.Config{})
	conn := o.connect(t)
	before := time.Now().Add(-time.Minute)
	for _, text := range []string{
		`{"id": "order-17", "time": "2026-03-01T10:00:00Z", "action": "order.create", "actor": {"id": "alice"}}`,
		`{"id": "` + testlog.Event(1).ID + `", "action": "order.pay", "actor": {"id": "alice"}}`,
		`{"id": "order-18", "action": "order.create", "actor": {"id": "alice"}}`, // no time, so no key
		`{"id": "order-17", "time": "2026-03-01T10:00:00Z", "action": "order.cancel", "actor": {"id": "alice"}}`,
		"\x01", `{}`, `[]`, ``, `{"a\u0000b":1}`, `{"id":"x\u0000y","time":"2026-03-01T10:00:00Z","action":"a","actor":{"id":"a"}, "v":1}`,
	} {
		if _, err := conn.Exec(t.Context(), "INSERT INTO outbox (event) VALUES ($1)", text); err != nil {
			t.Fatal(err)
		}
	}

	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, err := l.Entry(t.Context(), 1); err != nil || e.Action != "order.pay" || e.Time.Before(before) || e.Time.After(time.Now().Add(time.Minute)) {
		t.Errorf("entry 1 is %s at %v, %v; want the payment, now", e.Action, e.Time, err)
	}
	if size, err := l.Size(t.Context()); err != nil || size != 2 {
		t.Errorf("Size = %d, %v; want 2", size, err)
	}

	rows, err := conn.Query(t.Context(), "SELECT event || ' ' || reason FROM refused ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	reasons, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(reasons) != 8 || !slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(r, "order.cancel") && strings.Contains(r, "entry 0") }) {
		t.Errorf("refused are %q, %v; want eight with their reasons", reasons, err)
	}
	testlog.Close(t, l)
}

func TestASpoolCarriesOnWhileTheServerIsDown(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t)
	dir := t.TempDir()
	open := func() *attestlog.Log {
		t.Helper()
		box, err := spool.Open(filepath.Join(dir, "audit.spool"), spool.Config{})
		if err != nil {
			t.Fatal(err)
		}
		cfg := postgres.Config{Home: filepath.Join(dir, "home"), Retry: 50 * time.Millisecond}
		return openWith(t, c.DSN("postgres"), cfg, attestlog.Config{Spool: box})
	}

	l := open()
	next := 0
	record := func(count int) {
		t.Helper()
		for range count {
			if err := l.Record(t.Context(), testlog.Event(next)); err != nil {
				t.Fatal(err)
			}
			next++
		}
	}

	record(500)

	c.Kill()
	record(30_000) // more than the queue
	if err := l.Close(testwait.Context(t)); err == nil || !strings.Contains(err.Error(), "connect") {
		t.Errorf("Close while the server is down = %v, want an error of the last checkpoint's, and nothing lost", err)
	}

	c.Restart(t)
	l = open()
	record(500)
	flush(t, l)

	n := 0
	for e, err := range l.Entries(t.Context(), query.Query{}) {
		if err != nil || e.ID != testlog.Event(n).ID {
			t.Fatalf("entry %d is %s, %v; want %s", e.Index, e.ID, err, testlog.Event(n).ID)
		}
		n++
	}
	if n != next {
		t.Errorf("%d entries, want %d", n, next)
	}
	if _, err := verify.Log(t.Context(), l, verify.Options{}); err != nil {
		t.Error(err)
	}
	testlog.Close(t, l)
}
