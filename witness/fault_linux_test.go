package witness

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/cryptotest"

	"github.com/attestlog/attestlog/internal/durable"
)

func requireStrace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("strace is missing; `make test` installs it, as does `apt-get install strace`")
	}
}

// temporary returns the name of the first temporary file that a process with a
// seed writes its state to.
func temporary(t *testing.T, dir string, seed uint64) (name string) {
	t.Helper()
	t.Run("temporary", func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, seed)
		f, err := durable.CreateTemp(filepath.Join(dir, "state"), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		name = f.Name()
		if err := errors.Join(f.Close(), os.Remove(name)); err != nil {
			t.Fatal(err)
		}
	})
	return name
}

// TestFaults makes a system call fail, or kills the witness in it, while a
// checkpoint is taken in. No cosignature may come of it. If the call that failed
// came after the rename, the witness knows the checkpoint afterwards.
func TestFaults(t *testing.T) {
	requireStrace(t)
	const seed = 7
	for _, tt := range []struct {
		name, file, inject string
		persisted          bool
	}{
		{"open", "new", "openat:error=EMFILE", false},
		{"write", "new", "write:error=EIO", false},
		{"write, disk full", "new", "write:error=ENOSPC", false},
		{"write, killed", "new", "write:signal=SIGKILL", false},
		{"sync", "new", "fsync:error=EIO", false},
		{"sync, killed", "new", "fsync:signal=SIGKILL", false},
		{"rename", "new", "?rename,renameat,?renameat2:error=EIO", false},
		{"folder's sync", "", "fsync:error=EIO", true},
		{"folder's sync, killed", "", "fsync:signal=SIGKILL", true},
		{"lock", "state.lock", "openat:error=EIO", false},
		{"locking", "state.lock", "flock:error=ENOLCK", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, l, v := newProcess(t, 40)
			p := start(t, s)
			if status, _, text := post(t, p.url, l.request(t, 0, 5).marshal()); status != 200 {
				t.Fatalf("%d %s", status, text)
			}
			p.kill()
			log := filepath.Join(t.TempDir(), "strace")
			file := filepath.Join(s.Dir, tt.file)
			if tt.file == "new" {
				file = temporary(t, s.Dir, seed)
			}
			s.Seed = seed
			p = start(t, s, "strace", "-f", "-y", "-qq", "-o", log, "-e", "signal=none", "-e", "trace=openat,write,fsync,flock,?rename,renameat,?renameat2",
				"-P", file, "-e", "inject="+tt.inject)
			s.Seed = 0
			resp, err := http.Post(p.url+"/add-checkpoint", "", bytes.NewReader(l.request(t, 5, 8).marshal()))
			mark := "(INJECTED)"
			if strings.Contains(tt.inject, "SIGKILL") {
				mark = "= ?" // a call that never returned
			}
			switch killed := mark == "= ?"; {
			case killed != (err != nil):
				t.Errorf("answer %v, %v", resp, err)
			case !killed:
				resp.Body.Close()
				if resp.StatusCode != 500 {
					t.Errorf("status %d, want 500", resp.StatusCode)
				}
			}
			p.end()
			if trace, err := os.ReadFile(log); err != nil || !strings.Contains(string(trace), mark) {
				t.Fatalf("nothing was injected: %v\n%s", err, trace)
			}
			want := "5\n"
			if tt.persisted {
				want = "8\n"
			}
			p = start(t, s)
			if status, _, text := post(t, p.url, l.request(t, 1, 9).marshal()); status != 409 || text != want {
				t.Errorf("afterwards: %d %q, want 409 %q", status, text, want)
			}
			p.kill()
			checkAfterCrash(t, s, l, v, 5)
		})
	}
}

// TestDurableBeforeTheAnswer looks at the order of system calls.
func TestDurableBeforeTheAnswer(t *testing.T) {
	requireStrace(t)
	s, l, _ := newProcess(t, 8)
	log := filepath.Join(t.TempDir(), "strace")
	p := start(t, s, "strace", "-f", "-y", "-qq", "-s", "64", "-o", log, "-e", "signal=none", "-e", "trace=flock,write,fsync,?rename,renameat,?renameat2")
	if status, _, text := post(t, p.url, l.request(t, 0, 5).marshal()); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	p.end()
	trace, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	dir := regexp.QuoteMeta(s.Dir)
	order := regexp.MustCompile(`(?s)flock\(\d+<` + dir + `/state\.lock>, .*write\(\d+<` + dir + `/state\.\w+\.new>, .*fsync\(\d+<` + dir + `/state\.\w+\.new>.*rename\w*\([^\n]*state\.\w+\.new".*fsync\(\d+<` + dir + `>.*write\(\d+<[^\n]*"HTTP/1\.1 200`)
	if !order.Match(trace) {
		t.Errorf("lock, write, sync, rename, sync of the folder and answer are not in this order:\n%s", trace)
	}
}
