package durable

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// These make the test's program replace, or create, the file that they name.
const (
	faultEnv  = "ATTESTLOG_DURABLE_REPLACE"
	createEnv = "ATTESTLOG_DURABLE_CREATE"
)

func TestMain(m *testing.M) {
	path, write := os.Getenv(faultEnv), Replace
	if path == "" {
		path, write = os.Getenv(createEnv), Create
	}
	if path == "" {
		os.Exit(m.Run())
	}
	if err := write(path, []byte("new"), 0o600); err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(2)
	}
}

// A system call that fails, or in which the program is killed, leaves the old
// content until the rename, and the new from then on. What a crash leaves
// besides is removed by RemoveTemp.
func TestReplaceFaults(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("strace is missing; `make test` installs it, as does `apt-get install strace`")
	}

	for _, c := range []struct {
		name, inject string
		folder       bool // it happens to the folder, not to the file
		want         string
		left         int // temporary files
	}{
		{"write, disk full", "write:error=ENOSPC", false, "old", 0},
		{"write, killed", "write:signal=SIGKILL", false, "old", 1},
		{"sync", "fsync:error=EIO", false, "old", 0},
		{"sync, killed", "fsync:signal=SIGKILL", false, "old", 1},
		{"rename", "?rename,renameat:error=EIO", false, "old", 0},
		{"rename, killed", "?rename,renameat:signal=SIGKILL", false, "old", 1},
		{"folder's sync", "fsync:error=EIO", true, "new", 0},
		{"folder's sync, killed", "fsync:signal=SIGKILL", true, "new", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}

			trace := filepath.Join(t.TempDir(), "strace")
			args := []string{"-f", "-qq", "-o", trace, "-e", "trace=write,fsync,?rename,renameat", "-e", "inject=" + c.inject}
			if c.folder {
				args = append(args, "-P", filepath.Dir(path))
			}
			cmd := exec.Command("strace", append(args, os.Args[0])...)
			cmd.Env = append(os.Environ(), faultEnv+"="+path)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Errorf("Replace = nil with the fault %s", c.inject)
			}
			if !strings.Contains(c.inject, "SIGKILL") && cmd.ProcessState.ExitCode() != 2 {
				t.Errorf("Replace with the fault %s: %v, %s", c.inject, err, out)
			}

			checkFile(t, path, c.want, 0o600)
			if left, err := filepath.Glob(path + ".*.new"); err != nil || len(left) != c.left {
				t.Errorf("%q are left, %v, want %d files", left, err, c.left)
			}
			if err := RemoveTemp(path); err != nil {
				t.Error(err)
			}
			checkOnly(t, path)
		})
	}
}

// A file system without hard links still creates a file, and still leaves what is
// there.
func TestCreateWithoutHardLinks(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("strace is missing; `make test` installs it, as does `apt-get install strace`")
	}

	for _, errno := range []string{"EPERM", "EOPNOTSUPP"} {
		dir := t.TempDir()
		path, trace := filepath.Join(dir, "file"), filepath.Join(t.TempDir(), "strace")
		create := func() (string, error) {
			cmd := exec.Command("strace", "-f", "-qq", "-o", trace, "-e", "trace=?link,linkat",
				"-e", "inject=?link,linkat:error="+errno, os.Args[0])
			cmd.Env = append(os.Environ(), createEnv+"="+path)
			out, err := cmd.CombinedOutput()
			return string(out), err
		}

		if out, err := create(); err != nil {
			t.Fatalf("Create where links fail with %s: %v, %s", errno, err, out)
		}
		checkFile(t, path, "new", 0o600)
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := create(); err == nil || !strings.Contains(out, "exists") {
			t.Errorf("Create of a file that is there, where links fail with %s: %v, %s", errno, err, out)
		}
		checkFile(t, path, "old", 0o600)
		checkOnly(t, path)
	}
}
