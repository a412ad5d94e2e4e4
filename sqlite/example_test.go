package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the application's driver

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/sqlite"
)

// Open a log, append an entry, and read it from a backup.
func ExampleStore_Backup() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "attestlog-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	store, err := sqlite.Open(ctx, filepath.Join(dir, "audit.db"), sqlite.Config{})
	if err != nil {
		panic(err)
	}
	log, err := attestlog.New(ctx, store, attestlog.Config{Origin: "example.com/audit"})
	if err != nil {
		panic(err)
	}
	defer log.Close(ctx) // closes the store

	_, err = log.Append(ctx, attestlog.Event{Action: "user.login", Actor: attestlog.Actor{ID: "alice"}})
	if err != nil {
		panic(err)
	}
	if err := store.Backup(ctx, filepath.Join(dir, "backup.db")); err != nil {
		panic(err)
	}

	// The copy has no signing key, so it can only be read.
	backup, err := sqlite.Open(ctx, filepath.Join(dir, "backup.db"), sqlite.Config{ReadOnly: true})
	if err != nil {
		panic(err)
	}
	defer backup.Close()
	tree, err := backup.Tree(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(tree.Size)
	// Output: 1
}

// Append an event in the application's own transaction.
func ExampleOutbox_AppendTx() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "attestlog-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	db, err := sql.Open("sqlite", filepath.Join(dir, "shop.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		panic(err)
	}
	defer db.Close()
	outbox, err := sqlite.OpenOutbox(ctx, db, sqlite.OutboxConfig{})
	if err != nil {
		panic(err)
	}

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		panic(err)
	}
	defer tx.Rollback()
	// … the application's own statements …
	event := attestlog.Event{Action: "order.create", Actor: attestlog.Actor{ID: "alice"}}
	if err := outbox.AppendTx(ctx, tx, event); err != nil {
		panic(err)
	}
	if err := tx.Commit(); err != nil {
		panic(err)
	}

	// The log that has the outbox in its Config.Outboxes moves the event from here.
	backlog, err := outbox.Backlog(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(backlog.Events)
	// Output: 1
}
