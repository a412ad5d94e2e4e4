package audit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog/compat/audit"
	"github.com/attestlog/attestlog/internal/auditview"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/internal/testwait"
)

// oldStart is what the old log runs when it starts.
const oldStart = `
	CREATE TABLE IF NOT EXISTS audit_log (
		id BIGSERIAL PRIMARY KEY, timestamp TIMESTAMPTZ NOT NULL DEFAULT NOW(), event_type VARCHAR(50) NOT NULL,
		username VARCHAR(255) NOT NULL DEFAULT '', ip_address VARCHAR(45) NOT NULL DEFAULT '', query TEXT NOT NULL DEFAULT '',
		mail_id VARCHAR(255) NOT NULL DEFAULT '', success BOOLEAN NOT NULL DEFAULT true, detail TEXT NOT NULL DEFAULT '');
	CREATE OR REPLACE FUNCTION audit_log_no_mutation() RETURNS trigger AS $$
	BEGIN
		RAISE EXCEPTION 'audit_log is append-only: % is not permitted', TG_OP USING ERRCODE = 'integrity_constraint_violation';
	END;
	$$ LANGUAGE plpgsql;
	DROP TRIGGER IF EXISTS audit_log_immutable ON audit_log;
	CREATE TRIGGER audit_log_immutable BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_log_no_mutation();`

func viewOf(t *testing.T, c *pgtest.Cluster, l *audit.Logger) *auditview.View {
	t.Helper()
	return auditview.Of(connect(t, c), l.AuditLog(), "attestlog")
}

