package spool_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/spool"
)

// childEnv has the test program write into the spool that it names.
const childEnv = "ATTESTLOG_SPOOL_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		write(path)
	}
	os.Exit(m.Run())
}

// write puts events into the spool, two at a time, and says so, until it is
// killed.
func write(path string) {
	s, err := spool.Open(path, spool.Config{})
	if err != nil {
		panic(err)
	}
	b, err := s.Backlog(context.Background())
	if err != nil {
		panic(err)
	}
	for n := b.Last; ; n += 2 {
		if _, err := s.Put(context.Background(), []attestlog.Prepared{prepared(n), prepared(n + 1)}); err != nil {
			panic(err)
		}
		fmt.Println(n + 2)
	}
}

func prepared(n uint64) attestlog.Prepared {
	return attestlog.Prepared{Event: fmt.Appendf(nil, `{"n":%d}`, n), At: time.Unix(1_700_000_000, int64(n))}
}

func open(t *testing.T, path string, cfg spool.Config) *spool.Spool {
	t.Helper()
	s, err := spool.Open(path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// drain takes all events, and checks that they are numbered from first on.
func drain(t *testing.T, s *spool.Spool, first uint64) (next uint64) {
	t.Helper()
	next = first
	for {
		n, err := s.Move(t.Context(), func(events []attestlog.Prepared) ([]error, error) {
			for _, p := range events {
				if want := prepared(next); string(p.Event) != string(want.Event) || !p.At.Equal(want.At) {
					t.Fatalf("event %d is %s at %v", next, p.Event, p.At)
				}
				next++
			}
			return make([]error, len(events)), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return next
		}
	}
}

func TestWhatWasPutSurvivesAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool")
	put := uint64(0)
	for round := range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewScanner(out)
		for i := 0; i < 20+7*round && said.Scan(); i++ {
			fmt.Sscan(said.Text(), &put)
		}
		cmd.Process.Kill()
		for said.Scan() { // what it said before it died
			fmt.Sscan(said.Text(), &put)
		}
		cmd.Wait()
	}
	if put < 100 {
		t.Fatalf("the writers said that they put %d events", put)
	}
	if got := drain(t, open(t, path, spool.Config{}), 0); got < put || got%2 != 0 {
		t.Errorf("%d events are in the spool, want the %d that were put, and none of a half Put", got, put)
	}
}

func TestASpoolIsBounded(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "spool"), spool.Config{MaxBytes: 1000})
	big := attestlog.Prepared{Event: []byte(strings.Repeat("x", 5000)), At: time.Unix(0, 0)}
	if n, err := s.Put(t.Context(), []attestlog.Prepared{big, big}); n != 1 || !errors.Is(err, attestlog.ErrSpoolFull) {
		t.Errorf("Put of two large events = %d, %v; want the first, and ErrSpoolFull", n, err)
	}
	if _, err := s.Move(t.Context(), func([]attestlog.Prepared) ([]error, error) { return []error{nil}, nil }); err != nil {
		t.Fatal(err)
	}
	var events []attestlog.Prepared
	for n := range uint64(200) {
		events = append(events, prepared(n))
	}
	taken := 0
	for round := range 3 { // room comes back, over and over
		n, err := s.Put(t.Context(), events[taken:])
		if n == 0 || n > 1000/15 || !errors.Is(err, attestlog.ErrSpoolFull) {
			t.Fatalf("round %d: Put = %d, %v; want as many as fit, and ErrSpoolFull", round, n, err)
		}
		if got := drain(t, s, uint64(taken)); got != uint64(taken+n) {
			t.Fatalf("round %d: events to %d came out, want %d", round, got, taken+n)
		}
		taken += n
	}
}

func TestAFailedMoveLeavesEverything(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "spool"), spool.Config{})
	var events []attestlog.Prepared
	for n := range uint64(attestlog.MaxMove + 5) {
		events = append(events, prepared(n))
	}
	if _, err := s.Put(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if n, err := s.Move(t.Context(), func(got []attestlog.Prepared) ([]error, error) {
		if len(got) != attestlog.MaxMove {
			t.Errorf("Move hands out %d events, want %d", len(got), attestlog.MaxMove)
		}
		return nil, broken
	}); n != 0 || !errors.Is(err, broken) {
		t.Errorf("Move whose function fails = %d, %v", n, err)
	}
	if got := drain(t, s, 0); got != attestlog.MaxMove+5 {
		t.Errorf("%d events came out, want %d", got, attestlog.MaxMove+5)
	}
	if b, err := s.Backlog(t.Context()); err != nil || b != (attestlog.Backlog{}) {
		t.Errorf("Backlog = %+v, %v; want nothing", b, err)
	}
}

func TestAMoveIsBoundedInBytes(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "spool"), spool.Config{})
	big := attestlog.Prepared{Event: make([]byte, attestlog.MaxMoveBytes/3), At: time.Unix(0, 0)}
	if _, err := s.Put(t.Context(), []attestlog.Prepared{big, big, big, big}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{2, 2, 0} {
		n, err := s.Move(t.Context(), func(got []attestlog.Prepared) ([]error, error) { return make([]error, len(got)), nil })
		if n != want || err != nil {
			t.Errorf("Move = %d, %v; want %d", n, err, want)
		}
	}
}

func TestASpoolHasOneOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool")
	s := open(t, path, spool.Config{})
	if _, err := spool.Open(path, spool.Config{}); !errors.Is(err, spool.ErrInUse) {
		t.Errorf("a second Open = %v, want ErrInUse", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path, spool.Config{})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestAFileThatIsNoSpoolIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	content := strings.Repeat("not a spool\n", 2000)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := spool.Open(path, spool.Config{}); err == nil {
		s.Close()
		t.Error("Open of a text file succeeded")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != content {
		t.Errorf("the file was changed: %v", err)
	}
	path = filepath.Join(t.TempDir(), "other.db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err }), db.Close())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spool.Open(path, spool.Config{}); !errors.Is(err, spool.ErrForeign) {
		t.Errorf("Open of another program's database = %v, want ErrForeign", err)
	}
}
