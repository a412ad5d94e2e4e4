package jsonl

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
)

// names returns the base names of a follower's files.
func names(t *testing.T, path string) []string {
	t.Helper()
	files, err := Files(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		out = append(out, filepath.Base(f))
	}
	return out
}

func wantFollowed(t *testing.T, want, path string) {
	t.Helper()
	files, err := Files(path)
	if err != nil {
		t.Fatal(err)
	}
	wantContents(t, want, files...)
}

func TestRotatesBySize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	line := int64(len(attestlog.AppendLine(nil, new(record(0)))) + 1)
	cfg := Config{MaxBytes: 3 * line, Sync: SyncNever}
	f, warnings := open(t, path, cfg)
	if _, err := f.Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Take(t.Context(), records(0, 8)); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"audit-00000000000000000000.jsonl",
		"audit-00000000000000000003.jsonl",
		"audit-00000000000000000006.jsonl",
	}
	if diff := cmp.Diff(want, names(t, path)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	crash(f)
	f, _ = open(t, path, cfg)
	follow(t, f, 9)
	follow(t, f, 10)
	wantFollowed(t, "0 1 2 3 4 5 6 7 8 c9 9 c10", path)
	want = append(want, "audit-00000000000000000009.jsonl")
	if diff := cmp.Diff(want, names(t, path)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if warnings.Len() > 0 {
		t.Errorf("warnings:\n%s", warnings)
	}
}

func TestALineLargerThanMaxBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, _ := open(t, path, Config{MaxBytes: 1, Sync: SyncNever})
	follow(t, f, 2)
	follow(t, f, 3)
	wantFollowed(t, "0 1 c2 2 c3", path)
	want := []string{
		"audit-00000000000000000000.jsonl",
		"audit-00000000000000000001.jsonl",
		"audit-00000000000000000002.jsonl",
	}
	if diff := cmp.Diff(want, names(t, path)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestRotatesByTime(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	cfg := Config{MaxAge: 24 * time.Hour, Clock: func() time.Time { return now }}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, _ := open(t, path, cfg)
	follow(t, f, 2)
	now = now.Add(23 * time.Hour)
	follow(t, f, 3)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, warnings := open(t, path, cfg)
	follow(t, f, 4)
	now = now.Add(time.Hour)
	follow(t, f, 4) // nothing to write: no new file
	follow(t, f, 5)
	want := []string{"audit-00000000000000000000.jsonl", "audit-00000000000000000004.jsonl"}
	if diff := cmp.Diff(want, names(t, path)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	wantFollowed(t, "0 1 c2 2 c3 3 c4 4 c5", path)
	if warnings.Len() > 0 {
		t.Errorf("warnings:\n%s", warnings)
	}
}

func TestRotationSwitchedOnAndOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	for i, cfg := range []Config{{}, {MaxBytes: 1 << 20}, {}} {
		f, _ := open(t, path, cfg)
		follow(t, f, uint64(2*i+2))
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"audit.jsonl", "audit-00000000000000000002.jsonl"}
	if diff := cmp.Diff(want, names(t, path)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	wantFollowed(t, "0 1 c2 2 3 c4 4 5 c6", path)
}

// TestCrashAroundRotation leaves the new file empty, and the position where it
// was before.
func TestCrashAroundRotation(t *testing.T) {
	for _, position := range []string{"before", "lost"} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		cfg := Config{MaxBytes: 1, Sync: SyncNever}
		f, _ := open(t, path, cfg)
		follow(t, f, 1)
		saved, err := os.ReadFile(path + positionSuffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.rotate(); err != nil {
			t.Fatal(err)
		}
		crash(f)
		if err := os.WriteFile(path+positionSuffix, saved, 0o600); err != nil {
			t.Fatal(err)
		}
		if position == "lost" {
			os.Remove(path + positionSuffix)
		}
		f, warnings := open(t, path, cfg)
		follow(t, f, 3)
		wantFollowed(t, "0 c1 1 2 c3", path)
		if warnings.Len() > 0 {
			t.Errorf("position %s: warnings:\n%s", position, warnings)
		}
	}
}

func TestTornLineStaysInItsFile(t *testing.T) {
	for _, by := range []string{"size", "time"} {
		t.Run("rotated by "+by, func(t *testing.T) { tearBeforeRotation(t, by) })
	}
}

func tearBeforeRotation(t *testing.T, by string) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	line := int64(len(attestlog.AppendLine(nil, new(record(0)))) + 1)
	cfg := Config{MaxBytes: 2 * line, Sync: SyncNever}
	if by == "time" {
		cfg = Config{MaxAge: time.Second, Sync: SyncNever}
	}
	f, _ := open(t, path, cfg)
	if _, err := f.Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Take(t.Context(), records(0, 2)); err != nil {
		t.Fatal(err)
	}
	crash(f)
	if err := os.Truncate(f.name(), line+50); err != nil {
		t.Fatal(err)
	}
	f, _ = open(t, path, cfg)
	for i := range uint64(2) {
		if err := f.Take(t.Context(), records(i+1, i+2)); err != nil {
			t.Fatal(err)
		}
	}
	follow(t, f, 3)
	for name, want := range map[string]string{
		"audit-00000000000000000000.jsonl": "0 1",
		"audit-00000000000000000002.jsonl": "2 c3",
	} {
		wantContents(t, want, filepath.Join(filepath.Dir(path), name))
	}
}

func TestCurrentRotatedFileGone(t *testing.T) {
	for name, change := range map[string]func(file string) error{
		"deleted":    os.Remove,
		"compressed": compress,
	} {
		for _, while := range []string{"open", "closed"} {
			t.Run(name+" while "+while, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "audit.jsonl")
				cfg := Config{MaxBytes: 1, Sync: SyncNever}
				f, warnings := open(t, path, cfg)
				follow(t, f, 3)
				if while == "closed" {
					if err := f.Close(); err != nil {
						t.Fatal(err)
					}
				}
				if err := change(f.name()); err != nil {
					t.Fatal(err)
				}
				if while == "closed" {
					f, warnings = open(t, path, cfg)
				}
				follow(t, f, 4)
				if !bytes.Contains(warnings.Bytes(), []byte("by somebody else")) {
					t.Errorf("warnings = %q, want one of somebody else", warnings)
				}
				wantContents(t, "3 c4", filepath.Join(filepath.Dir(path), "audit-00000000000000000003.jsonl"))
				if name == "compressed" {
					wantFollowed(t, "0 1 2 c3 3 c4", path)
				}
			})
		}
	}
}

