package witness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testwait"
)

func TestNoStateIsNotAnEmptyState(t *testing.T) {
	l := newTestLog(t, origin, 8)
	cfg := config(t, l)
	cfg.Create = false
	if _, err := New(cfg); !errors.Is(err, ErrNoState) {
		t.Fatalf("New = %v, want ErrNoState", err)
	}
	cfg.Dir = filepath.Join(cfg.Dir, "a", "b")
	if _, err := New(cfg); !errors.Is(err, ErrNoState) {
		t.Fatalf("New without a folder = %v, want ErrNoState", err)
	}
	cfg.Create = true
	url := serve(t, open(t, cfg))
	if status, _, text := post(t, url, l.request(t, 0, 5).marshal()); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	// Create keeps what is there.
	url = serve(t, open(t, cfg))
	if status, _, text := post(t, url, l.request(t, 0, 5).marshal()); status != 409 || text != "5\n" {
		t.Errorf("%d %q, want 409 and size 5", status, text)
	}
	// A state that is gone while the witness runs is not an empty one either.
	if err := os.Remove(filepath.Join(cfg.Dir, "state")); err != nil {
		t.Fatal(err)
	}
	if status, _, text := post(t, url, l.request(t, 0, 5).marshal()); status != 500 {
		t.Errorf("after its removal: %d %q, want 500", status, text)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, "state")); err == nil {
		t.Error("the state was made anew")
	}
}

