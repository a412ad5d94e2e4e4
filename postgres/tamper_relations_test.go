package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/verify"
)

// notIndexed runs SQL while the index of a table's primary key is left alone, so that a
// scan shows the rows that it inserts and a look-up does not find them.
func notIndexed(index, sql string) string {
	const set = "UPDATE pg_index SET indisready = %, indisvalid = % WHERE indexrelid = '"
	return strings.ReplaceAll(set, "%", "false") + index + "'::regclass; " + sql + "; " +
		strings.ReplaceAll(set, "%", "true") + index + "'::regclass"
}

// moved puts something else in the place of a table, which goes to another schema, in
// whose name LOG stands for that of the log.
func moved(table, replacement string) string {
	return "CREATE SCHEMA IF NOT EXISTS aside_LOG; ALTER TABLE " + table + " SET SCHEMA aside_LOG; " + replacement
}

// Each name that is read must be that of the table that was installed.
func TestVerifyFindsOtherRelations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, sql string }{
		{"partition behind a view", moved("entries_0", "CREATE VIEW entries_0 AS SELECT * FROM aside_LOG.entries_0")},
		{"keys behind a view", moved("keys", "CREATE VIEW keys AS SELECT * FROM aside_LOG.keys")},
		{"segments behind a view", moved("segments", "CREATE VIEW segments AS SELECT * FROM aside_LOG.segments WHERE false")},
		{"disclosures as a materialized view", moved("disclosures", "CREATE MATERIALIZED VIEW disclosures AS SELECT * FROM aside_LOG.disclosures")},
		{"partition moved and copied", moved("entries_0", "CREATE TABLE entries_0 (LIKE aside_LOG.entries_0 INCLUDING ALL); INSERT INTO entries_0 SELECT * FROM aside_LOG.entries_0")},
		{"partition detached and kept", "ALTER TABLE entries DETACH PARTITION entries_0"},
		{"partition attached elsewhere", "ALTER TABLE entries DETACH PARTITION entries_0; ALTER TABLE entries_0 DROP CONSTRAINT entries_0_idx_check; " +
			"ALTER TABLE entries ATTACH PARTITION entries_0 FOR VALUES FROM (0) TO (600000)"},
		{"partition renamed", "ALTER TABLE entries_0 RENAME TO entries_old"},
		{"child with more rows", "CREATE TABLE more () INHERITS (keys)"},
		{"child of the disclosures in another schema", "CREATE SCHEMA aside_LOG; CREATE TABLE aside_LOG.more () INHERITS (disclosures)"},
		{"another partition", "CREATE TABLE entries_m PARTITION OF entries FOR VALUES FROM (-9) TO (0)"},
		{"another owner of a partition", "ALTER TABLE entries_0 OWNER TO pg_monitor"},
		{"another owner of a table", "ALTER TABLE keys OWNER TO pg_monitor"},
		{"column with a default", "ALTER TABLE entries_0 ALTER n SET DEFAULT 1"},
		{"column of another type", "ALTER TABLE disclosures ALTER pointer TYPE varchar"},
		{"column that may be NULL", "ALTER TABLE keys ALTER idx DROP NOT NULL"},
		{"generated column", "ALTER TABLE runs ADD more bigint GENERATED ALWAYS AS (a + b) STORED"},
		{"column added", "ALTER TABLE disclosures ADD more text"},
		{"trigger replaced", "DROP TRIGGER refuse ON entries_0; CREATE TRIGGER refuse BEFORE UPDATE ON entries_0 FOR EACH STATEMENT EXECUTE FUNCTION refuse(); " +
			"ALTER TABLE entries_0 ENABLE ALWAYS TRIGGER refuse"},
		{"rule on the keys", "CREATE RULE quiet AS ON INSERT TO keys DO INSTEAD NOTHING"},
		{"row security on the disclosures", "ALTER TABLE disclosures ENABLE ROW LEVEL SECURITY"},
		{"row security forced", "ALTER TABLE keys FORCE ROW LEVEL SECURITY"},
		{"table that a crash empties", "ALTER TABLE tiles SET UNLOGGED"},
		{"index that is not valid", "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'keys_pkey'::regclass"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			o := filled(t, 10)
			conn := o.connect(t)
			_, err := conn.Exec(t.Context(), "SET client_min_messages = error")
			if err != nil {
				t.Fatal(err)
			}
			for sql := range strings.SplitSeq(strings.ReplaceAll(c.sql, "aside_LOG", "aside_"+o.log), "; ") {
				_, err := conn.Exec(t.Context(), sql)
				if err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}

			r, err := o.verify(t, verify.Options{})
			var corrupt *attestlog.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Where != "schema" {
				t.Errorf("Verify = %+v, %v; want a *CorruptError about the schema", r, err)
			}
		})
	}
}

