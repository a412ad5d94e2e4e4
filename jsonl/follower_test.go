package jsonl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
)

// record returns an entry with one sealed field.
func record(index uint64) attestlog.RawEntry {
	leaf := fmt.Sprintf(`{"action":"mail.view","actor":{"id":"alice"},"id":"019a9f0c-2f5e-7cc1-9c1e-%012x",`+
		`"logged_time":"2026-11-22T10:00:00.000123Z",`+
		`"sealed":{"/source/ip":"Yu7Rkn9mcpJJ5Wr1yVSX8XqtP9Qp0ocxY4nGn8xVbJg="},`+
		`"time":"2026-11-22T10:00:00.000100000Z","v":1}`, index)
	return attestlog.RawEntry{Index: index, Leaf: []byte(leaf), Disclosures: []attestlog.Disclosure{
		{Pointer: "/source/ip", Salt: [16]byte{byte(index)}, Value: []byte(`"192.0.2.7"`)},
	}}
}

func records(from, to uint64) []attestlog.RawEntry {
	var out []attestlog.RawEntry
	for i := from; i < to; i++ {
		out = append(out, record(i))
	}
	return out
}

// checkpoint returns a signed note over the first size entries.
func checkpoint(t *testing.T, size uint64) attestlog.Checkpoint {
	t.Helper()
	signer, err := note.NewSigner("PRIVATE+KEY+example.com/log+b38ad2a9+Ae3Wqjcm3qmE8jS/SrXGZlWpTxxktuFgIfRzEFoOCe6n")
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("example.com/log\n%d\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", size)
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := attestlog.ParseCheckpoint(signed)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// open returns a follower whose warnings go to the returned buffer. The
// position is saved with every call that makes something durable, since the
// clock moves on by a minute whenever it is asked.
func open(t *testing.T, path string, cfg Config) (*Follower, *bytes.Buffer) {
	t.Helper()
	var warnings bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&warnings, nil))
	if cfg.Clock == nil {
		now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
		cfg.Clock = func() time.Time { now = now.Add(time.Minute); return now }
	}
	f, err := Open(path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { crash(f) })
	return f, &warnings
}

// crash leaves behind what the death of the process would: open files and
// locks end, nothing is saved.
func crash(f *Follower) {
	f.closeFile()
	f.unlock()
}

// follow gives f the entries below size, from its position on, and then a
// checkpoint over them, as a Log does.
func follow(t *testing.T, f *Follower, size uint64) {
	t.Helper()
	from, err := f.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Take(t.Context(), records(from, size)); err != nil {
		t.Fatal(err)
	}
	if err := f.Checkpoint(t.Context(), checkpoint(t, size)); err != nil {
		t.Fatal(err)
	}
}

// contents reads files with a Reader: an index for each entry and c with the
// size for each checkpoint.
func contents(paths ...string) (string, error) {
	r := NewReader(paths...)
	defer r.Close()
	var out []string
	for {
		line, err := r.Next()
		switch {
		case err == io.EOF:
			return strings.Join(out, " "), nil
		case err != nil:
			return strings.Join(out, " "), err
		case line.Checkpoint != nil:
			out = append(out, fmt.Sprintf("c%d", line.Checkpoint.Size))
		default:
			if diff := cmp.Diff(record(line.Entry.Index), line.Entry); diff != "" {
				return "", fmt.Errorf("entry %d (-want +got):\n%s", line.Entry.Index, diff)
			}
			out = append(out, fmt.Sprint(line.Entry.Index))
		}
	}
}

func wantContents(t *testing.T, want string, paths ...string) {
	t.Helper()
	got, err := contents(paths...)
	if err != nil || got != want {
		t.Fatalf("contents of %q = %q, %v; want %q", paths, got, err, want)
	}
}

func TestWritesEntriesAndCheckpoints(t *testing.T) {
	for _, sync := range []time.Duration{SyncAlways, SyncNever, time.Second} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		f, warnings := open(t, path, Config{Sync: sync})
		follow(t, f, 3)
		follow(t, f, 5)
		if got, err := f.Position(t.Context()); got != 5 || err != nil {
			t.Errorf("Position = %d, %v; want 5", got, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		wantContents(t, "0 1 2 c3 3 4 c5", path)

		f, _ = open(t, path, Config{Sync: sync})
		follow(t, f, 5)
		follow(t, f, 6)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		wantContents(t, "0 1 2 c3 3 4 c5 5 c6", path)
		if warnings.Len() > 0 {
			t.Errorf("Sync %v: warnings:\n%s", sync, warnings)
		}
	}
}

func TestTakesAThousandEntriesAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, _ := open(t, path, Config{})
	follow(t, f, 1000)
	follow(t, f, 2000)
	if got, err := contents(path); err != nil || !strings.HasSuffix(got, " 1998 1999 c2000") {
		t.Fatalf("contents = …%q, %v", got[max(0, len(got)-40):], err)
	}
}

