package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/verify"
)

// A client that stalls with the tree's row locked makes Append fail once it has
// waited for LockTimeout and Retry, and the log goes on when the client is gone.
func TestAppendWhileAnotherClientHoldsTheLock(t *testing.T) {
	t.Parallel()
	for _, lock := range []string{
		"SELECT size FROM tree FOR UPDATE",
		"LOCK TABLE tree IN ACCESS EXCLUSIVE MODE",
		"LOCK TABLE keys IN SHARE MODE",
	} {
		t.Run(lock, func(t *testing.T) {
			t.Parallel()
			o := newLog(t)
			limit := hangTimeout()
			l := o.openLog(t, postgres.Config{LockTimeout: limit, Retry: 2 * limit})
			var g ledger
			g.append(t, l, testlog.Events(0, 10)...)
			settled(t, o, l)
			holder := o.connect(t)
			execute(t, holder, "BEGIN", lock)

			began := time.Now()
			var failed *attestlog.AppendError
			got, err := l.Append(t.Context(), testlog.Event(10))
			if got != nil || !errors.As(err, &failed) || !errors.Is(err, attestlog.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Append = %v, %v; want an *AppendError of ErrUnavailable", got, err)
			}
			if err != nil && !strings.Contains(err.Error(), "55P03") { // lock_not_available
				t.Errorf("Append = %v, want that it waited for the lock", err)
			}
			if waited := time.Since(began); waited < limit {
				t.Errorf("Append took %v; LockTimeout is %v", waited, limit)
			}

			appendInVain(t, l, testlog.Events(10, 12)) // whose context ends before the lock's limit
			if err := l.Record(t.Context(), testlog.Event(12)); err != nil {
				t.Errorf("Record = %v, want it queued", err)
			}

			execute(t, holder, "ROLLBACK")
			got, err = l.Append(t.Context(), testlog.Events(10, 12)...)
			if err != nil {
				t.Errorf("Append after the lock was released = %v", err)
			}
			g.note(got)
			testlog.Flush(t, l)
			testlog.Close(t, l)
			l = o.openLog(t, postgres.Config{})
			defer testlog.Close(t, l)
			if others := g.check(t, l); others != 1 {
				t.Errorf("%d entries without a receipt, want the recorded one", others)
			}
			if r, err := verify.Log(t.Context(), l, verify.Options{Index: true}); err != nil || r.Size != 13 {
				t.Errorf("Verify = %+v, %v; want 13 entries", r, err)
			}
		})
	}
}
