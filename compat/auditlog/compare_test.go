package auditlog

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
)

// A day later, the table is compared with what the log has of it, and not again
// on the same day.
func TestRowsThatWereChangedAreReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	program, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	const row = "INSERT INTO audit (ts, username, method, path, module, status) VALUES (1700000000, 'a', 'GET', '/', '', 200);"
	change := func(script string) {
		t.Helper()
		if err := sqlitex.ExecuteScript(program, script, nil); err != nil {
			t.Fatal(err)
		}
	}
	change(`CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, ts INTEGER, username TEXT, method TEXT, path TEXT, module TEXT, status INTEGER);` +
		strings.Repeat(row, 3_000))
	s, err := New(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	for day, c := range []struct {
		change string
		want   map[string]any
	}{
		{"", map[string]any{"rows": 3000.0, "missing": 0.0, "changed": 0.0}},
		{"DELETE FROM audit WHERE id IN (7, 8)", map[string]any{"rows": 3000.0, "missing": 2.0, "changed": 0.0, "first": []any{7.0, 8.0}}},
		{"UPDATE audit SET username = 'mallory' WHERE id = 1000", map[string]any{"rows": 3000.0, "missing": 2.0, "changed": 1.0, "first": []any{7.0, 8.0, 1000.0}}},
	} {
		change(c.change)
		f, err := newFollower(t.Context(), s.log, path)
		if err != nil {
			t.Fatal(err)
		}
		for _, ago := range []time.Duration{compareEvery - time.Minute, compareEvery + time.Minute, 0} {
			if ago > 0 {
				f.now = func() time.Time { return time.Now().Add(ago) }
			}
			if err := f.compareDaily(t.Context()); err != nil {
				t.Fatal(err)
			}
			if ago < compareEvery && ago > 0 {
				if n := len(testlog.Entries(t, s.log, query.Field("action", "auditlog.compared"))); n != day {
					t.Fatalf("day %d: %d comparisons before the day is over", day, n)
				}
			}
		}

		entries := testlog.Entries(t, s.log, query.Field("action", "auditlog.compared"))
		if len(entries) != day+1 {
			t.Fatalf("day %d: %d comparisons", day, len(entries))
		}
		got := entries[day]
		if fmt.Sprint(got.Attributes) != fmt.Sprint(c.want) || (day > 0) != (got.Outcome == attestlog.Failure) {
			t.Errorf("day %d: %v %s, want %v", day, got.Attributes, got.Outcome, c.want)
		}
	}
	if entries, err := s.List(-1); err != nil || len(entries) != 3_000 {
		t.Errorf("List = %d entries, %v; want 3000", len(entries), err)
	}
}
