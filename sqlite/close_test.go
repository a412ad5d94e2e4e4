package sqlite_test

import (
	"errors"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/sqlite"
)

// Close waits for the transaction that is being written. A Write that waits for
// its turn meanwhile has it before Close, or learns that the store is closed.
func TestCloseWaitsForAWrite(t *testing.T) {
	path := sqlitetest.Path(t)
	store, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}

	began, release := make(chan struct{}), make(chan struct{})
	first, second, closed := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() {
		first <- store.Write(t.Context(), func(attestlog.Tx) error {
			close(began)
			<-release
			return nil
		})
	}()
	<-began
	go func() {
		second <- store.Write(t.Context(), func(attestlog.Tx) error { return nil })
	}()
	go func() { closed <- store.Close() }()

	testwait.Blocked(t, "Close while a transaction is being written", closed)
	testwait.Blocked(t, "Write while another is being written", second)

	close(release)
	if err := testwait.Receive(t, "the first Write", first); err != nil {
		t.Errorf("Write that had begun before Close = %v", err)
	}
	if err := testwait.Receive(t, "the second Write", second); err != nil && !errors.Is(err, attestlog.ErrClosed) {
		t.Errorf("Write that waited when Close began = %v, want nil or ErrClosed", err)
	}
	if err := testwait.Receive(t, "Close", closed); err != nil {
		t.Errorf("Close = %v", err)
	}
}
