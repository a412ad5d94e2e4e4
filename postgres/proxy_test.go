package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/verify"
)

// Two processes over two networks, slow ones whose connections are cut at any
// moment: each event is there once, where its receipt says.
func TestCutConnectionsLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t)
	home := newHome(t)
	proxies := []*proxy{newProxy(t, c), newProxy(t, c)}
	var logs []*attestlog.Log
	for _, p := range proxies {
		p.delay.Store(int64(500 * time.Microsecond))
		logs = append(logs, openAt(t, p.dsn(), home))
	}

	var cuts atomic.Int64
	maybe := func([]byte) fate {
		if rand.IntN(150) > 0 {
			return pass
		}
		cuts.Add(1)
		return cut
	}
	for _, p := range proxies {
		p.toServer.Store(&maybe)
		p.toClient.Store(&maybe)
	}

	var g ledger
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() { g.write(t, logs[w%2], []int{1, 7, 300}[w/2]) })
	}
	testwait.Until(t, "25 cuts and 2000 receipts", func() bool { return cuts.Load() >= 25 && g.len() >= 2000 || t.Failed() })

	for _, p := range proxies {
		p.toServer.Store(nil)
		p.toClient.Store(nil)
	}
	g.stop.Store(true)
	wg.Wait()

	t.Logf("%d events, %d cuts, %d calls failed", g.len(), cuts.Load(), g.failures.Load())
	for _, l := range logs {
		testlog.Close(t, l)
	}
	g.checkVerified(t, c.DSN("postgres"), home)
}

// The answer to each COMMIT is lost. The call succeeds nevertheless, with the
// receipt of what was committed at first.
func TestALostCommitAnswerIsNotALostOrDoubleEntry(t *testing.T) {
	t.Parallel()
	o := newLog(t)
	p := newProxy(t, cluster)
	cfg := postgres.Config{Log: o.log, Home: o.home, NoIndex: true, Retry: testwait.Patience()}
	l := openWith(t, p.dsn(), cfg, attestlog.Config{})
	if _, err := l.Append(t.Context(), testlog.Event(0)); err != nil {
		t.Fatal(err)
	}

	conn := o.connect(t)
	testwait.Until(t, "a stored checkpoint, so that the next comes in a minute", func() bool {
		return one[int](t, conn, "SELECT count(*) FROM checkpoints") == 1
	})

	// Of a call's two transactions only the first sends leaves: the other finds the
	// events. Nor does one with a checkpoint, which may come in between.
	var sent atomic.Bool
	question := func(chunk []byte) fate {
		if bytes.Contains(chunk, []byte(`"id":"019a9f0c-`)) {
			sent.Store(true)
		}
		return pass
	}
	var lost atomic.Int64
	answer := func(chunk []byte) fate {
		if !committed(chunk) || !sent.Swap(false) {
			return pass
		}
		lost.Add(1)
		return cut
	}
	p.toServer.Store(&question)
	p.toClient.Store(&answer)

	var g ledger
	calls := 0
	for n := 1; n < 2000; calls++ {
		size := []int{1, 7, 400}[calls%3] // 400 go by COPY
		got, err := l.Append(t.Context(), testlog.Events(n, n+size)...)
		if err != nil {
			t.Fatalf("Append = %v", err)
		}
		for i, r := range got {
			if r.Index != uint64(n+i) {
				t.Fatalf("event %d is said to be entry %d", n+i, r.Index)
			}
		}
		g.note(got)
		n += size
	}

	p.toServer.Store(nil)
	p.toClient.Store(nil)
	if lost.Load() != int64(calls) {
		t.Errorf("%d answers were lost in %d calls", lost.Load(), calls)
	}
	if st, err := l.Stats(t.Context()); err != nil || st.Duplicates != uint64(g.len()) {
		t.Errorf("Stats = %+v, %v; want %d duplicates: each event once again", st, err, g.len())
	}

	testlog.Close(t, l)
	l = o.openLog(t, postgres.Config{})
	defer testlog.Close(t, l)
	if others := g.check(t, l); others != 1 {
		t.Errorf("%d entries without a receipt, want the first", others)
	}
	if r, err := verify.Log(t.Context(), l, verify.Options{}); err != nil || r.Size != uint64(g.len()+1) {
		t.Errorf("Verify = %+v, %v; want %d entries", r, err, g.len()+1)
	}
}