func TestTakingTheLockRemovesWhatACrashLeft(t *testing.T) {
	l := newTestLog(t, origin, 8)
	cfg := config(t, l)
	open(t, cfg)
	crashed := filepath.Join(cfg.Dir, "state.c5rjbbyk6mjh3yw4.new")
	if err := os.WriteFile(crashed, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	cfg.Create = false
	url := serve(t, open(t, cfg))
	if status, _, text := post(t, url, l.request(t, 0, 5).marshal()); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	if _, err := os.Stat(crashed); err == nil {
		t.Errorf("%s is still there", crashed)
	}
}

// TestDamagedStateIsRefused tears the state at every byte, and changes every
// byte.
func TestDamagedStateIsRefused(t *testing.T) {
	l := newTestLog(t, origin, 8)
	cfg := config(t, l)
	w := open(t, cfg)
	url := serve(t, w)
	if status, _, text := post(t, url, l.request(t, 0, 5).marshal()); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	path := filepath.Join(cfg.Dir, "state")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(data []byte, what string) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var corrupt *CorruptError
		if _, err := New(cfg); !errors.As(err, &corrupt) || corrupt.Path != path {
			t.Fatalf("%s: New = %v, want a CorruptError", what, err)
		}
		_, err := w.cosign(t.Context(), l.request(t, 5, 6).marshal())
		if !errors.As(err, &corrupt) {
			t.Fatalf("%s: a request: %v, want a CorruptError", what, err)
		}
	}
	for i := range whole {
		refused(whole[:i], fmt.Sprintf("torn at %d", i))
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		refused(changed, fmt.Sprintf("changed at %d", i))
	}
	refused(append(bytes.Clone(whole), "note 0\n"...), "longer")
	refused(make([]byte, len(whole)), "zeroes")
	if status, _, text := post(t, url, l.request(t, 5, 6).marshal()); status != 500 {
		t.Errorf("%d %s, want 500", status, text)
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, text := post(t, url, l.request(t, 5, 6).marshal()); status != 200 {
		t.Errorf("put back: %d %s", status, text)
	}
}

func TestForgottenLogsAreRemembered(t *testing.T) {
	a, b := newTestLog(t, "example.com/a", 8), newTestLog(t, "example.com/b", 8)
	cfg := config(t, a, b)
	w := open(t, cfg)
	for _, l := range []*testLog{a, b} {
		if _, err := w.cosign(t.Context(), l.request(t, 0, 5).marshal()); err != nil {
			t.Fatal(err)
		}
	}
	all := cfg.Logs
	cfg.Logs = map[string][]note.Verifier{"example.com/a": a.keys}
	w = open(t, cfg)
	if _, err := w.cosign(t.Context(), a.request(t, 5, 6).marshal()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.cosign(t.Context(), b.request(t, 5, 6).marshal()); err == nil {
		t.Fatal("a log that was taken out is cosigned")
	}
	cfg.Logs = all
	w = open(t, cfg)
	if _, err := w.cosign(t.Context(), b.request(t, 0, 6).marshal()); err == nil {
		t.Error("a log that was taken out and put back starts from nothing")
	}
	if _, err := w.cosign(t.Context(), b.request(t, 5, 6).marshal()); err != nil {
		t.Error(err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	l := newTestLog(t, origin, 1)
	for name, change := range map[string]func(*Config){
		"no signer":   func(c *Config) { c.Signer = nil },
		"no folder":   func(c *Config) { c.Dir = "" },
		"no logs":     func(c *Config) { c.Logs = nil },
		"no keys":     func(c *Config) { c.Logs[origin] = nil },
		"a key twice": func(c *Config) { c.Logs[origin] = []note.Verifier{l.keys[0], l.keys[0]} },
	} {
		cfg := config(t, l)
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: New took it", name)
		}
	}
}

// TestManyAtOnce has two witnesses on one folder, as two processes would be,
// asked by many clients for histories that differ from entry 3 on. They may
// cosign one history only, and never a smaller tree after a larger one.
func TestManyAtOnce(t *testing.T) {
	const clients, rounds, size = 8, 40, 200
	l := newTestLog(t, origin, size)
	histories := []*testLog{l, l.fork(t, 3, size, "fork")}
	cfg := config(t, l)
	urls := []string{serve(t, open(t, cfg)), serve(t, open(t, cfg))}
	var mu sync.Mutex
	cosigned := map[string]bool{} // texts of more than 3 entries
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			mine := histories[i%2]
			c := &Client{URL: urls[i/2%2], Verifier: cfg.Signer.Verifier()}
			last := uint64(0)
			for j := range rounds {
				n := uint64(4 + (j*clients+i*5)%(size-4))
				if n < last {
					continue
				}
				_, err := c.Cosign(t.Context(), mine.checkpoint(t, n), mine.prove)
				switch {
				case err == nil:
					mu.Lock()
					cosigned[mine.text(t, n)] = true
					mu.Unlock()
					last = n
				case !errors.Is(err, ErrForked) && !errors.Is(err, ErrRolledBack) && !errors.Is(err, ErrUnavailable):
					t.Errorf("client %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	if len(cosigned) == 0 {
		t.Fatal("nothing was cosigned")
	}
	of := [2]int{}
	for text := range cosigned {
		c, err := attestlog.ParseCheckpoint([]byte(text + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		for i, h := range histories {
			if h.root(t, c.Size) == c.Root {
				of[i]++
			}
		}
	}
	if of[0] > 0 && of[1] > 0 {
		t.Errorf("%d trees of one history and %d of the other were cosigned", of[0], of[1])
	}
}

// TestHeldLock shows that a process that holds the lock holds up a request for
// as long as the request's context lasts.
func TestHeldLock(t *testing.T) {
	l := newTestLog(t, origin, 8)
	cfg := config(t, l)
	w, other := open(t, cfg), open(t, cfg)
	held, release := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- other.state.locked(t.Context(), func() error {
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	answered := make(chan error)
	go func() {
		_, err := w.cosign(t.Context(), l.request(t, 0, 5).marshal())
		answered <- err
	}()
	testwait.Blocked(t, "the answer while the lock is held", answered)
	close(release)
	if err := testwait.Receive(t, "the lock is released", done); err != nil {
		t.Error(err)
	}
	if err := testwait.Receive(t, "the answer", answered); err != nil {
		t.Error(err)
	}
}
