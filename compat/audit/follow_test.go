package audit_test

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/compat/audit"
	table "github.com/attestlog/attestlog/convert/audit"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

func connect(t *testing.T, c *pgtest.Cluster) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// insert adds a row as the old log does.
func insert(t *testing.T, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, name string) {
	t.Helper()
	rows, err := db.Query(t.Context(), "INSERT INTO audit_log (timestamp, event_type, username) VALUES (now(), 'login', $1)", name)
	if err != nil {
		t.Fatal(err)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// names returns the users of all entries, by id.
func names(t *testing.T, l *audit.Logger) string {
	t.Helper()
	got, _ := queryOf(t, l, audit.QueryFilter{PageSize: 10_000})
	slices.SortFunc(got, func(a, b audit.Entry) int { return int(a.ID - b.ID) })
	var out []string
	for i, e := range got {
		if i > 0 && e.ID == got[i-1].ID {
			t.Errorf("two entries have the id %d", e.ID)
		}
		out = append(out, e.Username)
	}
	return strings.Join(out, " ")
}

// Replicas of a new program and an old one run side by side, and take turns. None
// has any state outside the database, and each names it in its own way.
func TestRowsThatTheOldLogAddsFollow(t *testing.T) {
	c := pgtest.New(t, "fsync=off")
	t.Setenv("HOME", "")
	t.Setenv("XDG_STATE_HOME", "")
	spellings := []string{
		c.DSN("postgres"), c.DSN("postgres") + "&pool_max_conns=1", c.DSN("postgres") + "&application_name=other&default_query_exec_mode=simple_protocol",
	}
	log := func(l *audit.Logger, name string) { l.Log(audit.Entry{EventType: "login", Username: name}) }

	a := newLogger(t, spellings[0], "", nil)
	log(a, "new1")
	old := connect(t, c)
	insert(t, old, "old1")
	b := newLogger(t, spellings[1], "", nil)
	log(b, "new2")
	insert(t, old, "old2")
	testwait.Until(t, "the rows of the old log", func() bool { return names(t, a) == "new1 old1 new2 old2" })
	a.Close()
	b.Close()

	// The new program is rolled back for a while.
	insert(t, old, "old3")
	a = newLogger(t, spellings[2], "", nil)
	log(a, "new3")
	if got, want := names(t, a), "new1 old1 new2 old2 old3 new3"; got != want {
		t.Errorf("after the old log was put back: %s, want %s", got, want)
	}
	r, err := verify.Log(t.Context(), a.AuditLog(), verify.Options{Index: true})
	if err != nil || !r.KeysInDatabase {
		t.Errorf("Verify = %+v, %v", r, err)
	}

	// The program attestlog takes the table over as well.
	tab, err := table.Open(t.Context(), c.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	before := testlog.Size(t, a.AuditLog())
	for e, err := range tab.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		testlog.Append(t, a.AuditLog(), e)
	}
	if after := testlog.Size(t, a.AuditLog()); after != before {
		t.Errorf("an import adds %d entries", after-before)
	}
}

// A transaction that ends late has drawn a lower id than rows that were seen.
func TestRowsWhoseTransactionsEndLate(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	run(t, c, schema)
	late, rolledBack, early := connect(t, c), connect(t, c), connect(t, c)
	begin := func(conn *pgx.Conn) pgx.Tx {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	insert(t, early, "first")
	lateTx, rolledBackTx := begin(late), begin(rolledBack)
	insert(t, lateTx, "late")
	insert(t, rolledBackTx, "rolled back")
	insert(t, early, "early")

	l := newLogger(t, c.DSN("postgres"), "", nil) // which meets the gap
	if got := names(t, l); got != "first early" {
		t.Errorf("while transactions run: %s", got)
	}
	insert(t, early, "meanwhile")
	testwait.Until(t, "the row after the gap", func() bool { return names(t, l) == "first early meanwhile" })
	if err := rolledBackTx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Close()
	l = newLogger(t, c.DSN("postgres"), "", nil) // another process, that knows nothing of the gap
	if err := lateTx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "the row that was committed late", func() bool { return names(t, l) == "first late early meanwhile" })

	// Once all have ended, nothing is looked at again.
	testwait.Until(t, "all rows are settled", func() bool {
		var position int64
		err := early.QueryRow(t.Context(), "SELECT max(position) FROM attestlog.positions").Scan(&position)
		return err == nil && position == 5
	})
}

// Many programs add rows while another follows: each is taken over once.
func TestRowsOfManyWritersAreTakenOverOnce(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	run(t, c, schema)
	const writers, each = 8, 150
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		done := make(chan struct{})
		for w := range writers {
			conn := connect(t, c)
			go func() {
				defer func() { done <- struct{}{} }()
				for n := range each {
					tx, err := conn.Begin(context.Background())
					if err != nil {
						t.Error(err)
						return
					}
					insert(t, tx, fmt.Sprintf("w%d-%d", w, n))
					if n%7 == 3 {
						insert(t, tx, fmt.Sprintf("second-w%d-%d", w, n))
					}
					if n%10 == 9 {
						err = tx.Rollback(context.Background())
					} else {
						err = tx.Commit(context.Background())
					}
					if err != nil {
						t.Error(err)
					}
				}
			}()
		}
		for range writers {
			<-done
		}
	}()
	a, b := newLogger(t, c.DSN("postgres"), "", nil), newLogger(t, c.DSN("postgres"), "", nil)
	testwait.Receive(t, "the writers", ended)
	var want int64
	if err := connect(t, c).QueryRow(t.Context(), "SELECT count(*) FROM audit_log").Scan(&want); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "all rows in the log", func() bool {
		_, total := queryOf(t, a, audit.QueryFilter{})
		return int64(total) == want
	})
	names(t, b) // whose ids are unique
}