// While the network is a black hole a call ends with its context. Afterwards the
// log goes on, although its old connections never answer, and the server takes
// their transactions for alive.
func TestAppendAgainstABlackHoleEndsAndTheLogGoesOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		events int // of the call that is under way when the network goes
		lose   func(*proxy)
	}{
		{"between transactions", 1, (*proxy).loseAll},
		{"within a transaction", 300, loseAtLock},
		{"within a round trip", 1, loseHalf},
		{"within a COPY", 3000, loseInCopy},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newLog(t)
			p := newProxy(t, cluster)
			l := openWith(t, p.dsn(), postgres.Config{Log: o.log, Home: o.home, LockTimeout: lockTimeout, Timeout: hangTimeout()}, attestlog.Config{})
			var g ledger
			g.append(t, l, testlog.Events(0, 300)...)
			settled(t, o, l)

			c.lose(p)
			events := testlog.Events(300, 300+c.events)
			appendInVain(t, l, events)
			if err := l.Record(t.Context(), testlog.Event(9000)); err != nil {
				t.Errorf("Record = %v, want it queued", err)
			}

			p.toClient.Store(nil)
			p.toServer.Store(nil)
			p.restore()
			g.append(t, l, events...)
			flush(t, l)
			if e, err := l.EntryByID(t.Context(), testlog.Event(9000).ID); err != nil {
				t.Errorf("the event that was recorded meanwhile: entry %d, %v", e.Index, err)
			}

			p.cutLost() // or the store waits until its driver has given up what is lost
			testlog.Close(t, l)
			l = o.openLog(t, postgres.Config{})
			defer testlog.Close(t, l)
			if others := g.check(t, l); others != 1 {
				t.Errorf("%d entries without a receipt, want the recorded one", others)
			}
			if r, err := verify.Log(t.Context(), l, verify.Options{Index: true}); err != nil || r.Size != uint64(g.len()+1) {
				t.Errorf("Verify = %+v, %v; want %d entries", r, err, g.len()+1)
			}
		})
	}
}

// loseAtLock makes the network a black hole as soon as the server holds the
// lock of a transaction, and before the store learns of it.
func loseAtLock(p *proxy) {
	toClient := func(chunk []byte) fate {
		if bytes.Contains(chunk, []byte("C\x00\x00\x00\x0aBEGIN\x00")) {
			p.loseAll()
		}
		return pass
	}
	p.toClient.Store(&toClient)
}

// loseHalf makes the network a black hole once half of the statements that store an
// event have arrived: the server has locked the tree's row and waits for the others.
func loseHalf(p *proxy) {
	toServer := func(chunk []byte) fate {
		if !bytes.Contains(chunk, []byte(`"id":"019a9f0c-`)) {
			return pass
		}
		p.loseAll()
		return tear
	}
	p.toServer.Store(&toServer)
}

// loseAtWork makes the network a black hole once the server was asked for the lock of a
// work, and before the process learns whether it has it. In the mode cache_describe the
// statement comes with its parameter, a smallint.
func loseAtWork(p *proxy, work byte) (lost *atomic.Bool) {
	parameter := []byte{0, 0, 0, 2, 0, work}
	var asked atomic.Bool
	lost = new(atomic.Bool)
	toServer := func(chunk []byte) fate {
		if _, after, ok := bytes.Cut(chunk, []byte("locks WHERE work")); ok && bytes.Contains(after, parameter) {
			asked.Store(true)
		}
		return pass
	}
	toClient := func([]byte) fate {
		if asked.Load() {
			p.loseAll()
			lost.Store(true)
		}
		return pass
	}
	p.toServer.Store(&toServer)
	p.toClient.Store(&toClient)
	return lost
}

// lockHeld reports whether somebody holds the lock of one of a log's works. It takes the
// lock for a moment itself, so nobody else may be about to try for it.
func lockHeld(t *testing.T, conn *pgx.Conn, name string, work int) bool {
	t.Helper()
	return one[bool](t, conn, "SELECT NOT EXISTS (SELECT 1 FROM "+name+".locks WHERE work = $1 FOR UPDATE SKIP LOCKED)", work)
}

// loseInCopy makes the network a black hole once the server was told of a COPY
// and waits for its data.
func loseInCopy(p *proxy) {
	var begun atomic.Bool
	toServer := func(chunk []byte) fate {
		if begun.Load() {
			p.loseAll()
		} else if bytes.Contains(chunk, []byte("FROM STDIN BINARY")) {
			begun.Store(true)
		}
		return pass
	}
	p.toServer.Store(&toServer)
}

