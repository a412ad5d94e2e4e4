package crashtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOlderCopyPutBack puts a database back to what it was 100 entries
// earlier, with and without its search index.
func TestOlderCopyPutBack(t *testing.T) {
	for name, pattern := range map[string]string{"the database": "a.db", "the database and its index": "a.db*"} {
		t.Run(name, func(t *testing.T) { putBack(t, pattern) })
	}
}

func putBack(t *testing.T, pattern string) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "a.db"), filepath.Join(dir, "old")
	source := newEvents(4, "restore")
	seedLog(t, path, 300)
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	copyFiles(t, old, path, path+".index")
	if r := runLog(t, path, lines(source.events(100)), "append"); r.code != 0 {
		t.Fatalf("append: %v", r)
	}
	later := filepath.Join(dir, "later")
	if r := runLog(t, path, "", "checkpoint"); r.code != 0 {
		t.Fatalf("checkpoint: %v", r)
	} else if err := os.WriteFile(later, []byte(r.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	back, err := filepath.Glob(filepath.Join(old, pattern))
	if err != nil {
		t.Fatal(err)
	}
	copyFiles(t, dir, back...)

	next := source.event()
	r := runLog(t, path, next.line+"\n", "append")
	if r.code != 2 || r.stdout != "" || !strings.Contains(r.stderr, "300 entries") || !strings.Contains(r.stderr, "restore --accept") {
		t.Errorf("append to the old copy: %v; want exit 2 with the reason and the way out", r)
	}
	if r := runLog(t, path, "", "query", "--all", "--format", "jsonl"); r.code != 0 || strings.Count(r.stdout, "\n") != 300 {
		t.Errorf("query of the old copy: %v; want 300 entries", r)
	}
	if r := runLog(t, path, "", "show", "299"); r.code != 0 {
		t.Errorf("show 299 in the old copy: %v", r)
	}
	r = runLog(t, path, "", "verify")
	if r.code != 1 || !strings.Contains(r.stdout, "first bad index: 300") || !strings.Contains(r.stdout, "missing") {
		t.Errorf("verify of the old copy: %v; want exit 1, entries from 300 on are missing", r)
	}

	if r := runLog(t, path, "", "restore", "--accept"); r.code != 0 {
		t.Fatalf("restore --accept: %v", r)
	}
	if r := runLog(t, path, "", "show", "300"); r.code != 0 || !strings.Contains(r.stdout, "attestlog.restore") {
		t.Errorf("show 300 after the restore: %v; want the entry that tells of it", r)
	}
	if r := runLog(t, path, next.line+"\n", "append"); r.code != 0 {
		t.Errorf("append after the restore: %v", r)
	}
	if r := runLog(t, path, "", "verify", "--index"); r.code != 0 {
		t.Errorf("verify after the restore: %v", r)
	}
	if r := runLog(t, path, "", "verify", "--checkpoint", later); r.code != 1 {
		t.Errorf("verify with the checkpoint that was given up: %v; want exit 1", r)
	}
	// Even once the log has outgrown it.
	if r := runLog(t, path, lines(source.events(200)), "append"); r.code != 0 {
		t.Errorf("append after the restore: %v", r)
	}
	if r := runLog(t, path, "", "verify", "--checkpoint", later); r.code != 1 {
		t.Errorf("verify of the longer log with the checkpoint that was given up: %v; want exit 1", r)
	}
}

func copyFiles(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func removeFiles(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}