// A row that a scan of its table shows and a look-up does not find is missing from
// answers.
func TestVerifyFindsRowsThatALookupDoesNotFind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, sql, where string
		opts             verify.Options
	}{
		{"key", notIndexed("keys_pkey", "CREATE TEMP TABLE k AS SELECT * FROM keys WHERE idx = 77; "+
			"DELETE FROM keys WHERE idx = 77; INSERT INTO keys SELECT * FROM k"), "key", verify.Options{}},
		{"second row of a disclosure", notIndexed("disclosures_pkey", "INSERT INTO disclosures SELECT * FROM disclosures WHERE idx = 300"),
			"disclosures", verify.Options{}},
		{"second row of entries", notIndexed("entries_0_pkey", "INSERT INTO entries SELECT idx, 1, leaves FROM entries WHERE idx = 0"),
			"entries", verify.Options{}},
		{"row of the index", notIndexed("runs_pkey", "CREATE TEMP TABLE k AS SELECT * FROM runs WHERE kind = 0 LIMIT 1; "+
			"DELETE FROM runs r USING k WHERE (r.segment, r.kind, r.a, r.b) = (k.segment, k.kind, k.a, k.b); INSERT INTO runs SELECT * FROM k"),
			"search index", verify.Options{Index: true}},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			o := filled(t, 600)
			err := o.tamper(t.Context(), c.sql)
			if err != nil {
				t.Fatal(err)
			}

			r, err := o.verify(t, c.opts)
			var corrupt *attestlog.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Where != c.where {
				t.Errorf("Verify = %+v, %v; want a *CorruptError about %s", r, err, c.where)
			}
		})
	}
}

// What an administrator may add is no tampering.
func TestVerifyPassesTablesAndIndexesOfOthers(t *testing.T) {
	t.Parallel()
	o := filled(t, 300)
	conn := o.connect(t)
	for _, sql := range []string{
		"SELECT make_partition(1)",
		"ANALYZE",
		"CREATE TABLE of_somebody (x int)",
		"CREATE INDEX of_a_report ON entries_0 (n)",
	} {
		_, err := conn.Exec(t.Context(), sql)
		if err != nil && !strings.Contains(sql, "CLUSTER") {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	r, err := o.verify(t, verify.Options{Index: true})
	if err != nil || r.Size != 300 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

// Physical needs the extension amcheck, and has it check every index.
func TestVerifyPhysicalAsksForAmcheck(t *testing.T) {
	t.Parallel()
	o := filled(t, 600)
	conn := o.connect(t)

	r, err := o.verify(t, verify.Options{Physical: true})
	if !errors.Is(err, verify.ErrCannotVerify) || !strings.Contains(err.Error(), "CREATE EXTENSION amcheck") {
		t.Fatalf("Verify without amcheck = %+v, %v; want ErrCannotVerify that says how to add it", r, err)
	}
	_, err = conn.Exec(t.Context(), "CREATE EXTENSION amcheck SCHEMA "+o.log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := conn.Exec(context.Background(), "DROP EXTENSION amcheck")
		if err != nil {
			t.Error(err)
		}
	})
	r, err = o.verify(t, verify.Options{Physical: true})
	if err != nil || r.Physical <= 0 {
		t.Fatalf("Verify = %+v, %v; want how long the check took", r, err)
	}

	// A token belongs to no entry, so that only the index itself tells.
	err = o.tamper(t.Context(), notIndexed("tokens_pkey", "INSERT INTO tokens VALUES ('lost', '')"))
	if err != nil {
		t.Fatal(err)
	}
	r, err = o.verify(t, verify.Options{Physical: true})
	var corrupt *attestlog.CorruptError
	if !errors.As(err, &corrupt) || corrupt.Where != "table tokens" {
		t.Errorf("Verify = %+v, %v; want a *CorruptError about the table tokens", r, err)
	}
}
