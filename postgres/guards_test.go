package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

// openLog opens the log; what cannot be opened ends the test.
func (o opener) openLog(t *testing.T, cfg postgres.Config) *attestlog.Log {
	t.Helper()
	s, err := o.open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return testlog.New(t, s, attestlog.Config{ReadOnly: cfg.ReadOnly})
}

// filled returns a closed log of n entries.
func filled(t *testing.T, n int) opener {
	t.Helper()
	o := newLog(t)
	l := o.openLog(t, postgres.Config{})
	for from := 0; from < n; from += 100 {
		if _, err := l.Append(t.Context(), testlog.Events(from, min(n, from+100))...); err != nil {
			t.Fatal(err)
		}
	}
	testlog.Close(t, l)
	return o
}

func (o opener) connect(t *testing.T, params ...string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), cluster.DSN("postgres", append(params, "search_path="+o.log)...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// verify opens the log for reading and verifies it. What already keeps it from
// being opened is returned as well.
func (o opener) verify(t *testing.T, opts verify.Options) (verify.Report, error) {
	t.Helper()
	s, err := o.open(t.Context(), postgres.Config{ReadOnly: true})
	if err != nil {
		return verify.Report{}, err
	}
	l, err := attestlog.New(t.Context(), s, attestlog.Config{ReadOnly: true, Logger: testlog.Quiet})
	if err != nil {
		return verify.Report{}, errors.Join(err, s.Close())
	}
	defer testlog.Close(t, l)
	return verify.Log(t.Context(), l, opts)
}

// Not even a superuser changes an entry without doing something about the
// triggers first, also where triggers are said to be off.
func TestTablesRefuseChanges(t *testing.T) {
	t.Parallel()
	o := filled(t, 600)
	for _, role := range []string{"origin", "replica"} {
		conn := o.connect(t)
		if _, err := conn.Exec(t.Context(), "SET session_replication_role = "+role); err != nil {
			t.Fatal(err)
		}
		for _, sql := range []string{
			"UPDATE entries SET leaves = '' WHERE idx = 0",
			"UPDATE entries_0 SET leaves = '' WHERE idx = 0",
			"DELETE FROM entries WHERE idx = 0",
			"DELETE FROM entries_0",
			"TRUNCATE entries",
			"TRUNCATE entries_0",
			"INSERT INTO entries VALUES (0, 1, '') ON CONFLICT (idx) DO UPDATE SET leaves = ''",
			"INSERT INTO entries_0 VALUES (0, 1, '')",
			"INSERT INTO entries_0 VALUES (5, 1, '')",
			"INSERT INTO entries VALUES (5, 1, '')",
			"INSERT INTO entries_0 VALUES (601, 1, '')",
			"INSERT INTO entries_0 VALUES (600, 1, ''), (602, 1, '')",
			"INSERT INTO entries_0 VALUES (600, 3, ''), (602, 1, '')",
			"INSERT INTO entries_0 VALUES (600, 0, '')",
			"INSERT INTO entries_0 VALUES (600, 65, '')",
			"INSERT INTO entries_1 VALUES (524288, 64, 'x')",
			"INSERT INTO entries VALUES (524288, 64, 'x')",
			"MERGE INTO entries_0 e USING (SELECT 0 AS idx) s ON e.idx = s.idx WHEN MATCHED THEN DELETE",
			"UPDATE keys SET idx = 6",
			"DELETE FROM keys",
			"TRUNCATE keys",
			"UPDATE disclosures SET value = ''",
			"DELETE FROM disclosures",
			"TRUNCATE disclosures",
			"UPDATE tiles SET hashes = hashes",
			"DELETE FROM tiles",
			"TRUNCATE tiles",
			"UPDATE checkpoints SET note = ''",
			"DELETE FROM checkpoints",
			"TRUNCATE checkpoints",
			"INSERT INTO checkpoints VALUES (1, 0, '')",
			"UPDATE tree SET size = 5",
			"UPDATE tree SET size = size",
			"DELETE FROM tree",
			"TRUNCATE tree",
			"INSERT INTO tree SELECT * FROM tree",
			"UPDATE meta SET value = ''",
			"DELETE FROM meta",
			"SELECT make_partition(1000000)",
		} {
			_, err := conn.Exec(t.Context(), sql)
			var pg *pgconn.PgError
			if !errors.As(err, &pg) {
				t.Errorf("%s as %s: %v, want an error of the server", sql, role, err)
			}
		}
	}

	if r, err := o.verify(t, verify.Options{Index: true}); err != nil || r.Size != 600 {
		t.Errorf("Verify afterwards = %+v, %v", r, err)
	}
}

func TestVerifyFindsAChangedSchema(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"DROP TRIGGER refuse ON entries",
		"ALTER TABLE entries_0 DISABLE TRIGGER refuse",
		"ALTER TABLE entries_0 DISABLE TRIGGER ALL",
		"ALTER TABLE keys ENABLE REPLICA TRIGGER refuse",
		"ALTER TABLE tree ENABLE TRIGGER grows",
		"ALTER TABLE entries_0 DISABLE TRIGGER follow",
		"ALTER FUNCTION entries_follow() RESET search_path",
		"ALTER FUNCTION entries_follow() STABLE",
		"ALTER FUNCTION entries_follow() SET work_mem = '1MB'",
		"ALTER FUNCTION make_partition(bigint) SECURITY INVOKER",
		"ALTER FUNCTION entries_follow() OWNER TO pg_monitor",
		"ALTER TABLE entries DROP CONSTRAINT entries_n_check",
		"ALTER TABLE entries DROP CONSTRAINT entries_pkey CASCADE",
		"ALTER TABLE keys DROP CONSTRAINT keys_pkey",
		"ALTER FUNCTION tree_grows() SET search_path = public",
		"CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
		"CREATE TRIGGER extra BEFORE INSERT ON disclosures EXECUTE FUNCTION refuse()",
		"CREATE RULE quiet AS ON INSERT TO entries_0 DO INSTEAD NOTHING",
		"ALTER TABLE entries_0 ENABLE ROW LEVEL SECURITY",
		"GRANT UPDATE ON entries TO pg_monitor",
		"GRANT DELETE ON entries_0 TO PUBLIC",
		"GRANT TRUNCATE ON tiles TO pg_monitor",
		"GRANT INSERT ON meta TO pg_monitor",
		"GRANT UPDATE (leaves) ON entries_0 TO pg_monitor",
		"GRANT UPDATE ON outbox TO pg_monitor",
		"ALTER TABLE outbox DISABLE TRIGGER refuse",
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			o := filled(t, 10)
			if _, err := o.connect(t).Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}

			_, err := o.verify(t, verify.Options{})
			var corrupt *attestlog.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Where != "schema" {
				t.Errorf("Verify = %v, want a *CorruptError about the schema", err)
			}
		})
	}
}