func TestPositionLostAndFilesCompressed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	cfg := Config{MaxBytes: 1, Sync: SyncNever}
	f, _ := open(t, path, cfg)
	follow(t, f, 3)
	crash(f)
	files, err := Files(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := compress(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(path + positionSuffix); err != nil {
		t.Fatal(err)
	}
	f, _ = open(t, path, cfg)
	follow(t, f, 4)
	wantFollowed(t, "0 1 2 c3 3 c4", path)
}

// compress does what gzip FILE does.
func compress(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := os.WriteFile(file+gzipSuffix, b.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Remove(file)
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"audit.jsonl", "audit.jsonl.lock", "audit.jsonl.position", "audit.jsonl.gz", "audit.jsonl.1",
		"audit-00000000000000000010.jsonl", "audit-00000000000000000009.jsonl.gz",
		"audit-00000000000000000000.jsonl", "audit-00000000000000000000.jsonl.gz",
		"audit-20261122.jsonl", "other-00000000000000000000.jsonl", "audit-99999999999999999999.jsonl",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"audit.jsonl", "audit-00000000000000000000.jsonl",
		"audit-00000000000000000009.jsonl.gz", "audit-00000000000000000010.jsonl",
	}
	if diff := cmp.Diff(want, names(t, filepath.Join(dir, "audit.jsonl"))); diff != "" {
		t.Errorf("Files (-want +got):\n%s", diff)
	}
	t.Chdir(dir)
	files, err := Files("audit.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("Files in the working folder (-want +got):\n%s", diff)
	}
}
