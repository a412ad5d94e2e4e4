package attestlog_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"
	_ "modernc.org/sqlite" // the application's driver

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/jsonl"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/spool"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
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
	n, _ := log.Count(ctx, query.Field("action", "job.run"), 0)
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
	q, err := query.Parse("actor:alice action:mail.* -action:mail.delete")
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
	_, err := query.Parse("actor:alice colour:red")
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
	report, err := verify.Log(ctx, log, verify.Options{})
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

// An event within a transaction of the application: it is in the log exactly if
// the order is.
func Example_outbox() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "attestlog-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "app.db")+"?_pragma=busy_timeout(5000)") // the application's own
	if err != nil {
		panic(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE orders (id INTEGER PRIMARY KEY)"); err != nil {
		panic(err)
	}
	outbox, err := sqlite.OpenOutbox(ctx, db, sqlite.OutboxConfig{})
	if err != nil {
		panic(err)
	}
	log, done := exampleLog(attestlog.Config{Outboxes: []attestlog.Outbox{outbox}})
	defer done()

	for order := range 4 {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			panic(err)
		}
		if _, err := tx.Exec("INSERT INTO orders (id) VALUES (?)", order); err != nil {
			panic(err)
		}
		err = outbox.AppendTx(ctx, tx, attestlog.Event{
			Action: "order.create", Actor: attestlog.Actor{ID: "alice"},
			Targets: []attestlog.Target{{Type: "order", ID: fmt.Sprint(order)}},
		})
		if err != nil {
			panic(err)
		}
		if order == 2 {
			tx.Rollback()
			continue
		}
		if err := tx.Commit(); err != nil {
			panic(err)
		}
	}
	if err := log.Flush(ctx); err != nil { // or wait: it takes about 100 ms
		panic(err)
	}
	for e, err := range log.Entries(ctx, query.Query{}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(e.Index, e.Action, e.Targets[0].ID)
	}
	// Output:
	// 0 order.create 0
	// 1 order.create 1
	// 2 order.create 3
}

// A spool keeps what is recorded while the store is away; see Policy.
func Example_spool() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "attestlog-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file, err := spool.Open(filepath.Join(dir, "audit.spool"), spool.Config{MaxBytes: 64 << 20})
	if err != nil {
		panic(err)
	}
	log, done := exampleLog(attestlog.Config{
		Spool: file,
		Policies: []attestlog.ActionPolicy{
			{Action: "payment.*", Policy: attestlog.Fail}, // rather not at all than unseen
			{Action: "*", Policy: attestlog.ToSpool},
		},
	})
	defer done()
	if err := log.Record(ctx, attestlog.Event{Action: "mail.view", Actor: attestlog.Actor{ID: "alice"}}); err != nil {
		panic(err)
	}
	if err := log.Flush(ctx); err != nil { // waits until the spool is empty, too
		panic(err)
	}
	stats, err := log.Stats(ctx)
	fmt.Println(stats.Size, stats.Spooled, err)
	// Output: 1 0 <nil>
}