func TestOmitsDisclosures(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, _ := open(t, path, Config{OmitDisclosures: true})
	given := record(0)
	if _, err := f.Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Take(t.Context(), []attestlog.RawEntry{given}); err != nil {
		t.Fatal(err)
	}
	want := given
	want.Disclosures = nil
	r := NewReader(path)
	defer r.Close()
	line, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, line.Entry); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	if len(given.Disclosures) != 1 {
		t.Error("Take changed the caller's record")
	}
}

func TestRefusesEntriesOutOfPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, _ := open(t, path, Config{})
	follow(t, f, 3)
	for _, r := range [][]attestlog.RawEntry{records(4, 5), records(2, 4), {record(3), record(5)}} {
		if err := f.Take(t.Context(), r); err == nil {
			t.Errorf("Take from %d = nil, want an error", r[0].Index)
		}
	}
	if err := f.Checkpoint(t.Context(), checkpoint(t, 4)); err == nil {
		t.Error("Checkpoint over 4 of 3 entries = nil, want an error")
	}
	follow(t, f, 5)
	wantContents(t, "0 1 2 c3 3 4 c5", path)
}

func TestEndedContextWritesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, _ := open(t, path, Config{})
	follow(t, f, 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Take(ctx, records(3, 4)); !errors.Is(err, context.Canceled) {
		t.Errorf("Take = %v, want context.Canceled", err)
	}
	wantContents(t, "0 1 2 c3", path)
}

func TestClosedFollower(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, _ := open(t, path, Config{})
	follow(t, f, 3)
	for range 2 {
		if err := f.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if _, err := f.Position(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Position = %v, want os.ErrClosed", err)
	}
	if err := f.Take(t.Context(), records(3, 4)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Take = %v, want os.ErrClosed", err)
	}
}

func TestOpenTouchesNothing(t *testing.T) {
	dir := t.TempDir()
	f, _ := open(t, filepath.Join(dir, "audit.jsonl"), Config{})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); len(entries) > 0 || err != nil {
		t.Errorf("folder holds %v, %v; want nothing", entries, err)
	}
	if _, err := Open("", Config{}); err == nil {
		t.Error("Open of no path = nil, want an error")
	}
	if _, err := Open("a", Config{MaxBytes: -1}); err == nil {
		t.Error("Open with MaxBytes -1 = nil, want an error")
	}
}

func TestIntervalSyncsInALaterCall(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, _ := open(t, path, Config{Sync: 10 * time.Second, Clock: func() time.Time { return now }})
	follow(t, f, 3)
	if f.synced.Next != 0 {
		t.Errorf("%d entries were made durable at once", f.synced.Next)
	}
	now = now.Add(10 * time.Second)
	if _, err := f.Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.synced.Next != 3 {
		t.Errorf("%d entries are durable after the interval, want 3", f.synced.Next)
	}
}

func TestSecondFollowerWaitsForTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	first, _ := open(t, path, Config{})
	follow(t, first, 3)
	second, _ := open(t, path, Config{})
	for range 2 {
		if _, err := second.Position(t.Context()); !errors.Is(err, attestlog.ErrFollowerHeld) {
			t.Fatalf("Position = %v, want ErrFollowerHeld", err)
		}
	}
	if err := second.Take(t.Context(), records(3, 4)); !errors.Is(err, attestlog.ErrFollowerHeld) {
		t.Fatalf("Take = %v, want ErrFollowerHeld", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	follow(t, second, 5)
	wantContents(t, "0 1 2 c3 3 4 c5", path)
}

// TestHoldTheLock is the other process of TestOtherProcessHoldsTheLock.
func TestHoldTheLock(t *testing.T) {
	path := os.Getenv("ATTESTLOG_TEST_HOLD")
	if path == "" {
		return
	}
	f, _ := open(t, path, Config{})
	follow(t, f, 3)
	fmt.Println("held")
	io.Copy(io.Discard, os.Stdin) // until it is killed
}

func TestOtherProcessHoldsTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	cmd := exec.Command(os.Args[0], "-test.run=^TestHoldTheLock$")
	cmd.Env = append(os.Environ(), "ATTESTLOG_TEST_HOLD="+path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("held"))); err != nil {
		t.Fatal(err)
	}
	f, _ := open(t, path, Config{})
	if _, err := f.Position(t.Context()); !errors.Is(err, attestlog.ErrFollowerHeld) {
		t.Errorf("Position = %v, want ErrFollowerHeld", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	follow(t, f, 5)
	wantContents(t, "0 1 2 c3 3 4 c5", path)
}
