package auditlog_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog/convert/auditlog"
)

// asNobody runs fn on a thread that may not write to files of root, if the test
// runs as root.
func asNobody(t *testing.T, fn func()) {
	t.Helper()
	if os.Getuid() != 0 {
		fn()
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		const nobody = 65534
		if err := syscall.Setfsuid(nobody); err != nil {
			t.Error(err)
			return
		}
		fn()
	}()
	<-ended
}

// sealedFolder copies files to a folder in which nobody but root can write.
func sealedFolder(t *testing.T, from string, suffixes ...string) (path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "attestlog-sealed")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.Chmod(dir, 0o700)
		os.RemoveAll(dir)
	})

	path = filepath.Join(dir, "app.db")
	for _, suffix := range append(suffixes, "") {
		content, err := os.ReadFile(from + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, content, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	return path
}

// A medium that can only be read is never taken for one that nobody changes: the
// same files may be written elsewhere.
func TestAFolderThatCannotBeWritten(t *testing.T) {
	rows := func() (rows []auditlog.Row) {
		for n := range int64(3000) {
			rows = append(rows, row(n+1, int64(1), strings.Repeat("committed ", 10), "GET", "/", "", int64(200)))
		}
		return rows
	}
	inUse := table(t, "WAL", rows()...)
	program, err := sqlite.OpenConn(inUse, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if err := sqlitex.ExecuteTransient(program, "UPDATE audit SET username = 'committed now'", nil); err != nil {
		t.Fatal(err)
	}
	crashed := table(t, "", rows()...)
	leaveOpen(t, crashed)

	for _, c := range []struct {
		name  string
		path  string
		fails string
	}{
		{"rollback journal", sealedFolder(t, table(t, "", rows()...)), ""},
		{"hot journal", sealedFolder(t, crashed, "-journal"), ""},
		{"write-ahead log in use", sealedFolder(t, inUse, "-wal", "-shm"), ""},
		{"write-ahead log left", sealedFolder(t, inUse, "-wal"), "copy it"},
		{"write-ahead log, closed", sealedFolder(t, table(t, "WAL", rows()...)), "copy it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			asNobody(t, func() {
				tab, err := auditlog.Open(c.path)
				if c.fails != "" {
					if err == nil || !strings.Contains(err.Error(), c.fails) {
						t.Errorf("Open = %v, want an error with %q", err, c.fails)
					}
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				defer tab.Close()
				n := 0
				for e, err := range tab.Events(t.Context()) {
					if err != nil || !strings.HasPrefix(e.Actor.ID, "committed") {
						t.Errorf("event %d is by %q, %v", n, e.Actor.ID, err)
						return
					}
					n++
				}
				if n != 3000 {
					t.Errorf("%d events, want 3000", n)
				}
			})
		})
	}
}