func createView(t *testing.T, v *auditview.View) {
	t.Helper()
	err := v.Create(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
}

func dropView(t *testing.T, v *auditview.View) {
	t.Helper()
	kept, err := v.Drop(t.Context())
	if err != nil || !kept {
		t.Fatalf("Drop = %t, %v", kept, err)
	}
}

// report reads the relation audit_log as reports do.
func report(t *testing.T, conn *pgx.Conn) []audit.Entry {
	t.Helper()
	rows, err := conn.Query(t.Context(),
		"SELECT id, timestamp, event_type, username, ip_address, query, mail_id, success, detail FROM audit_log ORDER BY timestamp DESC, id DESC")
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e audit.Entry, err error) {
		err = row.Scan(&e.ID, &e.Timestamp, &e.EventType, &e.Username, &e.IPAddress, &e.Query, &e.MailID, &e.Success, &e.Detail)
		return e, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// answers are all entries, in the order of report.
func answers(t *testing.T, l *audit.Logger) []audit.Entry {
	t.Helper()
	out, _ := queryOf(t, l, audit.QueryFilter{PageSize: 100_000})
	slices.SortStableFunc(out, func(a, b audit.Entry) int {
		if c := b.Timestamp.Compare(a.Timestamp); c != 0 {
			return c
		}
		return int(b.ID - a.ID)
	})
	return out
}

// columnsOf returns the columns of audit_log, or of another relation, with their types.
func columnsOf(t *testing.T, conn *pgx.Conn, name ...string) string {
	t.Helper()
	var out string
	err := conn.QueryRow(t.Context(), `
		SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
		FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0
	`, append(name, "audit_log")[0]).Scan(&out)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func codeOf(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return fmt.Sprint(err)
}

// Reports go on through the whole way there and back: the old log, this one, the view
// in the table's place, the old log again, and this one again.
func TestReportsOnTheTable(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	run(t, c, oldStart+`
		CREATE ROLE reports LOGIN; GRANT SELECT ON audit_log TO reports;
		CREATE ROLE names LOGIN; GRANT SELECT (id, username) ON audit_log TO names;
		CREATE ROLE app LOGIN; GRANT SELECT, INSERT ON audit_log TO app; GRANT USAGE ON SEQUENCE audit_log_id_seq TO app`)
	as := func(role string) *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), strings.Replace(c.DSN("postgres"), "user=postgres", "user="+role, 1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		return conn
	}
	old, reports := connect(t, c), as("reports")
	insert(t, old, "old1")
	insert(t, old, "old2")

	l := newLogger(t, c.DSN("postgres"), "", nil)
	for n := range 3 {
		l.Log(audit.Entry{EventType: audit.EventMailView, Username: fmt.Sprintf("new%d", n), IPAddress: "192.0.2.7", MailID: "7", Success: n > 0, Detail: "seen"})
	}
	v := viewOf(t, c, l)
	if err := v.Create(t.Context(), 24*time.Hour); !errors.Is(err, auditview.ErrOldWriter) {
		t.Errorf("Create a moment after a row was added = %v", err)
	}
	createView(t, v)
	if err := v.Create(t.Context(), 0); !errors.Is(err, auditview.ErrThere) {
		t.Errorf("a second Create = %v", err)
	}
	if diff := cmp.Diff(answers(t, l), report(t, reports)); diff != "" {
		t.Errorf("a report (-Query +SQL):\n%s", diff)
	}

	// New entries come, whichever process logs them; their ids stay unique.
	other := newLogger(t, c.DSN("postgres"), "", nil)
	for n := range 20 {
		[]*audit.Logger{l, other}[n%2].Log(audit.Entry{EventType: audit.EventLogin, Username: fmt.Sprintf("later%d", n), Success: true})
	}
	names(t, l)
	testwait.Until(t, "new entries in the view", func() bool { return len(report(t, reports)) == 25 })
	other.Log(audit.Entry{EventType: audit.EventLogout, Username: "last"})
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(answers(t, l), report(t, reports)); diff != "" {
		t.Errorf("a report after Close (-Query +SQL):\n%s", diff)
	}

	// Rights are those of the table.
	if _, err := as("names").Exec(t.Context(), "SELECT id, username FROM audit_log"); err != nil {
		t.Errorf("a role that may read two columns: %v", err)
	}
	if _, err := as("names").Exec(t.Context(), "SELECT detail FROM audit_log"); codeOf(err) != "42501" {
		t.Errorf("a role that may read two columns reads another: %v", err)
	}
	if _, err := as("app").Exec(t.Context(), "SELECT count(*) FROM audit_log"); err != nil {
		t.Errorf("the application's role: %v", err)
	}
	for _, sql := range []string{"INSERT INTO audit_log (username) VALUES ('x')", "UPDATE audit_log SET username = 'x'", "DELETE FROM audit_log"} {
		if _, err := old.Exec(t.Context(), sql); codeOf(err) != "55000" {
			t.Errorf("%s = %v", sql, err)
		}
	}

	// The old log does not start while the view is there, and nothing is lost.
	if _, err := old.Exec(t.Context(), oldStart, pgx.QueryExecModeSimpleProtocol); err == nil || !strings.Contains(err.Error(), "is a view") {
		t.Errorf("the old log starts on the view: %v", err)
	}

	dropView(t, v)
	if _, err := v.Drop(t.Context()); !errors.Is(err, auditview.ErrNone) {
		t.Errorf("a second Drop = %v", err)
	}
	run(t, c, oldStart)
	insert(t, as("app"), "old3")
	if got := len(report(t, reports)); got != 3 {
		t.Errorf("the table has %d rows after it was put back", got)
	}
	testwait.Until(t, "the row of the old log", func() bool { return strings.HasSuffix(names(t, l), "last old3") })

	createView(t, v)
	if diff := cmp.Diff(answers(t, l), report(t, reports)); diff != "" {
		t.Errorf("a report on the view that was made again (-Query +SQL):\n%s", diff)
	}
	if len(answers(t, l)) != 27 {
		t.Errorf("%d entries", len(answers(t, l)))
	}
}

// What the table could not have is shown as well as it can be, in columns of its types.
func TestAReportShowsOddValues(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	run(t, c, schema+`;
		INSERT INTO audit_log (timestamp, event_type, username) VALUES ('infinity', 'login', 'always'), ('-infinity', 'login', 'never'), (NULL, NULL, NULL)`)
	l := newLogger(t, c.DSN("postgres"), "", nil)
	l.Log(audit.Entry{EventType: strings.Repeat("e", 300), Username: "a\x00b\xffc", IPAddress: strings.Repeat("1", 500)})
	l.Log(audit.Entry{EventType: "far", Username: "ahead", Timestamp: time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC)})
	l.Log(audit.Entry{EventType: "far", Username: "edge", Timestamp: time.Date(294_276, 12, 31, 0, 0, 0, 0, time.UTC)})
	l.Log(audit.Entry{EventType: "far", Username: "back", Timestamp: time.Date(-6_000, 1, 1, 0, 0, 0, 0, time.UTC)})
	createView(t, viewOf(t, c, l))

	conn := connect(t, c)
	rows, err := conn.Query(t.Context(), "SELECT coalesce(username, 'NULL') || ' ' || coalesce(timestamp::date::text, 'NULL') || ' ' || coalesce(length(event_type), 0) FROM audit_log ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if got := columnsOf(t, conn); !strings.Contains(got, "event_type character varying(50), username character varying(255)") || got != columnsOf(t, conn, auditview.BeforeName) {
		t.Errorf("columns %s", got)
	}
	today := time.Now().Format(time.DateOnly)
	want := []string{"always infinity 5", "never -infinity 5", "NULL NULL 0", "a\uFFFDb\uFFFDc " + today + " 50", "ahead infinity 3", "edge infinity 3", "back -infinity 3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// A view that would break something is not made, and nothing is left of it.
func TestAViewThatIsRefused(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	run(t, c, schema)
	l := newLogger(t, c.DSN("postgres"), "", nil)
	conn := connect(t, c)
	v := viewOf(t, c, l)
	refused := func(why string) {
		t.Helper()
		err := v.Create(t.Context(), 0)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("Create = %v, want %q", err, why)
		}
		var left int
		err = conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM pg_class WHERE relname IN ('audit_log_rows', $1))
			+ (SELECT count(*) FROM attestlog.positions WHERE name LIKE 'view%')`, auditview.BeforeName).Scan(&left)
		if err != nil || left != 0 {
			t.Errorf("after it was refused (%s): %d things are left, %v", why, left, err)
		}
	}

	run(t, c, "CREATE VIEW monthly AS SELECT username FROM audit_log")
	refused("monthly")
	run(t, c, "DROP VIEW monthly; ALTER TABLE audit_log ADD COLUMN site text")
	refused("site")
	run(t, c, "ALTER TABLE audit_log DROP COLUMN site")

	// A transaction holds a row that nobody has seen yet.
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	insert(t, tx, "late")
	refusing := make(chan error, 1)
	go func() { refusing <- viewOf(t, c, l).Create(t.Context(), 0) }()
	if err := testwait.Receive(t, "the refusal", refusing); codeOf(err) != "55P03" || !strings.Contains(err.Error(), "try again") {
		t.Errorf("Create while a transaction adds a row = %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "the row in the log", func() bool { return names(t, l) == "late" })

	// What a Create that was killed has left is dropped.
	run(t, c, "CREATE TABLE attestlog.audit_log_rows (idx bigint); INSERT INTO attestlog.positions VALUES ('view audit_log', 0)")
	if _, err := v.Drop(t.Context()); !errors.Is(err, auditview.ErrNone) {
		t.Errorf("Drop without a view = %v", err)
	}
	run(t, c, "CREATE TABLE attestlog.audit_log_rows (idx bigint); DROP TABLE attestlog.audit_log_rows")

	// No program takes rows over.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = newLogger(t, c.DSN("postgres"), "", nil)
	v = viewOf(t, c, l)
	run(t, c, "ALTER TABLE audit_log RENAME TO elsewhere; CREATE VIEW audit_log AS SELECT * FROM elsewhere")
	refused("neither a table nor the view")
	run(t, c, "DROP VIEW audit_log")
	refused("no table")
}

// Rows that nobody has taken over keep the view away.
func TestAViewWaitsForTheTakeOver(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, "fsync=off")
	l := newLogger(t, c.DSN("postgres"), "", nil)
	log := l.AuditLog()
	run(t, c, "CREATE SCHEMA other; SET search_path = other; "+schema+"; INSERT INTO audit_log (username, event_type) VALUES ('alice', 'login')")
	conn := connect(t, c)
	if _, err := conn.Exec(t.Context(), "SET search_path = other"); err != nil {
		t.Fatal(err)
	}
	err := auditview.Of(conn, log, "attestlog").Create(t.Context(), 0)
	if !errors.Is(err, auditview.ErrNotMoved) || !strings.Contains(err.Error(), "the first is 1") {
		t.Errorf("Create before a row is in the log = %v", err)
	}
}
