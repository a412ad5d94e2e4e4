// Package sqlitetest makes logs for tests in files of their own.
package sqlitetest

import (
	"path/filepath"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/sqlite"
)

// Path returns the path of a log's file in a new folder. There is no log yet.
func Path(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "audit.db")
}

// Log makes a new log, which is closed at the end of the test.
func Log(t testing.TB, cfg attestlog.Config) *attestlog.Log {
	t.Helper()
	return LogAt(t, Path(t), cfg)
}

// LogAt opens the log at path, or makes it, and closes it at the end of the
// test unless the test does it before.
func LogAt(t testing.TB, path string, cfg attestlog.Config) *attestlog.Log {
	t.Helper()
	store := Store(t, path, sqlite.Config{ReadOnly: cfg.ReadOnly})
	return testlog.New(t, store, cfg)
}

// Store opens the store of the log at path, or makes it. Whoever makes a Log of
// it closes it so. Config.Logger defaults to testlog.Quiet.
func Store(t testing.TB, path string, cfg sqlite.Config) *sqlite.Store {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = testlog.Quiet
	}
	s, err := sqlite.Open(t.Context(), path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
