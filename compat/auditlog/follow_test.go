package auditlog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/compat/auditlog"
	table "github.com/attestlog/attestlog/convert/auditlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/verify"
)

// program opens a database as a program with the old log has it.
func program(t *testing.T, path string) *sqlite.Conn {
	t.Helper()
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func script(t *testing.T, conn *sqlite.Conn, text string) {
	t.Helper()
	if err := sqlitex.ExecuteScript(conn, text, nil); err != nil {
		t.Fatal(err)
	}
}

func insert(name string) string {
	return fmt.Sprintf("INSERT INTO audit (ts, username, method, path, module, status) VALUES (1700000000, '%s', 'GET', '/', '', 200);", name)
}

// names returns the users of all entries, oldest first.
func names(t *testing.T, s *auditlog.Store) string {
	t.Helper()
	var out []string
	for _, e := range list(t, s, -1) {
		out = append([]string{e.Username}, out...)
	}
	return strings.Join(out, " ")
}

// The old log and this one run side by side, and take turns.
func TestRowsThatTheOldLogAddsFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	s := newStore(t, path)
	s.Record("new1", "GET", "/", "", 200)
	old := program(t, path)
	script(t, old, insert("old1")+insert("old2"))
	testwait.Until(t, "rows of a program that runs meanwhile", func() bool { return names(t, s) == "new1 old1 old2" })
	s.Record("new2", "GET", "/", "", 200)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// The new program is rolled back for a while.
	script(t, old, insert("old3"))
	s = newStore(t, path)
	if got, want := names(t, s), "new1 old1 old2 new2 old3"; got != want {
		t.Errorf("after the old log was put back: %s, want %s", got, want)
	}
	if _, err := verify.Log(t.Context(), s.Log(), verify.Options{}); err != nil {
		t.Errorf("Verify = %v", err)
	}

	// The program attestlog takes the table over as well.
	tab, err := table.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	before := testlog.Size(t, s.Log())
	for e, err := range tab.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		testlog.Append(t, s.Log(), e)
	}
	if after := testlog.Size(t, s.Log()); after != before {
		t.Errorf("an import adds %d entries", after-before)
	}
}

// A table that begins anew, or lost its newest rows, is read from its start.
func TestATableThatBeginsAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	s := newStore(t, path)
	old := program(t, path)
	script(t, old, insert("a")+insert("b"))
	testwait.Until(t, "the rows", func() bool { return names(t, s) == "a b" })
	s.Close()
	old.Close()

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s = newStore(t, path)
	old = program(t, path)
	script(t, old, insert("c")+insert("d")+insert("e"))
	testwait.Until(t, "the rows of the new table", func() bool { return names(t, s) == "a b c d e" })
	script(t, old, "DELETE FROM audit;"+insert("f"))
	testwait.Until(t, "a row after all were deleted", func() bool { return names(t, s) == "a b c d e f" })
	s.Close()
	s = newStore(t, path)
	if got := names(t, s); got != "a b c d e f" {
		t.Errorf("opened again: %s", got)
	}
}

func TestPathsAreThoseOfTheDriver(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, c := range []struct{ path, file string }{
		{"plain.db", "plain.db"},
		{"sub/folder/plain.db", "sub/folder/plain.db"},
		{"params.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)", "params.db"},
		{"file:uri.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)", "uri.db"},
		{"file:" + dir + "/a%20b.db", "a b.db"},
		{"file://" + dir + "/host.db?cache=private", "host.db"},
	} {
		t.Run(c.path, func(t *testing.T) {
			old := program(t, filepath.Join(dir, "old.db"))
			script(t, old, "DROP TABLE IF EXISTS audit; CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, ts INTEGER, username TEXT, method TEXT, path TEXT, module TEXT, status INTEGER);"+insert("old"))
			old.Close()
			if err := os.MkdirAll(filepath.Dir(c.file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename("old.db", c.file); err != nil {
				t.Fatal(err)
			}

			s := newStore(t, c.path)
			s.Record("new", "GET", "/", "", 200)
			if got := names(t, s); got != "old new" {
				t.Errorf("entries of %s", got)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(c.file + auditlog.Suffix); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := auditlog.New("file:none/uri.db"); err == nil || err.Error() != "create audit table: unable to open database file (14)" {
		t.Errorf("New in a folder that is not there = %v", err)
	}
	if files, err := filepath.Glob("*[?:]*"); err != nil || len(files) > 0 {
		t.Errorf("files with odd names: %q, %v", files, err)
	}
}

func TestDatabasesInMemory(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	left := func() []string {
		files, err := filepath.Glob(filepath.Join(temp, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	for _, c := range []struct {
		path   string
		shared bool
	}{
		{":memory:", false}, {"", false}, {"file::memory:", false}, {":memory:?_pragma=busy_timeout(5000)", false},
		{"file::memory:?cache=shared", true}, {"file:test?mode=memory&cache=shared", true},
	} {
		a, b := newStore(t, c.path), newStore(t, c.path)
		a.Record("a", "GET", "/", "", 200)
		want := ""
		if c.shared {
			want = "a"
		}
		if got := names(t, a); got != "a" {
			t.Errorf("%q has %q, want a", c.path, got)
		}
		if got := names(t, b); got != want {
			t.Errorf("another store of %q has %q, want %q", c.path, got, want)
		}
		for _, s := range []*auditlog.Store{a, b} {
			if err := s.Close(); err != nil {
				t.Errorf("Close of %q = %v", c.path, err)
			}
		}
		again := newStore(t, c.path)
		if got := names(t, again); got != "" {
			t.Errorf("%q opened again has %s", c.path, got)
		}
		again.Close()
		if files := left(); len(files) > 0 {
			t.Errorf("%q leaves %q", c.path, files)
		}
	}
}

func TestADatabaseWithOtherTables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	app := program(t, path)
	script(t, app, "CREATE TABLE mails (id INTEGER PRIMARY KEY, body TEXT); INSERT INTO mails (body) VALUES ('hello')")
	s := newStore(t, path)
	s.Record("alice", "GET", "/", "", 200)
	script(t, app, "INSERT INTO mails (body) VALUES ('still there')")
	if got := names(t, s); got != "alice" {
		t.Errorf("entries of %s", got)
	}
}

func TestTheTableHasTheModeOfTheOldLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	newStore(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o600 != 0o600 || info.Mode().Perm()&0o111 != 0 {
		t.Errorf("the table's file has mode %v, %v", info.Mode(), err)
	}
	files, err := filepath.Glob(path + auditlog.Suffix + "*")
	if err != nil || len(files) < 4 {
		t.Fatalf("the log's files are %q, %v", files, err)
	}
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 && !strings.HasSuffix(name, ".pub") && !strings.HasSuffix(name, ".checkpoint") {
			t.Errorf("%s has mode %v", filepath.Base(name), info.Mode())
		}
	}
}

// A log that the program attestlog has filled is taken on.
func TestALogThatWasImportedIsTakenOn(t *testing.T) {
	path := oldTable(t, 1_200)
	l := sqlitetest.LogAt(t, path+auditlog.Suffix, attestlog.Config{})
	tab, err := table.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var events []attestlog.Event
	for e, err := range tab.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	tab.Close()
	testlog.Append(t, l, events[:1_000]...)
	testlog.Close(t, l)

	s := newStore(t, path)
	if got := list(t, s, -1); len(got) != 1_200 {
		t.Errorf("%d entries, want 1200", len(got))
	}
}
