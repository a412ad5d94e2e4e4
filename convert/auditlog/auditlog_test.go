package auditlog_test

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/auditlog"
	store "github.com/attestlog/attestlog/sqlite"
)

const schema = "CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, ts INTEGER, username TEXT, method TEXT, path TEXT, module TEXT, status INTEGER)"

// table makes a database with rows; an empty journal is SQLite's default.
func table(t testing.TB, journal string, rows ...auditlog.Row) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if journal != "" {
		err = sqlitex.ExecuteTransient(conn, "PRAGMA journal_mode = "+journal, nil)
	}
	if err := errors.Join(err, sqlitex.ExecuteTransient(conn, schema, nil)); err != nil {
		t.Fatal(err)
	}
	defer sqlitex.Transaction(conn)(&err)
	for _, r := range rows {
		err := sqlitex.Execute(conn, "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)", &sqlitex.ExecOptions{Args: []any{r.ID, r.TS, r.Username, r.Method, r.Path, r.Module, r.Status}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// row returns a row of an id and the other columns' values.
func row(id int64, v ...any) auditlog.Row {
	return auditlog.Row{ID: id, TS: v[0], Username: v[1], Method: v[2], Path: v[3], Module: v[4], Status: v[5]}
}

func read(t testing.TB, path string) []attestlog.Event {
	t.Helper()
	tab, err := auditlog.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	var out []attestlog.Event
	for e, err := range tab.Events(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	if int64(len(out)) != tab.Rows {
		t.Errorf("%d events of %d rows", len(out), tab.Rows)
	}
	return out
}

func TestARowBecomesAnEvent(t *testing.T) {
	got := read(t, table(t, "", row(7, int64(1_700_000_000), "alice", "POST", "/mail/7", "mail", int64(403))))[0]
	text, err := got.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"action":"http.post","actor":{"id":"alice"},"attributes":{"auditlog":{"id":7}},"id":"auditlog:` + strings.TrimPrefix(got.ID, "auditlog:") +
		`","module":"mail","outcome":"failure","request":{"method":"POST","path":"/mail/7","status":403},"time":"2023-11-14T22:13:20.000000000Z"}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

// anyValue draws what SQLite may hold in a column.
func anyValue(t *rapid.T, name string, usual *rapid.Generator[any]) any {
	return rapid.OneOf(usual, usual, usual,
		rapid.Just[any](nil),
		rapid.Map(rapid.Int64(), func(n int64) any { return n }),
		rapid.Map(rapid.Float64(), func(f float64) any {
			if math.IsNaN(f) {
				return nil // as SQLite stores it
			}
			return f
		}),
		rapid.Map(rapid.String(), func(s string) any { return s }),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) any { return string(b) }), // not UTF-8
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) any { return b }),
		rapid.Map(rapid.IntRange(2000, 3000), func(n int) any { return strings.Repeat("long ü", n) }),
	).Draw(t, name)
}

// same tells whether two values are the same, an empty blob as nil included.
func same(a, b any) bool {
	if x, ok := a.([]byte); ok {
		y, ok := b.([]byte)
		return ok && string(x) == string(y)
	}
	return a == b
}

func TestWhatGoesInComesOutIdentical(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(t.Context(), filepath.Join(dir, "audit.db"), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := attestlog.New(t.Context(), s, attestlog.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(context.Background())
	text := rapid.Map(rapid.StringMatching(`[a-z/]{0,12}`), func(s string) any { return s })
	number := rapid.Map(rapid.Int64Range(0, 2_000_000_000), func(n int64) any { return n })
	next := int64(0)
	rapid.Check(t, func(t *rapid.T) {
		next += rapid.Int64Range(1, 1<<40).Draw(t, "step")
		in := row(
			next, anyValue(t, "ts", number), anyValue(t, "username", text), anyValue(t, "method", text),
			anyValue(t, "path", text), anyValue(t, "module", text), anyValue(t, "status", number),
		)
		event := in.Event("app.db")
		receipts, err := l.Append(context.Background(), event)
		if err != nil {
			t.Fatalf("Append of %+v: %v", in, err)
		}
		e, err := l.Entry(context.Background(), receipts[0].Index)
		if err != nil {
			t.Fatal(err)
		}
		got, err := auditlog.RowOf(e.Event)
		if err != nil {
			t.Fatal(err)
		}
		pairs := [][2]any{{in.TS, got.TS}, {in.Username, got.Username}, {in.Method, got.Method}, {in.Path, got.Path}, {in.Module, got.Module}, {in.Status, got.Status}}
		for i, p := range pairs {
			if !same(p[0], p[1]) {
				t.Errorf("value %d went in as %T %.80v and came out as %T %.80v", i, p[0], p[0], p[1], p[1])
			}
		}
		if got.ID != in.ID {
			t.Errorf("row %d came out as %d", in.ID, got.ID)
		}
	})
}

func TestIdenticalRowsAreEventsOfTheirOwn(t *testing.T) {
	again := func(id int64) auditlog.Row {
		return row(id, int64(1_700_000_000), "alice", "POST", "/", "", int64(200))
	}
	path := table(t, "WAL", again(1), again(2))
	first, second := read(t, path), read(t, path)
	if len(first) != 2 || first[0].ID == first[1].ID || first[0].ID != second[0].ID || first[1].ID != second[1].ID {
		t.Errorf("ids %q and %q, then %q and %q; want two that stay", first[0].ID, first[1].ID, second[0].ID, second[1].ID)
	}
}

func TestTheFileIsLeftAsItWas(t *testing.T) {
	path := table(t, "WAL", row(1, int64(1), "a", "GET", "/", "", int64(200)))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	read(t, path)
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("the file was changed: %v", err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 1 {
		t.Errorf("beside the file stand %v, %v", files, err)
	}
}

// leaveOpen begins a transaction in a table of 3,000 rows, some of whose pages have
// reached the file already.
func leaveOpen(t *testing.T, path string) {
	t.Helper()
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	for _, statement := range []string{
		"PRAGMA cache_size = 5", "PRAGMA cache_spill = 5", "BEGIN",
		"UPDATE audit SET username = 'never committed, and as long as the others were, or so'",
	} {
		if err := sqlitex.ExecuteTransient(conn, statement, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatWasNotCommittedIsNoHistory(t *testing.T) {
	var rows []auditlog.Row
	for n := range int64(3000) {
		rows = append(rows, row(n+1, int64(1), strings.Repeat("committed ", 10), "GET", "/", "", int64(200)))
	}
	path := table(t, "", rows...)
	// A program dies within a transaction that has begun to reach the file: its
	// files are what is copied here.
	leaveOpen(t, path)
	dead := filepath.Join(t.TempDir(), "app.db")
	for _, suffix := range []string{"", "-journal"} {
		content, err := os.ReadFile(path + suffix)
		if err != nil || len(content) == 0 {
			t.Fatalf("%s: %d bytes, %v", suffix, len(content), err)
		}
		if err := os.WriteFile(dead+suffix, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if content, err := os.ReadFile(dead); err != nil || !strings.Contains(string(content), "never committed") {
		t.Fatalf("nothing of the transaction is in the file: %v", err)
	}
	events := read(t, dead)
	for _, e := range events {
		if !strings.HasPrefix(e.Actor.ID, "committed") {
			t.Fatalf("event %s is of a row that was never committed: %q", e.ID, e.Actor.ID)
		}
	}
	if len(events) != 3000 {
		t.Errorf("%d events, want 3000", len(events))
	}
}

func TestWhatIsNoAuditTable(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other.db")
	conn, err := sqlite.OpenConn(other, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(sqlitex.ExecuteTransient(conn, "CREATE TABLE audit (id INTEGER PRIMARY KEY, x TEXT)", nil), conn.Close())
	if err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{other, text} {
		if _, err := auditlog.Open(path); !errors.Is(err, auditlog.ErrNoTable) {
			t.Errorf("Open(%s) = %v, want ErrNoTable", path, err)
		}
	}
	if _, err := auditlog.Open(filepath.Join(t.TempDir(), "none.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open of a missing file = %v", err)
	}
}
