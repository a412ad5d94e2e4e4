//go:build unix

package auditlog_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog/compat/auditlog"
)

// The answers to the script are those of the log that this package replaces, which
// gave them to the same recorder. The package's comment names the differences.
func TestTheAnswersAreThoseOfTheOldLog(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("testdata", "answers.txt"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	r := &recorder{
		dir:  dir,
		open: func(path string) (scripted, error) { return auditlog.New(path) },
		list: func(s scripted, limit int) (any, error) { return s.(*auditlog.Store).List(limit) },
	}
	if diff := cmp.Diff(string(want), r.perform()); diff != "" {
		t.Errorf("answers (-old +new):\n%s", diff)
	}
}
