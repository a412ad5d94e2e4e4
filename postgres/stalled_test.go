package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/verify"
)

// A client that stalls with the tree's row locked makes Append fail within its
// own bounds, and nothing of that is left when the client is gone.
func TestAppendBehindAClientThatHoldsTheLock(t *testing.T) {
	t.Parallel()
	for _, lock := range []string{
		"SELECT size FROM tree FOR UPDATE",
		"LOCK TABLE tree IN ACCESS EXCLUSIVE MODE",
		"LOCK TABLE keys IN SHARE MODE",
	} {
		t.Run(lock, func(t *testing.T) {
			t.Parallel()
			o := newLog(t)
			l := openWith(t, cluster.DSN("postgres"), postgres.Config{Log: o.log, Home: o.home, LockTimeout: 800 * time.Millisecond, Retry: time.Second}, attestlog.Config{})
			var g ledger
			got, err := l.Append(t.Context(), testEvents(0, 10)...)
			if err != nil {
				t.Fatal(err)
			}
			g.note(got)
			settled(t, o, l)
			holder := o.connect(t)
			execute(t, holder, "BEGIN", lock)

			began := time.Now()
			var failed *attestlog.AppendError
			if got, err := l.Append(t.Context(), testEvent(10)); got != nil || !errors.As(err, &failed) || !errors.Is(err, attestlog.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Append = %v, %v; want an *AppendError of ErrUnavailable", got, err)
			}
			if waited := time.Since(began); waited < 700*time.Millisecond || waited > 3*time.Second {
				t.Errorf("Append took %v; LockTimeout is 800ms and Retry 1s", waited)
			}
			appendInVain(t, l, testEvents(10, 12)) // whose context ends before the lock's limit
			if err := l.Record(t.Context(), testEvent(12)); err != nil {
				t.Errorf("Record = %v, want it queued", err)
			}
			execute(t, holder, "ROLLBACK")
			if got, err = l.Append(t.Context(), testEvents(10, 12)...); err != nil {
				t.Errorf("Append behind nobody = %v", err)
			}
			g.note(got)
			if err := l.Flush(t.Context()); err != nil {
				t.Errorf("Flush = %v", err)
			}
			closeLog(t, l)
			l = o.openLog(t, postgres.Config{})
			defer closeLog(t, l)
			if others := g.check(t, l); others != 1 {
				t.Errorf("%d entries without a receipt, want the recorded one", others)
			}
			if r, err := verify.Log(t.Context(), l, verify.Options{Index: true}); err != nil || r.Size != 13 {
				t.Errorf("Verify = %+v, %v; want 13 entries", r, err)
			}
		})
	}
}
