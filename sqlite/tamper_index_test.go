package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
)

var indexQueries = []string{
	"", "tenant:t1", "target:mail/77", "ip:192.0.2.7 tenant:t2", "actor:bob", "alice order:time", "tenant:t0 order:time",
	"time:2026-03-01T10:01..2026-03-01T10:02", "time:2026-03-01T10:01..2026-03-01T10:02 order:time", "-tenant:t1 action:mail.*",
}

// checkAnswers compares what queries find with the entries themselves.
func checkAnswers(t *testing.T, path string, cfg sqlite.Config) {
	t.Helper()
	s := sqlitetest.Store(t, path, cfg)
	l := testlog.New(t, s, attestlog.Config{ReadOnly: cfg.ReadOnly})
	defer l.Close(context.Background())
	compareAnswers(t, l)
}

func compareAnswers(t *testing.T, l *attestlog.Log) {
	t.Helper()
	var all []attestlog.Entry
	for i := range uint64(tamperSize) {
		e, err := l.Entry(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	for _, text := range indexQueries {
		q, err := query.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		var want, got []uint64
		for i := range all {
			if q.Match(&all[i]) {
				want = append(want, all[i].Index)
			}
		}
		page, err := l.Query(t.Context(), q, attestlog.PageOptions{Limit: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			got = append(got, e.Index)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Query(%s) (-want +got):\n%s", text, diff)
		}
		if n, err := l.Count(t.Context(), q, 0); n != uint64(len(want)) || err != nil {
			t.Errorf("Count(%s) = %d, %v; want %d", text, n, err, len(want))
		}
	}
}

// flip changes a bit of a byte of a blob.
func flip(blob string, at int) string {
	return fmt.Sprintf("CAST(substr(%[1]s, 1, %[2]d) || CASE substr(%[1]s, %[2]d + 1, 1) WHEN x'00' THEN x'01' ELSE x'00' END || substr(%[1]s, %[2]d + 2) AS BLOB)", blob, at)
}

func TestVerifyFindsTamperingWithTheIndex(t *testing.T) {
	for _, test := range []tampering{
		{"row of terms deleted", "DELETE FROM runs WHERE id = (SELECT min(id) FROM runs WHERE kind = 0)", anyIndex},
		{"row of times deleted", "DELETE FROM runs WHERE id = (SELECT min(id) FROM runs WHERE kind = 1)", anyIndex},
		{"rows deleted", "DELETE FROM runs", 0},
		{"row changed", "UPDATE runs SET data = " + flip("data", 3), anyIndex},
		{"row's last byte changed", "UPDATE runs SET data = " + flip("data", 700) + " WHERE length(data) > 701", anyIndex},
		{"row cut", "UPDATE runs SET data = substr(data, 1, length(data) - 1)", anyIndex},
		{"row moved", "UPDATE runs SET a = a + 1 WHERE kind = 1", anyIndex},
		{"row of entries beyond the segment", "UPDATE runs SET b = b + 100000 WHERE kind = 1", anyIndex},
		{"row of another kind", "UPDATE runs SET kind = 2 WHERE kind = 1", anyIndex},
		{"row of no segment", "INSERT INTO runs (segment, kind, a, b, data) SELECT -1, kind, a, b, data FROM runs LIMIT 1", 0},
		{"rows of segments swapped", "CREATE TEMP TABLE m AS SELECT min(segment) x, max(segment) y FROM runs; UPDATE runs SET segment = -segment WHERE segment = (SELECT x FROM m); UPDATE runs SET segment = (SELECT x FROM m) WHERE segment = (SELECT y FROM m); UPDATE runs SET segment = (SELECT y FROM m) WHERE segment < 0", anyIndex},
		{"first segment deleted", "DELETE FROM segments WHERE lo = 0; DELETE FROM runs WHERE segment NOT IN (SELECT id FROM segments)", 0},
		{"first segment no longer live", "UPDATE segments SET live = 0 WHERE lo = 0", 0},
		{"last segment deleted", "DELETE FROM segments WHERE lo > 0; DELETE FROM runs WHERE segment NOT IN (SELECT id FROM segments)", anyIndex},
		{"segment too long", "UPDATE segments SET hi = hi + 1 WHERE hi = (SELECT max(hi) FROM segments)", tamperSize},
		{"segment too short", "UPDATE segments SET hi = hi - 1 WHERE hi = (SELECT max(hi) FROM segments)", anyIndex},
		{"segment far too long", "UPDATE segments SET hi = 100000 WHERE hi = (SELECT max(hi) FROM segments)", tamperSize},
		{"segment of other times", "UPDATE segments SET earliest = earliest + 1 WHERE lo = 0", 0},
		{"spans changed", "UPDATE segments SET spans = " + flip("spans", 7), 0},
		{"spans cut", "UPDATE segments SET spans = x''", 0},
		{"state's last leaf changed", "UPDATE state SET last = zeroblob(32)", tamperSize - 1},
		{"state's last leaf forgotten", "UPDATE state SET last = x''", tamperSize - 1},
		{"rows behind a view", "ALTER TABLE runs RENAME TO kept; CREATE VIEW runs AS SELECT * FROM kept WHERE strftime('%s', 'now') > 0", 0},
		{"a trigger added", "CREATE TRIGGER extra AFTER INSERT ON runs BEGIN DELETE FROM runs; END", 0},
		{"segments of which one ends before it begins", "PRAGMA ignore_check_constraints = ON; UPDATE segments SET hi = 1 << 40 WHERE lo = 0; UPDATE segments SET lo = 1 << 40 WHERE lo > 0; UPDATE state SET last = x''", anyIndex},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			path := logCopy(t)
			// Opened first: an index that does not belong is left aside when it is opened.
			l := sqlitetest.LogAt(t, path, attestlog.Config{ReadOnly: true})
			defer l.Close(context.Background())
			err := withConn(path+".index", func(conn *zombiezen.Conn) error { return sqlitex.ExecuteScript(conn, test.script+";", nil) })
			if err != nil {
				t.Fatal(err)
			}
			r, err := verify.Log(t.Context(), l, verify.Options{Index: true})
			wantCorrupt(t, r, err, test.index)
			if r, err := verify.Log(t.Context(), l, verify.Options{}); err != nil {
				t.Errorf("Verify without the index = %+v, %v", r, err)
			}
			for _, text := range indexQueries { // what is found is true in any case
				q, err := query.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				page, err := l.Query(t.Context(), q, attestlog.PageOptions{Limit: 10_000})
				var corrupt *attestlog.CorruptError
				if err != nil && !errors.As(err, &corrupt) {
					t.Errorf("Query(%s) = %v", text, err)
				}
				for i := range page.Entries {
					if !q.Match(&page.Entries[i]) {
						t.Errorf("Query(%s) shows entry %d, which does not match", text, page.Entries[i].Index)
					}
				}
			}
		})
	}
}

// TestIndexIsBuiltAgain damages the index while the log is closed; opened
// again, or reindexed, the log answers as before.
func TestIndexIsBuiltAgain(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(path string) error
	}{
		{"deleted", func(path string) error { return os.Remove(path) }},
		{"emptied", func(path string) error { return os.Truncate(path, 0) }},
		{"cut", func(path string) error { return os.Truncate(path, 5000) }},
		{"something else", func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("hello ", 2000)), 0o600) }},
		{"of another log", func(path string) error {
			return withConn(path, func(conn *zombiezen.Conn) error {
				return sqlitex.ExecuteTransient(conn, "UPDATE state SET log = zeroblob(32)", nil)
			})
		}},
		{"of other terms", func(path string) error {
			return withConn(path, func(conn *zombiezen.Conn) error {
				return sqlitex.ExecuteTransient(conn, "UPDATE state SET terms = 99", nil)
			})
		}},
		{"of an older version", func(path string) error {
			return withConn(path, func(conn *zombiezen.Conn) error {
				return sqlitex.ExecuteTransient(conn, "PRAGMA user_version = 1", nil)
			})
		}},
		{"of another history", func(path string) error {
			return withConn(path, func(conn *zombiezen.Conn) error {
				return sqlitex.ExecuteTransient(conn, "UPDATE state SET last = zeroblob(32)", nil)
			})
		}},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			path := logCopy(t)
			if err := test.damage(path + ".index"); err != nil {
				t.Fatal(err)
			}
			checkAnswers(t, path, sqlite.Config{ReadOnly: true})
			checkAnswers(t, path, sqlite.Config{})
			if r, err := verifyCopy(t.Context(), path, verify.Options{Index: true}); err != nil {
				t.Errorf("Verify = %+v, %v", r, err)
			}
		})
	}
}

