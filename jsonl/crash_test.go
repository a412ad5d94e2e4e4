package jsonl

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
)

// TestTornAtEveryByte cuts the file anywhere in its last line, an entry or a
// checkpoint, with the position there or lost, and then carries on.
func TestTornAtEveryByte(t *testing.T) {
	for _, last := range []string{"entry", "checkpoint"} {
		for _, position := range []string{"kept", "lost"} {
			if last == "checkpoint" && position == "lost" {
				continue // see BUG(jsonl)
			}
			t.Run(last+", position "+position, func(t *testing.T) { tearEverywhere(t, last, position) })
		}
	}
}

func tearEverywhere(t *testing.T, last, position string) {
	whole := "0 1 2 c3 3 4"
	write := func(f *Follower) {
		follow(t, f, 3)
		if err := f.Take(t.Context(), records(3, 5)); err != nil {
			t.Fatal(err)
		}
		if last == "checkpoint" {
			if err := f.Checkpoint(t.Context(), checkpoint(t, 5)); err != nil {
				t.Fatal(err)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, _ := open(t, path, Config{Sync: SyncNever})
	write(f)
	crash(f)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	saved, err := os.ReadFile(path + positionSuffix)
	if err != nil {
		t.Fatal(err)
	}
	start := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
	for cut := start; cut <= len(data); cut++ {
		if err := os.WriteFile(path, data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+positionSuffix, saved, 0o600); err != nil {
			t.Fatal(err)
		}
		if position == "lost" {
			os.Remove(path + positionSuffix)
		}
		f, warnings := open(t, path, Config{Sync: SyncNever})
		want := uint64(5)
		if last == "entry" && cut < len(data)-1 {
			want = 4
		}
		if got, err := f.Position(t.Context()); got != want || err != nil {
			t.Fatalf("cut at byte %d: Position = %d, %v; want %d", cut-start, got, err, want)
		}
		follow(t, f, 6)
		crash(f)
		wantLines := whole + " 5 c6"
		if last == "checkpoint" && cut > start {
			wantLines = whole + " c5 5 c6"
		}
		if got, err := contents(path); got != wantLines || err != nil {
			t.Fatalf("cut at byte %d: contents = %q, %v; want %q", cut-start, got, err, wantLines)
		}
		if position == "kept" && warnings.Len() > 0 {
			t.Fatalf("cut at byte %d: warnings:\n%s", cut-start, warnings)
		}
	}
}

func TestTornTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	line := string(attestlog.AppendLine(nil, new(record(2))))
	for _, torn := range []string{
		line[:50] + "\n" + line[:80],
		line[:80] + "\n" + line[:50],
		line[:80] + "\n" + line[:80],
		line[:80] + "\n" + line[:5],
		line[:80] + "\n",
		line[:80] + "\n" + line,
	} {
		whole := attestlog.AppendLine(nil, new(record(0)))
		whole = attestlog.AppendLine(append(whole, '\n'), new(record(1)))
		if err := os.WriteFile(path, append(append(whole, '\n'), torn...), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Remove(path + positionSuffix)
		f, _ := open(t, path, Config{Sync: SyncNever})
		follow(t, f, 4)
		crash(f)
		wantContents(t, "0 1 2 3 c4", path)
	}
}

func TestPositionLostOrUnreadable(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"lost":       os.Remove,
		"empty":      func(path string) error { return os.Truncate(path, 0) },
		"not JSON":   func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) },
		"other file": func(path string) error { return os.WriteFile(path, []byte(`{"file":"../a","offset":3}`), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			f, _ := open(t, path, Config{})
			follow(t, f, 3)
			crash(f)
			if err := change(path + positionSuffix); err != nil {
				t.Fatal(err)
			}
			f, warnings := open(t, path, Config{})
			follow(t, f, 3)
			follow(t, f, 5)
			wantContents(t, "0 1 2 c3 3 4 c5", path)
			if warnings.Len() == 0 {
				t.Error("no warning")
			}
		})
	}
}

func TestPositionLostAndOnlyACheckpointLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	line := append(appendCheckpoint(nil, checkpoint(t, 3).Note), '\n')
	if err := os.WriteFile(path, line, 0o600); err != nil {
		t.Fatal(err)
	}
	f, _ := open(t, path, Config{})
	follow(t, f, 4)
	wantContents(t, "c3 3 c4", path)
}

// TestFileIsAheadOfThePosition has a position from before the last entries, as
// a crash leaves it.
func TestFileIsAheadOfThePosition(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, _ := open(t, path, Config{})
	follow(t, f, 3)
	saved, err := os.ReadFile(path + positionSuffix)
	if err != nil {
		t.Fatal(err)
	}
	follow(t, f, 5)
	crash(f)
	if err := os.WriteFile(path+positionSuffix, saved, 0o600); err != nil {
		t.Fatal(err)
	}
	f, warnings := open(t, path, Config{})
	if got, err := f.Position(t.Context()); got != 5 || err != nil {
		t.Errorf("Position = %d, %v; want 5", got, err)
	}
	follow(t, f, 6)
	wantContents(t, "0 1 2 c3 3 4 c5 5 c6", path)
	if warnings.Len() > 0 {
		t.Errorf("warnings:\n%s", warnings)
	}
}

// TestWarnsWhenATornLineCannotBeCompleted tears a line within its disclosures and
// has it written again without them.
func TestWarnsWhenATornLineCannotBeCompleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	line := attestlog.AppendLine(nil, new(record(0)))
	if err := os.WriteFile(path, line[:len(line)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	f, warnings := open(t, path, Config{OmitDisclosures: true})
	follow(t, f, 1)
	if !strings.Contains(warnings.String(), "torn") {
		t.Errorf("warnings = %q, want one of the torn line", warnings)
	}
	if got, err := contents(path); err == nil {
		t.Errorf("contents = %q, want an error", got)
	}
}

// TestLongLines finds the end of, and reads, lines that do not fit the buffer.
func TestLongLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	long := record(1)
	long.Disclosures = append(long.Disclosures, attestlog.Disclosure{
		Pointer: "/original", Value: fmt.Appendf(nil, `"%s"`, strings.Repeat("x", 6<<20)),
	})
	f, _ := open(t, path, Config{})
	if _, err := f.Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Take(t.Context(), []attestlog.RawEntry{record(0), long, record(2)}); err != nil {
		t.Fatal(err)
	}
	crash(f)
	os.Remove(path + positionSuffix)
	f, _ = open(t, path, Config{})
	if got, err := f.Position(t.Context()); got != 3 || err != nil {
		t.Errorf("Position = %d, %v; want 3", got, err)
	}
	r := NewReader(path)
	defer r.Close()
	for i := range uint64(3) {
		line, err := r.Next()
		if err != nil || line.Entry.Index != i {
			t.Fatalf("Next = entry %d, %v; want %d", line.Entry.Index, err, i)
		}
	}
}

// TestRemovesWhatACrashLeft has a crash while the position was saved.
func TestRemovesWhatACrashLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	left := path + positionSuffix + ".aaaaaaaaaaaaaaa2.new"
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, _ := open(t, path, Config{Sync: SyncNever})
	follow(t, f, 3)
	files, err := filepath.Glob(path + positionSuffix + "*")
	if err != nil || len(files) != 1 {
		t.Errorf("position files = %q, %v, want one", files, err)
	}
}
