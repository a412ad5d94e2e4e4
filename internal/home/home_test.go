package home

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// What a crash left is gone once a file has been replaced; nothing else is.
func TestReplacingRemovesWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "a.db")
	crashed := []string{
		"a.db.key.aaaaaaaaaaaaaaa2.new", "a.db.pub.aaaaaaaaaaaaaaa3.new",
		"a.db.checkpoint.aaaaaaaaaaaaaaa4.new", "a.db.checkpoint.aaaaaaaaaaaaaaa5.new",
	}
	others := []string{"a.db", "b.db.key.aaaaaaaaaaaaaaa2.new", "a.db.key.mine.new", "a.db.wal.aaaaaaaaaaaaaaa2.new"}
	for _, name := range append(crashed, others...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	if err := At(base).CreateKeys("signer", "verifier"); err != nil {
		t.Fatal(err)
	}
	for _, name := range crashed {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range others {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s is gone: %v", name, err)
		}
	}
}

func TestModes(t *testing.T) {
	base := filepath.Join(t.TempDir(), "a.db")
	f := At(base)
	if err := f.CreateKeys("signer", "verifier"); err != nil {
		t.Fatal(err)
	}
	err := f.ReplaceCheckpoint(func([]byte) ([]byte, error) { return []byte("note"), nil })
	if err != nil {
		t.Fatal(err)
	}

	for suffix, want := range map[string]fs.FileMode{keySuffix: 0o600, verifierSuffix: 0o644, checkpointSuffix: 0o644, lockSuffix: 0o600} {
		info, err := os.Stat(base + suffix)
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v, want %v", suffix, info.Mode(), err, want)
		}
	}
}
