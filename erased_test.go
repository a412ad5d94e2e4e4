package attestlog_test

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
)

// A sealed value that is gone is shown as erased once an entry says that it was, and
// makes the entry damaged before.
func TestOnlyWhatAnEntryNamesIsErased(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	l := sqlitetest.LogAt(t, path, attestlog.Config{})
	testlog.Append(t, l, testlog.Events(0, 3)...)

	conn, err := zombiezen.OpenConn(path, zombiezen.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = sqlitex.ExecuteScript(conn, `DROP TRIGGER disclosures_delete;
		DELETE FROM disclosures WHERE idx = 1 AND pointer IN ('/source/ip', '/actor/name')`, nil)
	if err != nil {
		t.Fatal(err)
	}

	names := func(pointers ...any) {
		t.Helper()
		erased := []any{map[string]any{"index": 1, "pointers": pointers}}
		err := l.AppendOwn(t.Context(), attestlog.Event{Action: attestlog.EraseAction, Attributes: map[string]any{"erased": erased}})
		if err != nil {
			t.Fatal(err)
		}
	}
	wantDamaged := func() {
		t.Helper()
		var corrupt *attestlog.CorruptError
		_, err := l.Entry(t.Context(), 1)
		if !errors.As(err, &corrupt) {
			t.Errorf("Entry = %v, want a *CorruptError", err)
		}
		page, err := l.Query(t.Context(), query.Indexes(0, 3), attestlog.PageOptions{})
		if err != nil || len(page.Entries) != 3 || !errors.As(page.Entries[1].Err, &corrupt) {
			t.Errorf("Query = %d entries, %v; want the second of three damaged", len(page.Entries), err)
		}
	}

	wantDamaged()
	names("/source/ip")
	wantDamaged() // the name is still unexplained
	names("/actor/name")

	e, err := l.Entry(t.Context(), 1)
	slices.Sort(e.Erased)
	if err != nil || !slices.Equal(e.Erased, []string{"/actor/name", "/source/ip"}) {
		t.Errorf("Entry = erased %q, %v; want both", e.Erased, err)
	}
}
