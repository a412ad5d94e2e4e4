package sqlite_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

// TestEverythingAtOnce uses a log from 16 goroutines and closes it under them.
// What was acknowledged is there afterwards, and nothing runs on.
func TestEverythingAtOnce(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx := context.Background()
	path := sqlitetest.Path(t)
	l := sqlitetest.LogAt(t, path, attestlog.Config{})
	const bound = 20_000
	if _, err := l.Append(ctx, tamperEvent(3*bound)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Publish(ctx); err != nil { // before it, nothing can be verified
		t.Fatal(err)
	}
	var next, closing atomic.Int64
	isClosing := make(chan struct{})
	// number returns the last of n numbers of events. There are no others after bound.
	number := func(n int64) (int, error) {
		last := next.Add(n)
		if last > bound {
			<-isClosing
			return 0, attestlog.ErrClosed
		}
		return int(last), nil
	}
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	accept := func(ids ...string) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ids {
			acknowledged[id] = true
		}
	}
	// ended reports whether the log is closing, and complains of errors before.
	ended := func(what string, err error) bool {
		if err != nil && closing.Load() == 0 {
			t.Errorf("%s = %v", what, err)
		}
		return closing.Load() == 1 && err != nil
	}
	q, err := query.Parse("tenant:t1 action:mail.* order:time")
	if err != nil {
		t.Fatal(err)
	}
	jobs := map[string]func() error{
		"Append": func() error {
			n, err := number(5)
			if err != nil {
				return err
			}
			var call []attestlog.Event
			for i := n - 5; i < n; i++ {
				call = append(call, tamperEvent(i))
			}
			receipts, err := l.Append(ctx, call...)
			for _, r := range receipts {
				accept(r.ID)
			}
			return err
		},
		"Record": func() error {
			n, err := number(1)
			if err != nil {
				return err
			}
			e := tamperEvent(n + bound)
			err = l.Record(ctx, e)
			if err == nil {
				accept(e.ID)
			}
			return err
		},
		"Query": func() error { _, err := l.Query(ctx, q, attestlog.PageOptions{}); return err },
		"Count": func() error { _, err := l.Count(ctx, q, 1000); return err },
		"Tail": func() error {
			n, last := 0, error(nil)
			for _, err := range l.Tail(ctx, uint64(next.Load()/2), query.Query{}) {
				if last = err; err != nil || n > 100 {
					break
				}
				n++
			}
			return last
		},
		"Stats": func() error { _, err := l.Stats(ctx); return err },
		"InclusionProof": func() error {
			c, err := l.Checkpoint(ctx)
			if err != nil {
				return err
			}
			_, err = l.InclusionProof(ctx, c.Size/2)
			return err
		},
		"Publish": func() error { _, err := l.Publish(ctx); return err },
		"Verify":  func() error { _, err := verify.Log(ctx, l, verify.Options{}); return err },
	}
	var wg sync.WaitGroup
	i := 0
	for i < 16 {
		for what, job := range jobs {
			if i++; i > 16 {
				break
			}
			wg.Go(func() {
				for !ended(what, job()) && closing.Load() == 0 {
				}
			})
		}
	}

	// All of them are at work for a while.
	const enough = 3 * time.Second
	for began := time.Now(); next.Load() < bound/2 && time.Since(began) < enough; {
		time.Sleep(5 * time.Millisecond)
	}
	closing.Store(1)
	close(isClosing)
	if err := l.Close(ctx); err != nil {
		t.Errorf("Close = %v", err)
	}
	wg.Wait()

	l = sqlitetest.LogAt(t, path, attestlog.Config{ReadOnly: true})
	for e, err := range l.Entries(ctx, query.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		delete(acknowledged, e.ID)
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d acknowledged events are not in the log", len(acknowledged))
	}
	r, err := verify.Log(ctx, l, verify.Options{Index: true})
	if err != nil || r.Signed != r.Size {
		t.Errorf("Verify = %+v, %v; want all entries signed", r, err)
	}
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
}
