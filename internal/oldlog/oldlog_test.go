package oldlog_test

import (
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/oldlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
)

var errTorn = errors.New("torn")

// tableOf returns a table of rows. If fail is not negative, reading the row of
// that number fails.
func tableOf(rows, fail int) oldlog.Table {
	var events iter.Seq2[attestlog.Event, error] = func(yield func(attestlog.Event, error) bool) {
		for n := range rows {
			if n == fail {
				yield(attestlog.Event{}, errTorn)
				return
			}
			e := testlog.Event(n)
			e.ID = fmt.Sprintf("old:%d", n)
			if !yield(e, nil) {
				return
			}
		}
	}
	return oldlog.Table{Name: "test", Format: "old", Rows: int64(rows), Events: events, Logger: testlog.Quiet}
}

func isImported(t *testing.T, l *attestlog.Log) bool {
	t.Helper()
	done, err := oldlog.IsImported(t.Context(), l, "test")
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestAnInterruptedImportIsContinued(t *testing.T) {
	const rows = 2_500
	l := sqlitetest.Log(t, attestlog.Config{})

	err := oldlog.Import(t.Context(), l, tableOf(rows, 1_700))
	if !errors.Is(err, errTorn) || isImported(t, l) {
		t.Fatalf("Import of a torn table = %v, and IsImported = %t", err, isImported(t, l))
	}
	if n := testlog.Size(t, l); n == 0 || n >= rows {
		t.Errorf("%d entries after the interruption", n)
	}

	err = oldlog.Import(t.Context(), l, tableOf(rows, -1))
	if err != nil || !isImported(t, l) {
		t.Fatalf("Import = %v, and IsImported = %t", err, isImported(t, l))
	}
	entries := testlog.Entries(t, l, query.Query{})
	if len(entries) != rows+1 {
		t.Errorf("%d entries, want the %d rows and the end of the import", len(entries), rows)
	}
	end := testlog.Entries(t, l, oldlog.Imported("test"))
	if len(end) != 1 || end[0].Action != "test.imported" || end[0].Attributes["rows"] != float64(rows) {
		t.Errorf("the end of the import is %+v", end)
	}
}

func TestAnImportThatLacksRowsDoesNotEnd(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	table := tableOf(10, -1)
	table.Rows = 11
	err := oldlog.Import(t.Context(), l, table)
	if err == nil || isImported(t, l) {
		t.Errorf("Import of 10 of 11 rows = %v, and IsImported = %t", err, isImported(t, l))
	}

	// A program that adds rows meanwhile adds others later, which nobody imports.
	table.Rows = 9
	err = oldlog.Import(t.Context(), l, table)
	if err == nil || isImported(t, l) {
		t.Errorf("Import of 10 of 9 rows = %v, and IsImported = %t", err, isImported(t, l))
	}

	table.Grows = true
	err = oldlog.Import(t.Context(), l, table)
	if err != nil || !isImported(t, l) {
		t.Errorf("Import of 10 of 9 rows of a table that grows = %v, and IsImported = %t", err, isImported(t, l))
	}
}
