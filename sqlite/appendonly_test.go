package sqlite_test

import (
	"strings"
	"testing"

	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog/verify"
)

// refusedChanges are everything but adding what comes next.
var refusedChanges = []string{
	"UPDATE entries SET leaves = leaves WHERE idx = 0",
	"UPDATE OR REPLACE entries SET idx = (SELECT max(idx) FROM entries) WHERE idx = 0",
	"DELETE FROM entries WHERE idx = (SELECT max(idx) FROM entries)",
	"DELETE FROM entries",
	"INSERT INTO entries VALUES (5, 1, x'00')",
	"INSERT OR REPLACE INTO entries VALUES (0, 1, x'00')",
	"REPLACE INTO entries SELECT * FROM entries WHERE idx = (SELECT max(idx) FROM entries)",
	"INSERT OR REPLACE INTO entries VALUES (601, 1, x'00')",
	"INSERT OR REPLACE INTO entries VALUES (-1, 1, x'00')",
	"INSERT INTO entries VALUES (600, 0, x'00')",
	"INSERT INTO entries VALUES (600, -600, x'00')",
	"INSERT INTO entries VALUES (600, 65, x'00')",
	"INSERT INTO entries VALUES (599, 2, x'00')",
	"INSERT INTO entries VALUES (0, 1, x'00') ON CONFLICT DO UPDATE SET leaves = x'00'",

	"UPDATE keys SET idx = 0 WHERE idx = 5",
	"UPDATE OR REPLACE keys SET key = (SELECT key FROM keys WHERE idx = 6) WHERE idx = 5",
	"DELETE FROM keys WHERE idx = 5",
	"DELETE FROM keys",
	"INSERT INTO keys SELECT key, 0 FROM keys WHERE idx = 5 ON CONFLICT DO UPDATE SET idx = 0",

	"UPDATE disclosures SET value = x'00' WHERE idx = 5",
	"UPDATE OR REPLACE disclosures SET id = 6*2048 WHERE idx = 5",
	"DELETE FROM disclosures WHERE idx = 5",
	"DELETE FROM disclosures",
	"INSERT INTO disclosures VALUES (5*2048+9, '/message', zeroblob(16), x'00')",
	"INSERT OR REPLACE INTO disclosures VALUES (5*2048, '/source/ip', zeroblob(16), x'00')",
	"REPLACE INTO disclosures VALUES (599, '/source/ip', zeroblob(16), x'00')",
	"INSERT OR REPLACE INTO disclosures VALUES (-1, '/source/ip', zeroblob(16), x'00')",

	"UPDATE tiles SET hashes = zeroblob(8192) WHERE id = 0",
	"UPDATE OR REPLACE tiles SET id = 1 WHERE id = 0",
	"DELETE FROM tiles WHERE id = 0",
	"DELETE FROM tiles",
	"INSERT OR REPLACE INTO tiles VALUES (0, zeroblob(8192))",
	"REPLACE INTO tiles VALUES (1, zeroblob(8192))",

	"UPDATE tree SET size = 599, tail = substr(tail, 33)",
	"UPDATE tree SET root = zeroblob(32)",
	"UPDATE tree SET logged_time = logged_time + 1",
	"UPDATE tree SET size = 601, tail = zeroblob(89 * 32), logged_time = 0",
	"UPDATE OR REPLACE tree SET one = 1",
	"DELETE FROM tree",
	"INSERT OR REPLACE INTO tree SELECT * FROM tree",
	"REPLACE INTO tree VALUES (1, 0, zeroblob(32), x'', x'', 0)",

	"UPDATE checkpoints SET note = x'00'",
	"UPDATE OR REPLACE checkpoints SET size = 600 WHERE size = 200",
	"DELETE FROM checkpoints WHERE size = 200",
	"DELETE FROM checkpoints",
	"INSERT INTO checkpoints VALUES (300, 0, x'00')",
	"INSERT OR REPLACE INTO checkpoints VALUES (200, 0, x'00')",
	"REPLACE INTO checkpoints VALUES (600, 0, x'00')",

	"UPDATE meta SET value = zeroblob(16)",
	"UPDATE OR REPLACE meta SET name = 'x'",
	"DELETE FROM meta",
	"INSERT INTO meta VALUES ('x', x'00')",
	"INSERT OR REPLACE INTO meta VALUES ('index_key', zeroblob(16))",
}

