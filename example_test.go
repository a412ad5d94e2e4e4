package attestlog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/jsonl"
	"github.com/attestlog/attestlog/sqlite"
)

// exampleLog opens a new log in a folder of its own.
func exampleLog(cfg attestlog.Config) (*attestlog.Log, func()) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "attestlog-example-")
	if err != nil {
		panic(err)
	}
	store, err := sqlite.Open(ctx, filepath.Join(dir, "audit.db"), sqlite.Config{})
	if err != nil {
		panic(err)
	}
	log, err := attestlog.New(ctx, store, cfg)
	if err != nil {
		panic(err)
	}
	return log, func() {
		log.Close(ctx)
		os.RemoveAll(dir)
	}
}

func Example() {
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
	defer log.Close(ctx)

	receipts, err := log.Append(ctx, attestlog.Event{
		Action:  "mail.view",
		Actor:   attestlog.Actor{ID: "alice"},
		Outcome: attestlog.Success,
		Targets: []attestlog.Target{{Type: "mail", ID: "123"}},
	})
	if err != nil {
		panic(err)
	}
	e, err := log.Entry(ctx, receipts[0].Index)
	if err != nil {
		panic(err)
	}
	fmt.Println(e.Index, e.Actor.ID, e.Action, e.Targets[0].ID)
	// Output: 0 alice mail.view 123
}

func ExampleLog_Append_retry() {
	ctx := context.Background()
	log, end := exampleLog(attestlog.Config{})
	defer end()
	e := attestlog.Event{
		ID: "invoice-17-approved", Time: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC),
		Action: "invoice.approve", Actor: attestlog.Actor{ID: "bob"},
	}
	first, _ := log.Append(ctx, e)
	again, _ := log.Append(ctx, e)
	fmt.Println(first[0] == again[0])
	e.Actor.ID = "mallory"
	_, err := log.Append(ctx, e)
	fmt.Println(errors.Is(err, attestlog.ErrConflict))
	// Output:
	// true
	// true
}

func ExampleLog_Record() {
	ctx := context.Background()
	log, end := exampleLog(attestlog.Config{})
	defer end()
	for i := range 3 {
		err := log.Record(ctx, attestlog.Event{Action: "job.run", Actor: attestlog.Actor{ID: fmt.Sprintf("worker-%d", i), Type: "service"}})
		if err != nil {
			panic(err)
		}
	}
	if err := log.Flush(ctx); err != nil { // all three are durable
		panic(err)
	}
	n, _ := log.Count(ctx, attestlog.Field("action", "job.run"), 0)
	fmt.Println(n)
	// Output: 3
}

func ExampleLog_Query() {
	ctx := context.Background()
	log, end := exampleLog(attestlog.Config{})
	defer end()
	for _, action := range []string{"mail.view", "mail.delete", "user.create"} {
		log.Append(ctx, attestlog.Event{Action: action, Actor: attestlog.Actor{ID: "alice"}})
	}
	q, err := attestlog.ParseQuery("actor:alice action:mail.* -action:mail.delete")
	if err != nil {
		panic(err)
	}
	page, err := log.Query(ctx, q, attestlog.PageOptions{Limit: 10})
	if err != nil {
		panic(err)
	}
	for _, e := range page.Entries {
		fmt.Println(e.Index, e.Action)
	}
	// Output: 0 mail.view
}

func ExampleParseQuery() {
	_, err := attestlog.ParseQuery("actor:alice colour:red")
	fmt.Println(err)
	// Output: query: column 13: unknown field "colour" (quote it to search for text)
}

func ExampleCheckProof() {
	ctx := context.Background()
	signer, verifier, _ := attestlog.GenerateKey("example.com/audit")
	s, _ := note.NewSigner(signer)
	log, end := exampleLog(attestlog.Config{Signer: s})
	defer end()
	log.Append(ctx, attestlog.Event{Action: "door.open", Actor: attestlog.Actor{ID: "carol"}})
	log.Publish(ctx)
	proof, err := log.InclusionProof(ctx, 0)
	if err != nil {
		panic(err)
	}
	file, _ := proof.MarshalText()

	// Elsewhere, with nothing but the file and the public key:
	var p attestlog.InclusionProof
	if err := p.UnmarshalText(file); err != nil {
		panic(err)
	}
	key, _ := note.NewVerifier(verifier)
	leaf, err := attestlog.CheckProof(p, key)
	fmt.Println(leaf.Event.Actor.ID, err)
	// Output: carol <nil>
}

func ExampleLog_Verify() {
	ctx := context.Background()
	log, end := exampleLog(attestlog.Config{})
	defer end()
	log.Append(ctx, attestlog.Event{Action: "door.open", Actor: attestlog.Actor{ID: "carol"}})
	log.Publish(ctx)
	report, err := log.Verify(ctx, attestlog.VerifyOptions{})
	fmt.Println(report.Size, report.Signed, report.KeysBeside, err)
	// Output: 1 1 true <nil>
}

func ExampleFollower() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "attestlog-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	follower, err := jsonl.Open(filepath.Join(dir, "audit.jsonl"), jsonl.Config{})
	if err != nil {
		panic(err)
	}
	log, end := exampleLog(attestlog.Config{Followers: []attestlog.Follower{follower}})
	log.Append(ctx, attestlog.Event{Action: "door.open", Actor: attestlog.Actor{ID: "carol"}})
	end() // Close lets the follower catch up

	r := jsonl.NewReader(filepath.Join(dir, "audit.jsonl"))
	defer r.Close()
	line, err := r.Next()
	fmt.Println(line.Record.Index, err)
	// Output: 0 <nil>
}
