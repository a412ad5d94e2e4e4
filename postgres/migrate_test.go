package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/verify"
)

// What a DBA makes by the SQL of a dry run is what Open makes, to the letter,
// and Open and Verify are content with it.
func TestTheSchemaOfADryRunIsThatOfOpen(t *testing.T) {
	t.Parallel()
	opened, byHand, byParts := database(t), database(t), database(t)
	testlog.Close(t, openAt(t, opened, newHome(t)))

	script, err := postgres.DryRun(t.Context(), byHand)
	if err != nil {
		t.Fatal(err)
	}
	cfg := postgres.Config{Home: newHome(t), MustExist: true, Logger: testlog.Quiet}
	if _, err := postgres.Open(t.Context(), byHand, cfg); !errors.Is(err, postgres.ErrNoLog) {
		t.Errorf("Open after the dry run = %v, want ErrNoLog: it changes nothing", err)
	}
	psql(t, byHand, script)
	if again, err := postgres.DryRun(t.Context(), byHand); err != nil || again != "" {
		t.Errorf("DryRun of the finished schema = %q, %v; want nothing to do", again, err)
	}

	parts, err := postgres.Migrations(postgres.DefaultLog, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Each statement is a transaction of its own here.
	psql(t, byParts, "SET standard_conforming_strings = off;\n"+parts)

	want := dump(t, opened)
	if !strings.Contains(want, "CREATE TRIGGER refuse") || !strings.Contains(want, "ENABLE ALWAYS TRIGGER") {
		t.Fatalf("the dump lacks the triggers:\n%s", want)
	}

	for name, dsn := range map[string]string{"in a transaction": byHand, "by statements": byParts} {
		if diff := cmp.Diff(want, dump(t, dsn)); diff != "" {
			t.Errorf("run %s, the schema differs (-opened +by hand):\n%s", name, diff)
		}
		l := openWith(t, dsn, postgres.Config{Home: newHome(t), MustExist: true}, attestlog.Config{})
		if _, err := l.Append(t.Context(), testlog.Events(0, 300)...); err != nil {
			t.Errorf("Append = %v", err)
		}
		if _, err := verify.Log(t.Context(), l, verify.Options{Index: true}); err != nil && !errors.Is(err, verify.ErrCannotVerify) {
			t.Errorf("Verify = %v", err)
		}
		testlog.Close(t, l)
		if diff := cmp.Diff(want, dump(t, dsn)); diff != "" {
			t.Errorf("opening and appending changed the schema that was made %s:\n%s", name, diff)
		}
	}
}

// psql runs a script as a DBA does, and stops at the first error.
func psql(t *testing.T, dsn, script string) {
	t.Helper()
	cmd := cluster.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
}

// dump returns the SQL that makes a database's schemas.
func dump(t *testing.T, dsn string) string {
	t.Helper()
	out, err := cluster.Command("pg_dump", "--schema-only", "-d", dsn).CombinedOutput()
	if err != nil {
		t.Fatalf("pg_dump: %v\n%s", err, out)
	}

	var text strings.Builder
	for line := range strings.Lines(string(out)) {
		// The newer releases of pg_dump guard a dump by a random word.
		if !strings.HasPrefix(line, `\restrict`) && !strings.HasPrefix(line, `\unrestrict`) {
			text.WriteString(line)
		}
	}
	return text.String()
}
