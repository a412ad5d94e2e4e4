package sqlite_test

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/sqlite"
)

var indexQueries = []string{
	"", "tenant:t1", "target:mail/77", "ip:192.0.2.7 tenant:t2", "actor:bob", "alice order:time", "tenant:t0 order:time",
	"time:2026-03-01T10:01..2026-03-01T10:02", "time:2026-03-01T10:01..2026-03-01T10:02 order:time", "-tenant:t1 action:mail.*",
}

func openQuiet(ctx context.Context, path string, cfg sqlite.Config) (*sqlite.Store, *attestlog.Log, error) {
	cfg.Logger = slog.New(slog.DiscardHandler)
	s, err := sqlite.Open(ctx, path, cfg)
	if err != nil {
		return nil, nil, err
	}
	l, err := attestlog.New(ctx, s, attestlog.Config{Logger: cfg.Logger, ReadOnly: cfg.ReadOnly})
	if err != nil {
		s.Close()
	}
	return s, l, err
}

// checkAnswers compares what queries find with the entries themselves.
func checkAnswers(t *testing.T, path string, cfg sqlite.Config) {
	t.Helper()
	_, l, err := openQuiet(t.Context(), path, cfg)
	if err != nil {
		t.Fatal(err)
	}
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
	for _, query := range indexQueries {
		q, err := attestlog.ParseQuery(query)
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
			t.Errorf("Query(%s) (-want +got):\n%s", query, diff)
		}
		if n, err := l.Count(t.Context(), q, 0); n != uint64(len(want)) || err != nil {
			t.Errorf("Count(%s) = %d, %v; want %d", query, n, err, len(want))
		}
	}
}

// everyTerm is a document with every term of the index.
const everyTerm = `CREATE VIRTUAL TABLE temp.vocab USING fts5vocab (main, terms, row);
	INSERT INTO terms (rowid, t) SELECT %, CAST(group_concat(term, ' ') AS TEXT) FROM temp.vocab`

func TestVerifyFindsTamperingWithTheIndex(t *testing.T) {
	for _, test := range []tampering{
		{"terms proposed for an entry", strings.Replace(everyTerm, "%", "300", 1), 300},
		{"terms proposed for no entry", strings.Replace(everyTerm, "%", "6000", 1), anyIndex},
		{"terms proposed before the first entry", strings.Replace(everyTerm, "%", "-5", 1), anyIndex},
		{"terms emptied", "INSERT INTO terms (terms) VALUES ('delete-all')", 0},
		{"terms' segments deleted", "DELETE FROM terms_data WHERE id > 10", anyIndex},
		{"terms' segment flipped", "UPDATE terms_data SET block = CAST(substr(block, 1, 40) || x'ff' || substr(block, 42) AS BLOB) WHERE id = (SELECT max(id) FROM terms_data)", anyIndex},
		{"late entry deleted", "DELETE FROM late WHERE idx = (SELECT max(idx) FROM late WHERE idx < 300)", anyIndex},
		{"late entries emptied", "DELETE FROM late", anyIndex},
		{"late entry moved", "UPDATE late SET time = time - 1 WHERE idx = (SELECT max(idx) FROM late)", anyIndex},
		{"late entry inserted", "INSERT INTO late VALUES (0, 7)", 7},
		{"late entry of no entry inserted", "INSERT INTO late VALUES (0, 7000)", anyIndex},
		{"late entries swapped", "CREATE TEMP TABLE m AS SELECT min(idx) a, max(idx) b FROM late; UPDATE late SET idx = CASE idx WHEN (SELECT a FROM m) THEN (SELECT b FROM m) ELSE (SELECT a FROM m) END WHERE idx IN (SELECT a FROM m UNION SELECT b FROM m)", anyIndex},
		{"block's earliest time moved", "UPDATE blocks SET lo = lo + 1", 0},
		{"block's latest time moved", "UPDATE blocks SET hi = hi - 1", 0},
		{"block's high moved", "UPDATE blocks SET high = 0", 0},
		{"block's spine changed", "UPDATE blocks SET spine = 0", 0},
		{"block deleted", "DELETE FROM blocks", 0},
		{"block inserted", "INSERT INTO blocks VALUES (1, 0, 0, 0, 0)", anyIndex},
		{"state's latest time moved", "UPDATE state SET high = 0", anyIndex},
		{"state's watermark raised", "UPDATE state SET size = 100000", anyIndex},
		{"state's last leaf changed", "UPDATE state SET last = zeroblob(32)", anyIndex},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			path := logCopy(t)
			// Opened first: an index that does not belong is left aside when it is opened.
			_, l, err := openQuiet(t.Context(), path, sqlite.Config{ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close(context.Background())
			err = withConn(path+".index", func(conn *zombiezen.Conn) error { return sqlitex.ExecuteScript(conn, test.script+";", nil) })
			if err != nil {
				t.Fatal(err)
			}
			r, err := l.Verify(t.Context(), attestlog.VerifyOptions{Index: true})
			wantCorrupt(t, r, err, test.index)
			if r, err := l.Verify(t.Context(), attestlog.VerifyOptions{}); err != nil {
				t.Errorf("Verify without the index = %+v, %v", r, err)
			}
			for _, query := range indexQueries { // what is found is true in any case
				q, err := attestlog.ParseQuery(query)
				if err != nil {
					t.Fatal(err)
				}
				page, err := l.Query(t.Context(), q, attestlog.PageOptions{Limit: 10_000})
				if err != nil && zombiezen.ErrCode(err).ToPrimary() != zombiezen.ResultCorrupt {
					t.Errorf("Query(%s) = %v", query, err)
				}
				for i := range page.Entries {
					if !q.Match(&page.Entries[i]) {
						t.Errorf("Query(%s) shows entry %d, which does not match", query, page.Entries[i].Index)
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
			if r, err := verifyCopy(t.Context(), path, attestlog.VerifyOptions{Index: true}); err != nil {
				t.Errorf("Verify = %+v, %v", r, err)
			}
		})
	}
}

func TestReindexMendsTheIndex(t *testing.T) {
	path := logCopy(t)
	err := withConn(path+".index", func(conn *zombiezen.Conn) error {
		return sqlitex.ExecuteScript(conn, strings.Replace(everyTerm, "%", "300", 1)+"; DELETE FROM late;", nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	s, l, err := openQuiet(t.Context(), path, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(context.Background())
	r, err := l.Verify(t.Context(), attestlog.VerifyOptions{Index: true})
	wantCorrupt(t, r, err, anyIndex)
	var done uint64
	if err := s.Reindex(t.Context(), func(n, _ uint64) { done = n }); err != nil || done != tamperSize {
		t.Errorf("Reindex = %v after %d entries, want all %d", err, done, tamperSize)
	}
	if r, err := l.Verify(t.Context(), attestlog.VerifyOptions{Index: true}); err != nil {
		t.Errorf("Verify after Reindex = %+v, %v", r, err)
	}
	compareAnswers(t, l)
	if _, err := l.Append(t.Context(), tamperEvent(2000)); err != nil {
		t.Errorf("Append after Reindex = %v", err)
	}
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		if st, err := s.Stats(t.Context()); err != nil || st.IndexLag == 0 {
			return
		}
	}
	t.Error("the index does not follow after Reindex")
}