func TestReindexMendsTheIndex(t *testing.T) {
	path := logCopy(t)
	err := withConn(path+".index", func(conn *zombiezen.Conn) error {
		return sqlitex.ExecuteScript(conn, "DELETE FROM runs WHERE kind = 1;", nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	s := sqlitetest.Store(t, path, sqlite.Config{})
	l := testlog.New(t, s, attestlog.Config{})
	r, err := verify.Log(t.Context(), l, verify.Options{Index: true})
	wantCorrupt(t, r, err, anyIndex)
	var done uint64
	if err := s.Reindex(t.Context(), func(n, _ uint64) { done = n }); err != nil || done != tamperSize {
		t.Errorf("Reindex = %v after %d entries, want all %d", err, done, tamperSize)
	}
	if r, err := verify.Log(t.Context(), l, verify.Options{Index: true}); err != nil {
		t.Errorf("Verify after Reindex = %+v, %v", r, err)
	}
	compareAnswers(t, l)
	if _, err := l.Append(t.Context(), tamperEvent(2000)); err != nil {
		t.Errorf("Append after Reindex = %v", err)
	}
	testlog.Indexed(t, l)

	testlog.Close(t, l)
	if err := s.Reindex(t.Context(), nil); !errors.Is(err, attestlog.ErrClosed) {
		t.Errorf("Reindex of a closed log = %v, want ErrClosed", err)
	}
}
