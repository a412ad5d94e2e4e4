//go:build unix

package sqlite_test

import (
	"os"
	"syscall"
	"testing"
	"time"

	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
)

// countIn returns what a query on a log's index counts.
func countIn(t *testing.T, path, query string) (n int64) {
	t.Helper()
	err := withConn(path+".index", func(conn *zombiezen.Conn) error {
		return sqlitex.ExecuteTransient(conn, query, &sqlitex.ExecOptions{ResultFunc: func(stmt *zombiezen.Stmt) error {
			n = stmt.ColumnInt64(0)
			return nil
		}})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// appendInSteps appends events from a number on, so that each step has a segment
// of its own, and waits until done reports true.
func appendInSteps(t *testing.T, path string, from, steps, each int, done func(attestlog.Stats) bool) {
	t.Helper()
	l := sqlitetest.LogAt(t, path, attestlog.Config{})
	for step := range steps {
		var events []attestlog.Event
		for i := range each {
			events = append(events, tamperEvent(from+step*each+i))
		}
		if _, err := l.Append(t.Context(), events...); err != nil {
			t.Fatal(err)
		}
		testlog.Indexed(t, l)
	}

	testwait.Until(t, "the index is as awaited", func() bool { return done(testlog.Stats(t, l)) })
	testlog.Close(t, l)
}

// merged reports that an index has fewer than a number of segments and that no
// merge is going on. The statistics alone do not say so: that a merge is due is
// found out a moment after an append.
func merged(t *testing.T, path string, segments int64) func(attestlog.Stats) bool {
	return func(st attestlog.Stats) bool {
		return !st.Store.IndexMerging && countIn(t, path, segmentCount) < segments
	}
}

const (
	segmentCount = "SELECT count(*) FROM segments"
	deadRows     = "SELECT (SELECT count(*) FROM segments WHERE NOT live) + (SELECT count(*) FROM runs WHERE segment NOT IN (SELECT id FROM segments))"
)

// Segments are merged once nothing is appended. The index holds what it held, a
// merge that was interrupted leaves nothing that is found, and the next process
// clears it away.
func TestSegmentsAreMerged(t *testing.T) {
	path := sqlitetest.Path(t)
	const steps, each = 10, 60
	appendInSteps(t, path, 0, steps, each, merged(t, path, steps/2))
	if n := countIn(t, path, deadRows); n != 0 {
		t.Errorf("%d rows are left of segments that were merged", n)
	}
	checkAnswers(t, path, sqlite.Config{ReadOnly: true})

	// What a process that was killed in a merge leaves: rows, and perhaps all.
	if err := tamper(path+".index", `INSERT INTO segments (live, lo, hi, earliest, latest, spans) SELECT 0, lo, hi, earliest, latest, spans FROM segments LIMIT 1;
		INSERT INTO runs (segment, kind, a, b, data) SELECT (SELECT max(id) FROM segments), kind, a, b + 7, data FROM runs LIMIT 3`); err != nil {
		t.Fatal(err)
	}
	checkAnswers(t, path, sqlite.Config{ReadOnly: true})
	if r, err := verifyCopy(t.Context(), path, verify.Options{Index: true}); err != nil {
		t.Errorf("Verify beside an interrupted merge = %+v, %v", r, err)
	}
	appendInSteps(t, path, steps*each, 1, 10, func(attestlog.Stats) bool {
		return countIn(t, path, deadRows) == 0
	})
	if r, err := verifyCopy(t.Context(), path, verify.Options{Index: true}); err != nil {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

// While another process merges, this one leaves the segments alone. It merges
// them afterwards.
func TestOneProcessMergesAtATime(t *testing.T) {
	path := sqlitetest.Path(t)
	held, err := os.OpenFile(path+".index.lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}

	const steps, each = 10, 60
	var asked time.Time // since when a merge is due
	appendInSteps(t, path, 0, steps, each, func(st attestlog.Stats) bool {
		if !st.Store.IndexMerging {
			return false
		}
		if asked.IsZero() {
			asked = time.Now()
		}
		return time.Since(asked) > 3*time.Second // in which it is tried several times
	})
	if n := countIn(t, path, segmentCount); n != steps {
		t.Errorf("%d segments, want the %d that were added", n, steps)
	}

	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	appendInSteps(t, path, steps*each, 1, each, merged(t, path, steps/2))
}
