//go:build unix

package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, content := range []string{"first", "second"} {
		if err := Replace(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		checkFile(t, path, content, 0o640)
	}
	checkOnly(t, path)
}

func TestCreateLeavesWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := Create(path, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("second"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create of a file that is there = %v, want %v", err, fs.ErrExist)
	}
	checkFile(t, path, "first", 0o600)
	checkOnly(t, path)
}

// A name that leads elsewhere is replaced itself; what it leads to stays.
func TestReplaceDoesNotFollowASymlink(t *testing.T) {
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "file")
	if err := os.WriteFile(victim, []byte("keep me"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path); err != nil {
		t.Fatal(err)
	}

	if err := Create(path, []byte("new"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a symlink = %v, want %v", err, fs.ErrExist)
	}
	if err := Replace(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	checkFile(t, path, "new", 0o600)
	checkFile(t, victim, "keep me", 0o600)
}

// A name that CreateTemp does not give is somebody else's, as is what is not a
// regular file.
func TestRemoveTempLeavesWhatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	others := []string{
		"state.before-migration.new", "state.AAAAAAAAAAAAAAAA.new", "state.aaaaaaaaaaaaaaa1.new",
		"state.aaaaaaaaaaaaaaa2.newer", "other.aaaaaaaaaaaaaaa2.new", "aaaaaaaaaaaaaaa2.new", "state",
	}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(path+".aaaaaaaaaaaaaaa3.new", 0o700); err != nil {
		t.Fatal(err)
	}
	temp, err := CreateTemp(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	temp.Close()

	if err := RemoveTemp(path); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(temp.Name()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", temp.Name(), err)
	}
	for _, name := range append(others, "state.aaaaaaaaaaaaaaa3.new") {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestReadSecretRefusesWhatOthersCanRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	for _, c := range []struct {
		mode fs.FileMode
		ok   bool
	}{{0o600, true}, {0o400, true}, {0o640, false}, {0o604, false}, {0o620, false}} {
		if err := Replace(path, []byte("secret"), c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := ReadSecret(path)
		if (err == nil) != c.ok {
			t.Errorf("ReadSecret of a file with mode %#o: %v", c.mode, err)
		}
	}

	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSecret(link); err == nil {
		t.Error("ReadSecret followed a symlink")
	}

	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSecret(pipe); err == nil {
		t.Error("ReadSecret read a named pipe")
	}
}

func TestReadSecretRefusesAnotherUsersFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := Replace(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}

	if _, err := ReadSecret(path); err == nil {
		t.Error("ReadSecret read a file of another user")
	}
}

func checkFile(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("%s holds %q, %v, want %q", path, got, err, content)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != mode {
		t.Errorf("%s has mode %v, %v, want %v", path, info.Mode(), err, mode)
	}
}

// checkOnly checks that nothing was left next to a file.
func checkOnly(t *testing.T, path string) {
	t.Helper()
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 1 {
		t.Errorf("the folder holds %v, %v, want one file", files, err)
	}
}
