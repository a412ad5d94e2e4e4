//go:build linux

package jsonl

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/attestlog/attestlog"
)

// TestFullDisk fills the disk within a line of every entry and within the
// checkpoint, then makes room: the kernel's limit on file sizes stops a write
// half way just as a full disk does, and needs no rights.
func TestFullDisk(t *testing.T) {
	if os.Getenv("ATTESTLOG_TEST_FULL") == "" {
		// A process of its own: the limit would hold for the test's log too.
		cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
		cmd.Env = append(os.Environ(), "ATTESTLOG_TEST_FULL=1")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestFullDisk")) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	signal.Ignore(unix.SIGXFSZ)
	line := len(attestlog.AppendLine(nil, new(record(0)))) + 1
	for _, room := range []int{5 * line, 5*line + 1, 6*line - 1, 6*line + 60, 8*line + 1, 8*line + 100} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		f, warnings := open(t, path, Config{})
		if _, err := f.Position(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := f.Take(t.Context(), records(0, 4)); err != nil {
			t.Fatal(err)
		}
		err := withFileLimit(t, room, func() error {
			if err := f.Take(t.Context(), records(4, 8)); err != nil {
				return err
			}
			return f.Checkpoint(t.Context(), checkpoint(t, 8))
		})
		if !errors.Is(err, unix.EFBIG) {
			t.Fatalf("room for %d bytes: Take and Checkpoint = %v, want EFBIG", room, err)
		}
		err = withFileLimit(t, room, func() error { // still full
			from, err := f.Position(t.Context())
			if err != nil {
				return err
			}
			if err := f.Take(t.Context(), records(from, 8)); err != nil {
				return err
			}
			return f.Checkpoint(t.Context(), checkpoint(t, 8))
		})
		if !errors.Is(err, unix.EFBIG) {
			t.Fatalf("room for %d bytes: second Take and Checkpoint = %v, want EFBIG", room, err)
		}
		follow(t, f, 8)
		wantContents(t, "0 1 2 3 4 5 6 7 c8", path)
		if warnings.Len() > 0 {
			t.Errorf("room for %d bytes: warnings:\n%s", room, warnings)
		}
	}
}

// withFileLimit runs fn while no file can grow beyond a size.
func withFileLimit(t *testing.T, size int, fn func() error) error {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := unix.Rlimit{Cur: uint64(size), Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_FSIZE, &old)
	return fn()
}

// TestFullFileSystem is TestFullDisk on a file system that is really full.
func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mount: %v; TestFullDisk covers it by other means", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	path := filepath.Join(dir, "audit.jsonl")
	f, warnings := open(t, path, Config{})
	follow(t, f, 20)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk = %v, want ENOSPC", err)
	}
	for range 2 {
		_, err := f.Position(t.Context())
		if err == nil {
			err = f.Take(t.Context(), records(20, 40))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("Position and Take = %v, want ENOSPC", err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	follow(t, f, 40)
	got, err := contents(path)
	if err != nil || len(got) == 0 {
		t.Fatalf("contents = %q, %v", got, err)
	}
	if warnings.Len() > 0 {
		t.Errorf("warnings:\n%s", warnings)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFolderMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	path := filepath.Join(dir, "audit.jsonl")
	f, _ := open(t, path, Config{})
	if _, err := f.Position(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Position = %v, want fs.ErrNotExist", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	follow(t, f, 3)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := f.Take(t.Context(), records(3, 4)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Take = %v, want fs.ErrNotExist", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	follow(t, f, 5)
	wantContents(t, "3 4 c5", path)
}

func TestNotAFile(t *testing.T) {
	for _, target := range []string{"/dev/full", "/dev/zero"} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		f, _ := open(t, path, Config{})
		if _, err := f.Position(t.Context()); err == nil {
			t.Errorf("Position of a link to %s = nil, want an error", target)
		}
	}
}

// TestAppendOnlyAttribute needs root and a file system that has it.
func TestAppendOnlyAttribute(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, warnings := open(t, path, Config{})
	follow(t, f, 3)
	if err := setAppendOnly(path, true); err != nil {
		t.Skipf("chattr +a: %v", err)
	}
	defer setAppendOnly(path, false)
	if err := os.Truncate(path, 0); err == nil {
		t.Fatal("the attribute has no effect")
	}
	follow(t, f, 4)
	crash(f)
	tear, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tear.Write(attestlog.AppendLine(nil, new(record(4)))[:50]); err != nil {
		t.Fatal(err)
	}
	if err := tear.Close(); err != nil {
		t.Fatal(err)
	}
	f, _ = open(t, path, Config{})
	follow(t, f, 6)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantContents(t, "0 1 2 c3 3 c4 4 5 c6", path)
	if warnings.Len() > 0 {
		t.Errorf("warnings:\n%s", warnings)
	}
}

func setAppendOnly(path string, on bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	const appendOnly = 0x20 // FS_APPEND_FL of linux/fs.h
	var flags int32
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, file.Fd(), unix.FS_IOC_GETFLAGS, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return errno
	}
	flags &^= appendOnly
	if on {
		flags |= appendOnly
	}
	return unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, int(flags))
}
