package sqlite_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	driver "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
)

// A tree row that a raw connection let grow is not signed.
func TestTreeThatDoesNotFollowIsNotSigned(t *testing.T) {
	ctx := t.Context()
	path := sqlitetest.Path(t)
	l := sqlitetest.LogAt(t, path, attestlog.Config{})
	if _, err := l.Append(ctx, tamperEvent(0)); err != nil {
		t.Fatal(err)
	}
	before, err := l.Publish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := driver.OpenConn(path, driver.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	err = sqlitex.ExecuteTransient(conn, "UPDATE tree SET size = 3, root = zeroblob(32), peaks = zeroblob(64), tail = zeroblob(96)", nil)
	if err = errors.Join(err, conn.Close()); err != nil {
		t.Fatal(err)
	}
	if c, err := l.Publish(ctx); err == nil {
		t.Errorf("Publish signed a tree over %d entries that do not exist", c.Size)
	}
	if after, err := l.Checkpoint(ctx); err != nil || string(after.Note) != string(before.Note) {
		t.Errorf("the newest checkpoint is over %d entries (%v), want the one from before, over %d", after.Size, err, before.Size)
	}
	l.Close(ctx)
}

// A kept checkpoint that no key of the log signed is no reason to go on.
func TestForgedKeptCheckpointMakesALogReadOnly(t *testing.T) {
	ctx := t.Context()
	path := sqlitetest.Path(t)
	l := sqlitetest.LogAt(t, path, attestlog.Config{})
	if _, err := l.Append(ctx, tamperEvent(0)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(path + ".checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndexByte(string(kept), ' ') + 40 // within the signature
	if kept[at] == 'A' {
		kept[at] = 'B'
	} else {
		kept[at] = 'A'
	}
	if err := os.WriteFile(path+".checkpoint", kept, 0o644); err != nil {
		t.Fatal(err)
	}
	l = sqlitetest.LogAt(t, path, attestlog.Config{})
	defer l.Close(ctx)
	if _, err := l.Append(ctx, tamperEvent(1)); !errors.Is(err, attestlog.ErrReadOnly) {
		t.Errorf("Append behind a forged checkpoint = %v, want ErrReadOnly", err)
	}
}
