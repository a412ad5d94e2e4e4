package jsonl

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestSomebodyElseChangesTheFile has the file changed between two Takes, or
// while no process holds the follower. It carries on from its own position
// with a warning, in a new file where there is none.
func TestSomebodyElseChangesTheFile(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(path string) error
		want   string // in the file afterwards, "" if a reader rejects it
	}{
		{"deleted", os.Remove, "3 4 c5"},
		{"moved", func(path string) error { return os.Rename(path, path+".1") }, "3 4 c5"},
		{"moved and made anew", func(path string) error {
			if err := os.Rename(path, path+".1"); err != nil {
				return err
			}
			return os.WriteFile(path, nil, 0o600)
		}, "3 4 c5"},
		{"copied and truncated", func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := os.WriteFile(path+".1", data, 0o600); err != nil {
				return err
			}
			return os.Truncate(path, 0)
		}, "3 4 c5"},
		{"replaced by an older copy", func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := os.WriteFile(path+".old", data[:bytes.IndexByte(data, '\n')+1], 0o600); err != nil {
				return err
			}
			return os.Rename(path+".old", path)
		}, ""},
		{"overwritten", func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), 5000), 0) }, ""},
		{"cut within a line", func(path string) error { return os.Truncate(path, 100) }, ""},
	} {
		for _, while := range []string{"open", "closed", "crashed"} {
			t.Run(test.name+" while "+while, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "audit.jsonl")
				f, warnings := open(t, path, Config{})
				follow(t, f, 3)
				switch while {
				case "closed":
					if err := f.Close(); err != nil {
						t.Fatal(err)
					}
				case "crashed":
					crash(f)
				}
				if err := test.change(path); err != nil {
					t.Fatal(err)
				}
				if while != "open" {
					f, warnings = open(t, path, Config{})
				}
				if got, err := f.Position(t.Context()); got != 3 || err != nil {
					t.Fatalf("Position = %d, %v; want 3", got, err)
				}
				follow(t, f, 5)
				if !bytes.Contains(warnings.Bytes(), []byte("by somebody else")) {
					t.Errorf("warnings = %q, want one of somebody else", warnings)
				}
				got, err := contents(path)
				if got != test.want && test.want != "" || (err == nil) != (test.want != "") {
					t.Errorf("contents = %q, %v; want %q", got, err, test.want)
				}
				if _, err := os.Stat(path + ".1"); err == nil {
					wantContents(t, "0 1 2 c3 3 4 c5", path+".1", path)
				}
				warnings.Reset()
				follow(t, f, 6)
				if warnings.Len() > 0 {
					t.Errorf("warnings afterwards:\n%s", warnings)
				}
			})
		}
	}
}

func TestSomebodyElseWritesToTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, warnings := open(t, path, Config{})
	follow(t, f, 3)
	other, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	follow(t, f, 5)
	if !bytes.Contains(warnings.Bytes(), []byte("written to by somebody else")) {
		t.Errorf("warnings = %q, want one of somebody else", warnings)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte("\nhello\n{\"index\":3,")) {
		t.Errorf("the follower's lines are not lines of their own:\n%s", data)
	}
}

// TestMovedWithATornLine has the file moved away after a crash: the torn line
// is written again in the new file.
func TestMovedWithATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, _ := open(t, path, Config{Sync: SyncNever})
	if _, err := f.Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Take(t.Context(), records(0, 2)); err != nil {
		t.Fatal(err)
	}
	if err := f.sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.save(f.synced); err != nil {
		t.Fatal(err)
	}
	if err := f.Take(t.Context(), records(2, 3)); err != nil {
		t.Fatal(err)
	}
	crash(f)
	if err := os.Truncate(path, f.size-20); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	f, _ = open(t, path, Config{})
	follow(t, f, 4)
	wantContents(t, "2 3 c4", path)
	wantContents(t, "0 1 2 3 c4", path+".1", path)
}

func TestLockFileDeleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	first, warnings := open(t, path, Config{})
	follow(t, first, 3)
	if err := os.Remove(path + lockSuffix); err != nil {
		t.Fatal(err)
	}
	second, _ := open(t, path, Config{})
	follow(t, second, 5)
	if _, err := first.Position(t.Context()); err == nil {
		t.Error("Position of the first follower = nil, want ErrFollowerHeld")
	}
	if warnings.Len() == 0 {
		t.Error("no warning")
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil { // only the second's position is left
		t.Fatal(err)
	}
	follow(t, first, 6)
	wantContents(t, "5 c6", path)
}