// TestTablesRefuseChanges tries them on a raw connection with the triggers in
// place, also on one that leaves CHECK constraints aside.
func TestTablesRefuseChanges(t *testing.T) {
	path := logCopy(t)
	for _, ignored := range []string{"OFF", "ON"} {
		err := withConn(path, func(conn *zombiezen.Conn) error {
			if err := sqlitex.ExecuteTransient(conn, "PRAGMA ignore_check_constraints = "+ignored, nil); err != nil {
				return err
			}
			for _, sql := range refusedChanges {
				if err := tryChange(t, conn, sql); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := verifyCopy(t.Context(), path, verify.Options{Index: true}); err != nil {
			t.Errorf("Verify = %+v, %v", r, err)
		}
	}
}

func tryChange(t *testing.T, conn *zombiezen.Conn, sql string) error {
	t.Helper()
	if err := sqlitex.ExecuteTransient(conn, sql, nil); err == nil {
		t.Errorf("%s: succeeded, want a refusal", sql)
	}
	// A refusal ends the whole transaction around it.
	if err := sqlitex.ExecuteTransient(conn, "BEGIN", nil); err != nil {
		return err
	}
	if err := sqlitex.ExecuteTransient(conn, sql, nil); err == nil {
		t.Errorf("%s in a transaction: succeeded, want a refusal", sql)
	}
	if conn.AutocommitEnabled() {
		return nil
	}
	return sqlitex.ExecuteTransient(conn, "ROLLBACK", nil)
}

// TestReplacedKeysAreFound tries the exception that the schema names: keys can
// be replaced, and verify finds it.
func TestReplacedKeysAreFound(t *testing.T) {
	path := logCopy(t)
	err := withConn(path, func(conn *zombiezen.Conn) error {
		return sqlitex.ExecuteTransient(conn, "INSERT OR REPLACE INTO keys SELECT key, 6 FROM keys WHERE idx = 5", nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := verifyCopy(t.Context(), path, verify.Options{})
	wantCorrupt(t, r, err, 5)
}

func TestVerifyFindsAChangedSchema(t *testing.T) {
	path := logCopy(t)
	var triggers []string
	err := withConn(path, func(conn *zombiezen.Conn) error {
		return sqlitex.ExecuteTransient(conn, "SELECT name FROM sqlite_schema WHERE type = 'trigger'", &sqlitex.ExecOptions{
			ResultFunc: func(stmt *zombiezen.Stmt) error { triggers = append(triggers, stmt.ColumnText(0)); return nil },
		})
	})
	if err != nil || len(triggers) < 18 {
		t.Fatalf("%d triggers, %v", len(triggers), err)
	}
	scripts := []string{
		"DROP TRIGGER entries_update; CREATE TRIGGER entries_update BEFORE UPDATE ON entries WHEN 0 BEGIN SELECT RAISE(ROLLBACK, 'attestlog: entries are append-only'); END",
		"CREATE TRIGGER extra BEFORE INSERT ON disclosures BEGIN SELECT RAISE(IGNORE); END",
		"CREATE TRIGGER sqliteXstat BEFORE INSERT ON disclosures BEGIN SELECT RAISE(IGNORE); END",
		"CREATE TABLE extra (x)",
		"CREATE VIEW extra AS SELECT * FROM entries",
		"CREATE INDEX extra ON entries (leaves)",
		"CREATE INDEX SQLITEustatus ON entries (leaves)",
	}
	for _, name := range triggers {
		scripts = append(scripts, "DROP TRIGGER "+name)
	}
	for _, script := range scripts {
		t.Run(strings.Join(strings.Fields(script)[:3], "-"), func(t *testing.T) {
			t.Parallel()
			path := logCopy(t)
			err := withConn(path, func(conn *zombiezen.Conn) error { return sqlitex.ExecuteScript(conn, script+";", nil) })
			if err != nil {
				t.Fatal(err)
			}
			r, err := verifyCopy(t.Context(), path, verify.Options{})
			wantCorrupt(t, r, err, anyIndex)
		})
	}
}