func TestRolesCanDoTheirWorkAndNoMore(t *testing.T) {
	t.Parallel()
	o := filled(t, 300)
	writer, reader := o.log+"_writer", o.log+"_reader"

	s, err := o.open(t.Context(), postgres.Config{NoIndex: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // again changes nothing
		if err := s.Grant(t.Context(), postgres.Roles{Writer: writer, Reader: reader}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()

	admin := o.connect(t)
	for _, role := range []string{writer, reader} {
		if _, err := admin.Exec(t.Context(), "ALTER ROLE "+role+" LOGIN"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			conn, err := pgx.Connect(context.Background(), cluster.DSN("postgres"))
			if err != nil {
				return
			}
			defer conn.Close(context.Background())
			conn.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role, pgx.QueryExecModeSimpleProtocol)
		})
	}

	as := func(role string, cfg postgres.Config) *attestlog.Log {
		cfg.Log, cfg.Home, cfg.Logger = o.log, o.home, testlog.Quiet
		s, err := postgres.Open(t.Context(), cluster.DSN("postgres", "user="+role), cfg)
		if err != nil {
			t.Fatal(err)
		}
		l, err := attestlog.New(t.Context(), s, attestlog.Config{ReadOnly: cfg.ReadOnly, Logger: cfg.Logger})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := as(writer, postgres.Config{})
	if r, err := l.Append(t.Context(), testlog.Events(300, 600)...); err != nil || r[0].Index != 300 {
		t.Errorf("Append as the writer = %v", err)
	}
	if _, err := l.Publish(t.Context()); err != nil {
		t.Errorf("Publish as the writer = %v", err)
	}
	testlog.Close(t, l)

	l = as(reader, postgres.Config{ReadOnly: true})
	if n, err := l.Count(t.Context(), query.Field("actor", "alice"), 0); err != nil || n != 600 {
		t.Errorf("Count as the reader = %d, %v", n, err)
	}
	if r, err := verify.Log(t.Context(), l, verify.Options{Index: true}); err != nil || r.Size != 600 {
		t.Errorf("Verify as the reader = %+v, %v", r, err)
	}
	testlog.Close(t, l)

	forbidden := []string{
		"UPDATE entries SET leaves = ''", "INSERT INTO entries_0 VALUES (5, 1, '')", "DELETE FROM entries_0", "TRUNCATE entries_0", "DELETE FROM keys", "DELETE FROM disclosures",
		"ALTER TABLE entries_0 DISABLE TRIGGER refuse", "DROP TRIGGER refuse ON keys", "DROP TABLE keys", "DROP FUNCTION refuse()",
		"ALTER TABLE entries ADD COLUMN x int", "CREATE TABLE mine (x int)", "SET session_replication_role = replica",
		"DELETE FROM tree", "INSERT INTO meta VALUES ('x', '')",
	}

	asWriter, asReader := o.connect(t, "user="+writer), o.connect(t, "user="+reader)
	for _, sql := range forbidden {
		for _, conn := range []*pgx.Conn{asWriter, asReader} {
			if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "SQLSTATE 42501") {
				t.Errorf("%s as %s: %v, want it refused for want of a privilege", sql, conn.Config().User, err)
			}
		}
	}

	for _, sql := range []string{"INSERT INTO keys VALUES (gen_random_uuid(), 1)", "UPDATE tree SET size = size + 1", "SELECT make_partition(1)", "DELETE FROM segments"} {
		if _, err := asReader.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "SQLSTATE 42501") {
			t.Errorf("%s as the reader: %v, want it refused", sql, err)
		}
	}
}
