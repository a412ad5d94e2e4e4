package auditlog

import (
	"path/filepath"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/oldlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
)

// The rows that a program adds after the import would be lost.
func TestATableThatAProgramStillWritesIsNotImported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	program, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenWAL)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	write := func(script string) {
		t.Helper()
		err := sqlitex.ExecuteScript(program, script, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	const row = "INSERT INTO audit (ts, username) VALUES (1700000000, 'alice');"
	write(`CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, ts INTEGER, username TEXT, method TEXT,
		path TEXT, module TEXT, status INTEGER);` + row)

	l := sqlitetest.Log(t, attestlog.Config{})
	for _, c := range []struct {
		name, meanwhile string
		imported        bool
	}{
		{"with a row that comes meanwhile", row, false},
		{"once more", "", true},
	} {
		table, err := openTable(path)
		if err != nil || table == nil {
			t.Fatalf("%s: openTable = %v, %v", c.name, table, err)
		}
		write(c.meanwhile)

		err = importOnce(t.Context(), l, table)
		table.Close()
		done, countErr := oldlog.IsImported(t.Context(), l, importName)
		if countErr != nil || (err == nil) != c.imported || done != c.imported {
			t.Errorf("%s: importOnce = %v; imported: %t, %v", c.name, err, done, countErr)
		}
	}
	if n := testlog.Size(t, l); n != 3 {
		t.Errorf("%d entries, want two rows and the end of the import", n)
	}
}
