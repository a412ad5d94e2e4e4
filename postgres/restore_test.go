package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

// A database that was put back to an earlier state, consistent in itself, is
// read and not written, and Verify names the first entry that it lacks.
func TestAnOlderDatabaseIsNotWritten(t *testing.T) {
	t.Parallel()
	o := filled(t, 300)
	tables := []string{"entries", "keys", "disclosures", "tiles", "checkpoints", "tree"}
	var save, putBack strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&save, "CREATE TABLE old_%s AS SELECT * FROM %[1]s;", table)
		fmt.Fprintf(&putBack, "TRUNCATE %s; INSERT INTO %[1]s SELECT * FROM old_%[1]s;", table)
	}
	if err := o.tamper(t.Context(), save.String()); err != nil {
		t.Fatal(err)
	}

	l := o.openLog(t, postgres.Config{})
	if _, err := l.Append(t.Context(), testlog.Events(300, 400)...); err != nil {
		t.Fatal(err)
	}
	testlog.Close(t, l)
	if err := o.tamper(t.Context(), putBack.String()); err != nil {
		t.Fatal(err)
	}

	l = o.openLog(t, postgres.Config{NoIndex: true})
	if _, err := l.Append(t.Context(), testlog.Event(400)); !errors.Is(err, attestlog.ErrReadOnly) {
		t.Errorf("Append to an older database = %v, want ErrReadOnly", err)
	}
	if e, err := l.Entry(t.Context(), 299); err != nil || e.ID != testlog.Event(299).ID {
		t.Errorf("Entry(299) = %q, %v", e.ID, err)
	}
	testlog.Close(t, l)

	var corrupt *attestlog.CorruptError
	if _, err := o.verify(t, verify.Options{}); !errors.As(err, &corrupt) || corrupt.Index != 300 {
		t.Errorf("Verify = %v, want a *CorruptError at entry 300", err)
	}
}

// Of two programs at once, the one with older terms leaves the other's index
// alone, goes on appending, and finds everything.
func TestANewerIndexIsLeftAlone(t *testing.T) {
	t.Parallel()
	o := filled(t, 300)
	conn := o.connect(t)
	if _, err := conn.Exec(t.Context(), "UPDATE segments SET terms = 99"); err != nil {
		t.Fatal(err)
	}

	l := o.openLog(t, postgres.Config{})
	if _, err := l.Append(t.Context(), testlog.Events(300, 400)...); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Count(t.Context(), query.Field("actor", "alice"), 0); err != nil || n != 400 {
		t.Errorf("Count = %d, %v; want 400", n, err)
	}
	testlog.Close(t, l) // which indexes what is left

	var newer, others int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FILTER (WHERE terms = 99), count(*) FILTER (WHERE terms <> 99) FROM segments").Scan(&newer, &others); err != nil || newer == 0 || others != 0 {
		t.Errorf("%d segments of the newer terms and %d others, %v", newer, others, err)
	}
}
