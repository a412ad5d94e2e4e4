package jsonl_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/jsonl"
	"github.com/attestlog/attestlog/verify"
)

// A Log calls Position, Take and Close of the followers in its Config; here it
// is done by hand.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "audit.jsonl")

	f, err := jsonl.Open(path, jsonl.Config{MaxBytes: 100 << 20})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	next, err := f.Position(ctx)
	if err != nil {
		log.Fatal(err)
	}
	leaf := `{"action":"a","actor":{"id":"x"},"id":"019a9f0c-2f5e-7cc1-9c1e-5d6f3a1b2c3d",` +
		`"logged_time":"2026-11-22T10:00:00.000123Z","time":"2026-11-22T10:00:00.000100000Z","v":1}`
	if err := f.Take(ctx, []attestlog.RawEntry{{Index: next, Leaf: []byte(leaf)}}); err != nil {
		log.Fatal(err)
	}
	if err := f.Close(); err != nil {
		log.Fatal(err)
	}

	files, err := jsonl.Files(path)
	if err != nil {
		log.Fatal(err)
	}
	r := jsonl.NewReader(files...)
	defer r.Close()
	for {
		line, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(filepath.Base(line.File), line.Number, line.Entry.Index, len(line.Entry.Leaf))
	}
	// Output:
	// audit-00000000000000000000.jsonl 1 0 167
}

// The key is the line of audit.db.pub, from another place than the file.
func ExampleVerify() {
	key, err := note.NewVerifier("example.com/log+0ff87034+AcuPJfB08wAb5SwJ4UY49SlGTCJrX60zqQMLy39rhFQT")
	if err != nil {
		log.Fatal(err)
	}
	opts := verify.Options{Keys: []note.Verifier{key}}
	report, err := jsonl.Verify(context.Background(), opts, "testdata/example.jsonl")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Size, "entries, of which signed:", report.Signed)
	// Output:
	// 2 entries, of which signed: 2
}
