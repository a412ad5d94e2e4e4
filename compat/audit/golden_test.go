//go:build unix

package audit_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog/compat/audit"
	"github.com/attestlog/attestlog/internal/pgtest"
)

// The answers to the script are those of the log that this package replaces, which
// gave them to the same recorder. The package's comment names the differences.
func TestTheAnswersAreThoseOfTheOldLog(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("testdata", "answers.txt"))
	if err != nil {
		t.Fatal(err)
	}
	c := pgtest.New(t, "fsync=off")
	dir := t.TempDir()
	t.Chdir(dir)
	r := &recorder{
		dir:  dir,
		dsn:  c.DSN("postgres"),
		open: func(dsn, path string, logger *slog.Logger) (scripted, error) { return audit.New(dsn, path, logger) },
		log: func(l scripted, e map[string]any) {
			var entry audit.Entry
			entry.Timestamp, _ = e["Timestamp"].(time.Time)
			entry.EventType, _ = e["EventType"].(string)
			entry.Username, _ = e["Username"].(string)
			entry.IPAddress, _ = e["IPAddress"].(string)
			entry.Query, _ = e["Query"].(string)
			entry.MailID, _ = e["MailID"].(string)
			entry.Success, _ = e["Success"].(bool)
			entry.Detail, _ = e["Detail"].(string)
			l.(*audit.Logger).Log(entry)
		},
		query: func(l scripted, f map[string]any) (any, int, error) {
			var filter audit.QueryFilter
			filter.Username, _ = f["Username"].(string)
			filter.EventType, _ = f["EventType"].(string)
			filter.MailID, _ = f["MailID"].(string)
			filter.From, _ = f["From"].(*time.Time)
			filter.To, _ = f["To"].(*time.Time)
			filter.PageSize, _ = f["PageSize"].(int)
			filter.Page, _ = f["Page"].(int)
			return queryAny(l.(*audit.Logger).Query(filter))
		},
	}
	got := r.perform()
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("answers (-old +new):\n%s", diff)
	}
}

func queryAny(entries []audit.Entry, total int, err error) (any, int, error) {
	return entries, total, err
}