// A process that hangs while it moves events from the outbox leaves them to the
// others once the server has ended its session.
func TestAMoverThatHangsHoldsUpNobodyForGood(t *testing.T) {
	t.Parallel()
	o := newLog(t)
	p := newProxy(t, cluster)
	cfg := postgres.Config{Log: o.log, Home: o.home, LockTimeout: lockTimeout, Retry: -1, Timeout: hangTimeout()}

	// Without an index, it takes the outbox's lock alone.
	alone := cfg
	alone.NoIndex = true
	hanging := openWith(t, p.dsn()+"&default_query_exec_mode=cache_describe", alone, attestlog.Config{})
	lost := loseAtWork(p, 2)

	callers, box := pool(t), o.outbox(t)
	put := func(n int) {
		err := pgx.BeginFunc(t.Context(), callers, func(tx pgx.Tx) error { return box.AppendTx(t.Context(), tx, testlog.Event(n)) })
		if err != nil {
			t.Fatal(err)
		}
	}

	put(0)
	conn := o.connect(t)
	testwait.Until(t, "the hanging process has the outbox's lock", func() bool {
		return lost.Load() && lockHeld(t, conn, o.log, 2)
	})

	put(1)
	l := openWith(t, cluster.DSN("postgres"), cfg, attestlog.Config{})
	testwait.Until(t, "both events in the log", func() bool {
		size, err := l.Size(t.Context())
		return err == nil && size == 2
	})

	p.toServer.Store(nil)
	p.toClient.Store(nil)
	p.cutLost()
	p.restore()
	testlog.Close(t, hanging)
	testlog.Close(t, l)
	if r, err := o.verify(t, verify.Options{Index: true}); err != nil || r.Size != 2 {
		t.Errorf("Verify = %+v, %v; want each event once", r, err)
	}
}

// A process that hangs while it fills the search index, and holds the lock for
// that, holds up the appends of others only until the server ends its session.
func TestAnIndexerThatHangsHoldsUpNobodyForGood(t *testing.T) {
	t.Parallel()
	o := newLog(t)
	p := newProxy(t, cluster)
	cfg := postgres.Config{Log: o.log, Home: o.home, Timeout: hangTimeout(), Retry: testwait.Patience()}
	hanging := openWith(t, p.dsn()+"&default_query_exec_mode=cache_describe", cfg, attestlog.Config{})
	lost := loseAtWork(p, 0)

	var g ledger
	g.append(t, hanging, testlog.Events(0, 10)...)

	conn := o.connect(t)
	testwait.Until(t, "the hanging process has the index's lock", func() bool {
		return lost.Load() && lockHeld(t, conn, o.log, 0)
	})

	l := openWith(t, cluster.DSN("postgres"), cfg, attestlog.Config{})
	for n := 10; n < 40_000; n += 5000 { // twice what may wait for the index
		got, err := l.Append(testwait.Context(t), testlog.Events(n, n+5000)...)
		if err != nil {
			t.Fatalf("Append after %d entries = %v", n, err)
		}
		g.note(got)
	}
	testwait.Until(t, "an index over all entries", func() bool {
		st, err := l.Stats(t.Context())
		return err == nil && st.Store.IndexLag == 0
	})

	p.cutLost()
	p.restore()
	p.toClient.Store(nil)
	testlog.Close(t, hanging)
	testlog.Close(t, l)
	l = o.openLog(t, postgres.Config{})
	defer testlog.Close(t, l)
	g.check(t, l)
}

// appendInVain appends events while the server takes none: the call ends with
// its context.
func appendInVain(t *testing.T, l *attestlog.Log, events []attestlog.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := l.Append(ctx, events...)
	var failed *attestlog.AppendError
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &failed) || len(failed.IDs) != len(events) {
		t.Errorf("Append = %v, want an *AppendError of the deadline with %d ids", err, len(events))
	}
}

// settled waits until nothing but a further call makes the log's process write.
func settled(t *testing.T, o opener, l *attestlog.Log) {
	t.Helper()
	conn := o.connect(t)
	testwait.Until(t, "an index and a stored checkpoint over all entries", func() bool {
		size, err := l.Size(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		indexed := one[int64](t, conn, "SELECT coalesce(max(hi), 0) FROM segments")
		signed := one[int64](t, conn, "SELECT coalesce(max(size), 0) FROM checkpoints")
		return indexed == int64(size) && signed == int64(size)
	})
}
