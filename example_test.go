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
)

// exampleLog opens a new log in a folder of its own, and returns what closes it
// and removes the folder.
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
	log, closeLog := exampleLog(attestlog.Config{})
	defer closeLog()

	e := attestlog.Event{
		ID:     "invoice-17-approved",
		Time:   time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC),
		Action: "invoice.approve",
		Actor:  attestlog.Actor{ID: "bob"},
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
	log, closeLog := exampleLog(attestlog.Config{})
	defer closeLog()

	for i := range 3 {
		err := log.Record(ctx, attestlog.Event{
			Action: "job.run",
			Actor:  attestlog.Actor{ID: fmt.Sprintf("worker-%d", i), Type: "service"},
		})
		if err != nil {
			panic(err)
		}
	}

	// After Flush, all three are durable.
	if err := log.Flush(ctx); err != nil {
		panic(err)
	}

	n, _ := log.Count(ctx, query.Field("action", "job.run"), 0)
	fmt.Println(n)
	// Output: 3
}

func ExampleLog_Query() {
	ctx := context.Background()
	log, closeLog := exampleLog(attestlog.Config{})
	defer closeLog()

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

func ExampleCheckProof() {
	ctx := context.Background()
	signer, verifier, _ := attestlog.GenerateKey("example.com/audit")
	s, _ := note.NewSigner(signer)
	log, closeLog := exampleLog(attestlog.Config{Signer: s})
	defer closeLog()

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
	log, closeLog := exampleLog(attestlog.Config{Followers: []attestlog.Follower{follower}})
	log.Append(ctx, attestlog.Event{Action: "door.open", Actor: attestlog.Actor{ID: "carol"}})
	closeLog() // and lets the follower catch up

	r := jsonl.NewReader(filepath.Join(dir, "audit.jsonl"))
	defer r.Close()
	line, err := r.Next()
	fmt.Println(line.Entry.Index, err)
	// Output: 0 <nil>
}

// An event is written in a transaction of the application. It comes into the log
// if the order is committed, and only then.
func Example_outbox() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "attestlog-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	// The application's own database.
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "app.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		panic(err)
	}
	defer db.Close()
	_, err = db.Exec("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
	if err != nil {
		panic(err)
	}

	outbox, err := sqlite.OpenOutbox(ctx, db, sqlite.OutboxConfig{})
	if err != nil {
		panic(err)
	}
	log, closeLog := exampleLog(attestlog.Config{Outboxes: []attestlog.Outbox{outbox}})
	defer closeLog()

	for order := range 4 {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			panic(err)
		}
		_, err = tx.Exec("INSERT INTO orders (id) VALUES (?)", order)
		if err != nil {
			panic(err)
		}
		err = outbox.AppendTx(ctx, tx, attestlog.Event{
			Action:  "order.create",
			Actor:   attestlog.Actor{ID: "alice"},
			Targets: []attestlog.Target{{Type: "order", ID: fmt.Sprint(order)}},
		})
		if err != nil {
			panic(err)
		}

		if order == 2 {
			tx.Rollback()
			continue
		}
		err = tx.Commit()
		if err != nil {
			panic(err)
		}
	}

	// Without Flush, it takes about 100 ms.
	if err := log.Flush(ctx); err != nil {
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

// A spool keeps what is recorded while the store cannot be reached; see Policy.
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
	log, closeLog := exampleLog(attestlog.Config{
		Spool: file,
		Policies: []attestlog.ActionPolicy{
			{Action: "payment.*", Policy: attestlog.Fail}, // no payment that is not in the log
			{Action: "*", Policy: attestlog.ToSpool},
		},
	})
	defer closeLog()

	err = log.Record(ctx, attestlog.Event{Action: "mail.view", Actor: attestlog.Actor{ID: "alice"}})
	if err != nil {
		panic(err)
	}

	// Flush also waits until the spool is empty.
	if err := log.Flush(ctx); err != nil {
		panic(err)
	}
	stats, err := log.Stats(ctx)
	fmt.Println(stats.Size, stats.Spooled, err)
	// Output: 1 0 <nil>
}
