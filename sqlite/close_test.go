package sqlite_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/sqlite"
)

func TestWritingAfterCloseIsUnavailable(t *testing.T) {
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "audit.db"), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}

	write := func() error {
		return store.Write(t.Context(), func(tx attestlog.Tx) error {
			_, err := tx.Tree()
			return err
		})
	}
	putToken := func() error { return store.PutToken(t.Context(), "id", []byte("{}")) }
	for name, call := range map[string]func() error{"Write": write, "PutToken": putToken} {
		err := call()
		if !errors.Is(err, attestlog.ErrUnavailable) || !errors.Is(err, attestlog.ErrClosed) {
			t.Errorf("%s = %v, want %v and %v", name, err, attestlog.ErrUnavailable, attestlog.ErrClosed)
		}
	}
}
