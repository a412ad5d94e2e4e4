package auditlog_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog/convert/auditlog"
	"github.com/attestlog/attestlog/internal/testwait"
)

// writerEnv has the test program write to the database that it names until its
// input ends, "JOURNAL KIND PATH".
const writerEnv = "ATTESTLOG_TABLE_WRITER"

func TestMain(m *testing.M) {
	if told := os.Getenv(writerEnv); told != "" {
		words := strings.SplitN(told, " ", 3)
		if err := writeUntilEnd(words[2], words[0], words[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const (
	liveRows = 6_000 // that the table of a writer has
	liveStep = 1_000 // rows that it removes and adds in a transaction

	rotating  = "rotating"
	appending = "appending"
)

// writeUntilEnd keeps a table in use. One that is rotating removes the oldest
// rows, has another table take their pages for a while, and adds as many new rows.
// One that is appending adds rows one by one.
func writeUntilEnd(path, journal, kind string) error {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetBlockOnBusy()

	run := func(script string) {
		if err == nil {
			err = sqlitex.ExecuteScript(conn, script, nil)
		}
	}
	add := func(n int) {
		run(fmt.Sprintf(`WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT %d)
			INSERT INTO audit (ts, username, method, path, module, status)
			SELECT 1772359200 + i, 'alice', 'GET', '/x/' || hex(zeroblob(60)), 'web', 200 FROM n;`, n))
	}
	if err := sqlitex.ExecuteTransient(conn, "PRAGMA journal_mode = "+journal, nil); err != nil {
		return err
	}
	if err := sqlitex.ExecuteTransient(conn, "PRAGMA synchronous = OFF", nil); err != nil {
		return err
	}
	run(schema + "; CREATE TABLE other (id INTEGER PRIMARY KEY, x BLOB);")
	add(liveRows)
	fmt.Println("ready")

	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for err == nil {
		select {
		case <-ended:
			return nil
		default:
		}
		if kind == appending {
			add(1)
			time.Sleep(2 * time.Millisecond) // as a program that has more to do
			continue
		}
		run(fmt.Sprintf(`DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT %d);
			WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 60) INSERT INTO other (x) SELECT zeroblob(3000) FROM n`, liveStep))
		add(liveStep)
		run("DELETE FROM other")
	}
	return err
}

// startWriter starts a process that writes, and returns what ends it.
func startWriter(t *testing.T, path, journal, kind string) (stop func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s", writerEnv, journal, kind, path))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatalf("the writer does not begin: %v", err)
	}

	return func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the writer ended with %v", err)
		}
	}
}

// A table is read while another process writes to it, with each journal. Rows that
// were committed are all that is read, in their order, and each once.
func TestATableInUseIsReadAsItWasCommitted(t *testing.T) {
	reads := 5
	if text := os.Getenv("ATTESTLOG_ROUNDS"); text != "" {
		var err error
		if reads, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, journal := range []string{"delete", "truncate", "persist", "wal"} {
		for _, kind := range []string{rotating, appending} {
			t.Run(journal+" "+kind, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "live.db")
				stop := startWriter(t, path, journal, kind)
				defer stop()

				for range reads {
					n, rows := readLive(t, path)
					if kind == appending && n != rows {
						t.Errorf("read %d rows of the %d that there were", n, rows)
					}
				}
			})
		}
	}
}

// readLive reads the table of a writer, and returns how many rows it has read, and
// how many there were at most.
func readLive(t *testing.T, path string) (n, rows int64) {
	t.Helper()
	tab, err := auditlog.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()

	last := tab.First - 1
	for e, err := range tab.Events(testwait.Context(t)) {
		if err != nil {
			t.Fatal(err)
		}
		row, err := auditlog.RowOf(e)
		if err != nil {
			t.Fatal(err)
		}
		if row.Username != "alice" || row.Path != "/x/"+strings.Repeat("0", 120) || row.Status != int64(200) {
			t.Fatalf("row %d was never in the table: %+v", row.ID, row)
		}
		if row.ID <= last || row.ID > tab.Last {
			t.Fatalf("row %d came after row %d; the last is %d", row.ID, last, tab.Last)
		}
		n++
		last = row.ID
	}
	return n, tab.Rows
}

// No lock is held while the caller works on what was read: a program that waits
// for nothing can write meanwhile.
func TestAReaderThatTakesItsTimeHoldsUpNobody(t *testing.T) {
	for _, mode := range []string{"delete", "truncate", "persist", "wal"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			var rows []auditlog.Row
			for n := range int64(2500) {
				rows = append(rows, row(n+1, int64(1), "alice", "GET", "/", "", int64(200)))
			}
			path := table(t, mode, rows...)
			program, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
			if err != nil {
				t.Fatal(err)
			}
			defer program.Close()
			program.SetBusyTimeout(0)

			tab, err := auditlog.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer tab.Close()
			n := 0
			for _, err := range tab.Events(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if n%100 == 0 {
					err := sqlitex.ExecuteTransient(program, "INSERT INTO audit (ts, username) VALUES (1, 'meanwhile')", nil)
					if err != nil {
						t.Fatalf("a program could not write after %d rows were read: %v", n, err)
					}
				}
				n++
			}
			if n != len(rows) {
				t.Errorf("read %d rows, want the %d that there were", n, len(rows))
			}
		})
	}
}

// A few large rows are read one by one.
func TestLargeRowsAreReadInPieces(t *testing.T) {
	var rows []auditlog.Row
	for n := range int64(12) {
		rows = append(rows, row(n+1, int64(1), strings.Repeat("x", 1<<20), "GET", "/", "", int64(200)))
	}
	if got := read(t, table(t, "", rows...)); len(got) != len(rows) {
		t.Errorf("read %d rows, want %d", len(got), len(rows))
	}
}

func TestATableWithoutAKeyIsNotTheTable(t *testing.T) {
	for _, other := range []string{
		strings.Replace(schema, "INTEGER PRIMARY KEY AUTOINCREMENT", "INTEGER", 1),
		strings.Replace(schema, "INTEGER PRIMARY KEY AUTOINCREMENT", "TEXT PRIMARY KEY", 1),
		strings.Replace(schema, "status INTEGER)", "status INTEGER, tenant TEXT, PRIMARY KEY (tenant, id))", 1),
		strings.Replace(strings.Replace(schema, "TABLE audit", "TABLE held", 1), " AUTOINCREMENT", "", 1) + "; CREATE VIEW audit AS SELECT * FROM held",
	} {
		path := filepath.Join(t.TempDir(), "app.db")
		conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
		if err != nil {
			t.Fatal(err)
		}
		other = strings.Replace(other, "id INTEGER PRIMARY KEY AUTOINCREMENT, ts INTEGER, username TEXT, method TEXT, path TEXT, module TEXT, status INTEGER, tenant", "id INTEGER, ts INTEGER, username TEXT, method TEXT, path TEXT, module TEXT, status INTEGER, tenant", 1)
		if err := errors.Join(sqlitex.ExecuteScript(conn, other, nil), conn.Close()); err != nil {
			t.Fatalf("%s: %v", other, err)
		}
		if _, err := auditlog.Open(path); !errors.Is(err, auditlog.ErrNoTable) {
			t.Errorf("Open of %s = %v, want ErrNoTable", other, err)
		}
	}
}
