package attestlog_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
)

// The clock of these tests stands still while anything is at work, so times are
// exact, however busy the machine is.

// An entry of the log's own process is not waited for as one of another process
// is, which a tail has to look for.
func TestAnEntryReachesATailAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := sqlitetest.Log(t, attestlog.Config{})
		defer testlog.Close(t, log)
		ctx, cancel := context.WithCancel(t.Context())
		arrived := make(chan time.Time)
		go func() {
			defer close(arrived)
			for range log.Tail(ctx, 0, query.Query{}) {
				arrived <- time.Now()
			}
		}()

		for n := range 5 {
			synctest.Wait() // for the tail to wait
			appended := time.Now()
			testlog.Append(t, log, testlog.Event(n))
			if took := (<-arrived).Sub(appended); took > 0 {
				t.Errorf("entry %d has reached the tail after %v", n, took)
			}
		}
		cancel()
		<-arrived
	})
}

func TestACheckpointFollowsWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := sqlitetest.Log(t, attestlog.Config{})
		defer testlog.Close(t, log)
		signed := func() uint64 {
			t.Helper()
			c, err := log.Checkpoint(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return c.Size
		}

		for n := range 3 {
			testlog.Append(t, log, testlog.Event(n))
			time.Sleep(time.Second)
			synctest.Wait()
			if got := signed(); got != uint64(n+1) {
				t.Errorf("a second after entry %d the checkpoint is over %d entries", n, got)
			}
		}

		// While entries keep coming, too.
		const each = 20 * time.Millisecond
		for n := 3; n < 203; n++ {
			testlog.Append(t, log, testlog.Event(n))
			time.Sleep(each)
			synctest.Wait()
			if got, secondAgo := signed(), n+1-int(time.Second/each); int(got) < secondAgo {
				t.Fatalf("the checkpoint is over %d entries, there were %d a second ago", got, secondAgo)
			}
		}
	})
}
