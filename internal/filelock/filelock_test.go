//go:build unix || windows

package filelock

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOnlyOneHasTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, second := open(t, path), open(t, path)

	if held, err := TryLock(first); err != nil || !held {
		t.Fatalf("TryLock of a free file = %v, %v", held, err)
	}
	if held, err := TryLock(second); err != nil || held {
		t.Fatalf("TryLock of a locked file = %v, %v", held, err)
	}

	taken := make(chan error)
	go func() { taken <- Lock(second) }()
	first.Close()
	if err := <-taken; err != nil {
		t.Fatalf("Lock after the file was closed = %v", err)
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