// A role that may only create in a schema is told what it lacks.
func TestTheErrorNamesTheGrant(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	run(t, c, "CREATE ROLE app LOGIN; CREATE SCHEMA own AUTHORIZATION app; ALTER ROLE app SET search_path = own")
	dsn := strings.Replace(c.DSN("postgres"), "user=postgres", "user=app", 1)
	_, err := audit.New(dsn, "", nil)
	if err == nil || !strings.Contains(err.Error(), `GRANT CREATE ON DATABASE "postgres" TO "app"`) {
		t.Fatalf("New without the right to make a schema = %v", err)
	}
	run(t, c, "CREATE SCHEMA attestlog AUTHORIZATION app")
	l := newLogger(t, dsn, "", nil)
	l.Log(audit.Entry{EventType: "login", Username: "alice"})
	if got := names(t, l); got != "alice" {
		t.Errorf("entries of %s", got)
	}
}

// A table that was emptied, or made anew, has its ids anew. No entry gets an id that
// another one has.
func TestATableThatBeginsAnew(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	run(t, c, schema)
	old := connect(t, c)
	insert(t, old, "a")
	insert(t, old, "b")
	l := newLogger(t, c.DSN("postgres"), "", nil)
	run(t, c, "TRUNCATE audit_log")
	insert(t, old, "c")
	testwait.Until(t, "a row after the table was emptied", func() bool { return names(t, l) == "a b c" })
	l.Log(audit.Entry{EventType: "login", Username: "d"})
	run(t, c, "DROP TABLE audit_log")
	l.Log(audit.Entry{EventType: "login", Username: "e"})
	if got := names(t, l); got != "a b c d e" {
		t.Errorf("without the table: %s", got)
	}
	l.Close()
	l = newLogger(t, c.DSN("postgres"), "", nil) // which makes the table again
	l.Log(audit.Entry{EventType: "login", Username: "f"})
	insert(t, old, "g")
	testwait.Until(t, "a row of the new table", func() bool { return names(t, l) == "a b c d e f g" })
}

// Entries that wait in the file of a process that is gone are moved while another one
// starts, and none is numbered twice.
func TestEntriesThatWaitWhileAProcessStarts(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	l := newLogger(t, c.DSN("postgres"), "", nil)
	l.Log(audit.Entry{EventType: "login", Username: "0"})
	c.Kill()
	want := "0"
	for n := 1; n <= 300; n++ {
		l.Log(audit.Entry{EventType: "login", Username: fmt.Sprint(n)})
		want += fmt.Sprint(" ", n)
	}
	l.Close()
	c.Restart(t)
	l = newLogger(t, c.DSN("postgres"), "", nil)
	testlog.Flush(t, l.AuditLog())
	if got := names(t, l); got != want {
		t.Errorf("entries of %.300s", got)
	}
}

// A view in the table's place may show the log itself.
func TestAViewIsNotTakenOver(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	run(t, c, strings.Replace(schema, "audit_log", "held", 1)+"; INSERT INTO held (event_type, username) VALUES ('login', 'held'); CREATE VIEW audit_log AS SELECT * FROM held")
	l := newLogger(t, c.DSN("postgres"), "", nil)
	l.Log(audit.Entry{EventType: "login", Username: "alice"})
	if got := names(t, l); got != "alice" {
		t.Errorf("entries of %s", got)
	}
}

// The log's own program reads it without being told where its keys are.
func TestTheProgramVerifiesTheLog(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	l := newLogger(t, c.DSN("postgres"), "", nil)
	l.Log(audit.Entry{EventType: "login", Username: "alice"})
	l.Close()
	program := t.TempDir() + "/attestlog"
	if out, err := exec.Command("go", "build", "-o", program, "github.com/attestlog/attestlog/cmd/attestlog").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(program, "--log", c.DSN("postgres"), "verify")
	cmd.Env = append(cmd.Environ(), "XDG_STATE_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "note: key kept in the database") {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

// The ids of entries that waited for the database are drawn when they are stored.
func TestIDsRiseAndAreInTheLeaf(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	l := newLogger(t, c.DSN("postgres"), "", nil)
	l.Log(audit.Entry{EventType: "login", Username: "1"})
	c.Kill()
	for n := 2; n <= 4; n++ {
		l.Log(audit.Entry{EventType: "login", Username: fmt.Sprint(n)})
	}
	c.Restart(t)
	testlog.Flush(t, l.AuditLog())
	l.Log(audit.Entry{EventType: "login", Username: "5"})
	if got := names(t, l); got != "1 2 3 4 5" {
		t.Errorf("by id: %s", got)
	}
	for _, e := range testlog.Entries(t, l.AuditLog(), query.Query{}) {
		if own, ok := e.Attributes["audit"].(map[string]any); !ok || own["id"] == nil {
			t.Errorf("entry %d has no id of its own: %v", e.Index, e.Attributes)
		}
	}
	if _, err := l.AuditLog().Append(t.Context(), attestlog.Event{Action: "other", Actor: attestlog.Actor{ID: "x"}}); err != nil {
		t.Fatal(err)
	}
}
