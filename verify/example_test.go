package verify_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
)

func ExampleLog() {
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
	log, err := attestlog.New(ctx, store, attestlog.Config{})
	if err != nil {
		panic(err)
	}
	defer log.Close(ctx)

	log.Append(ctx, attestlog.Event{Action: "door.open", Actor: attestlog.Actor{ID: "carol"}})
	log.Publish(ctx)

	report, err := verify.Log(ctx, log, verify.Options{})
	fmt.Println(report.Size, report.Signed, report.KeysFromHome, err)
	// Output: 1 1 true <nil>
}
