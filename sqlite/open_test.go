package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
)

func TestOpenRefusesWhatIsNoLog(t *testing.T) {
	script := func(sql string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			conn, err := zombiezen.OpenConn(path, zombiezen.OpenReadWrite|zombiezen.OpenCreate)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := sqlitex.ExecuteScript(conn, sql, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name string
		make func(t *testing.T, path string)
		want error // for writing and for reading
		read error // for reading, where it is another
	}{
		{"text", func(t *testing.T, path string) { write(t, path, make([]byte, 4096)[:4000]) }, sqlite.ErrForeign, nil},
		{"short text", func(t *testing.T, path string) { write(t, path, []byte("hello")) }, sqlite.ErrForeign, nil},
		{"foreign database", script("CREATE TABLE entries (idx INTEGER PRIMARY KEY, leaf BLOB);"), sqlite.ErrForeign, nil},
		{"other application id", script("PRAGMA application_id = 7;"), sqlite.ErrForeign, nil},
		{"newer schema", script("PRAGMA application_id = 0x41544c47; PRAGMA user_version = 3; CREATE TABLE x (y);"), sqlite.ErrNewer, nil},
		{"older schema", script("PRAGMA application_id = 0x41544c47; PRAGMA user_version = 1; CREATE TABLE x (y);"), sqlite.ErrOlder, nil},
		{"search index", script("PRAGMA application_id = 0x41544c49; PRAGMA user_version = 1; CREATE TABLE x (y);"), sqlite.ErrForeign, nil},
		{"empty file", func(t *testing.T, path string) { write(t, path, nil) }, nil, sqlite.ErrForeign},
		{"missing", func(*testing.T, string) {}, nil, fs.ErrNotExist},
	} {
		for _, readOnly := range []bool{true, false} {
			path := sqlitetest.Path(t)
			test.make(t, path)
			before, _ := os.ReadFile(path)
			want := test.want
			if readOnly && test.read != nil {
				want = test.read
			}
			s, err := openOrPanic(path, sqlite.Config{ReadOnly: readOnly})
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%s: Open (for reading: %v) = %v, want %v", test.name, readOnly, err, want)
			}
			if err == nil {
				s.Close()
				continue
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
				t.Errorf("%s: Open (for reading: %v) refused the file, and changed it", test.name, readOnly)
			}
		}
	}
	if s, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Config{}); err == nil {
		s.Close()
		t.Error("Open of a folder succeeded")
	}
	if _, err := sqlite.Open(t.Context(), sqlitetest.Path(t), sqlite.Config{MustExist: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of a missing log with MustExist = %v, want fs.ErrNotExist", err)
	}
}

// openOrPanic returns a panic as an error, so that the other files are tried.
func openOrPanic(path string, cfg sqlite.Config) (s *sqlite.Store, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return sqlite.Open(context.Background(), path, cfg)
}

func TestNewFilesAreForTheirOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a log?#%.db")
	l := sqlitetest.LogAt(t, path, attestlog.Config{})
	if _, err := l.Append(t.Context(), tamperEvent(0)); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", ".key", ".index", "-wal", ".index-wal"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has permissions %v, want 0600", suffix, info.Mode().Perm())
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestReadOnlyMedia opens a log in a folder that cannot be written: one without
// permissions, or for root, who has them all, a read-only mount.
func TestReadOnlyMedia(t *testing.T) {
	const inside = "ATTESTLOG_TEST_READ_ONLY"
	if path := os.Getenv(inside); path != "" {
		dir := filepath.Dir(path)
		if err := exec.Command("mount", "--bind", dir, dir).Run(); err != nil {
			t.Skip("no bind mount:", err)
		}
		if out, err := exec.Command("mount", "-o", "remount,bind,ro", dir).CombinedOutput(); err != nil {
			t.Skipf("no read-only bind mount: %v: %s", err, out)
		}
		readFromMedia(t, path)
		return
	}
	path := logCopy(t)
	if os.Geteuid() != 0 {
		if err := os.Chmod(filepath.Dir(path), 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(filepath.Dir(path), 0o755) })
		readFromMedia(t, path)
		return
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("root can write everywhere, and there is no unshare to mount a folder read-only with")
	}
	cmd := exec.Command(unshare, "-m", os.Args[0], "-test.run=^TestReadOnlyMedia$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+path)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in a read-only mount: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func readFromMedia(t *testing.T, path string) {
	if err := os.WriteFile(path+".probe", nil, 0o600); !errors.Is(err, syscall.EROFS) && !errors.Is(err, fs.ErrPermission) {
		t.Skip("the folder can still be written:", err)
	}
	checkAnswers(t, path, sqlite.Config{ReadOnly: true})
	if r, err := verifyCopy(t.Context(), path, verify.Options{Index: true}); err != nil || r.Signed != tamperSize {
		t.Errorf("Verify = %+v, %v; want %d signed entries", r, err, tamperSize)
	}
	if s, err := openOrPanic(path, sqlite.Config{}); err == nil {
		s.Close()
		t.Error("Open for writing succeeded")
	} else if strings.HasPrefix(err.Error(), "panic") {
		t.Errorf("Open for writing = %v", err)
	}
}
