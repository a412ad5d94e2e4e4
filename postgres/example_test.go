package postgres_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/postgres"
)

func Example() {
	ctx := context.Background()
	store, err := postgres.Open(ctx, "postgres://app@db.example.com/app?log=audit&home=/var/lib/app/audit", postgres.Config{})
	if err != nil {
		log.Fatal(err)
	}
	audit, err := attestlog.New(ctx, store, attestlog.Config{Origin: "example.com/audit"})
	if err != nil {
		log.Fatal(err)
	}
	defer audit.Close(ctx) // closes the store

	_, err = audit.Append(ctx, attestlog.Event{Action: "login", Actor: attestlog.Actor{ID: "alice"}})
	if err != nil {
		log.Fatal(err)
	}
}

// The event is in the log exactly if the order is in its table.
func ExampleOutbox() {
	ctx := context.Background()
	outbox, err := postgres.NewOutbox("audit", attestlog.Config{})
	if err != nil {
		log.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, "postgres://app@db.example.com/app")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)

	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO orders (id, state) VALUES ($1, 'open')", 17)
		if err != nil {
			return err
		}
		return outbox.AppendTx(ctx, tx, attestlog.Event{
			Action:  "order.create",
			Actor:   attestlog.Actor{ID: "alice"},
			Targets: []attestlog.Target{{ID: "17", Type: "order"}},
		})
	})
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleSplitDSN() {
	const dsn = "postgres://app@db.example.com/app?home=%2Fvar%2Flib%2Fapp%2Faudit&log=audit&sslmode=require"
	home, err := postgres.HomePath(dsn)
	if err != nil {
		log.Fatal(err)
	}
	server, err := postgres.SplitDSN(dsn, &postgres.Config{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(home)
	fmt.Println(server)
	// Output:
	// /var/lib/app/audit
	// postgres://app@db.example.com/app?sslmode=require
}
