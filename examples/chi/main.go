// Command chi is a server of orders, in which an order and its audit entry exist
// together or not at all: chi, PostgreSQL and AppendTx.
//
//	go run ./chi -dsn postgres://app@localhost/shop
//	curl -X POST http://127.0.0.1:8080/orders/17
//
// Several of these servers may run at a time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/audithttp"
	"github.com/attestlog/attestlog/postgres"
)

func main() {
	dsn := flag.String("dsn", "", "URL of the database")
	home := flag.String("home", "", "where the log's key and newest checkpoint are kept; a default if empty")
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dsn, *home, *addr); err != nil {
		slog.Error("orders", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dsn, home, addr string) error {
	pool, err := pgxpool.New(ctx, dsn) // the application's own
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, "CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY)"); err != nil {
		return err
	}
	store, err := postgres.OpenPool(ctx, pool, postgres.Config{Home: home})
	if err != nil {
		return err
	}
	log, err := attestlog.New(ctx, store, attestlog.Config{})
	if err != nil {
		return err
	}
	defer log.Close(context.WithoutCancel(ctx))
	outbox, err := postgres.NewOutbox("", attestlog.Config{})
	if err != nil {
		return err
	}
	audit, err := audithttp.New(log, audithttp.Config{
		// chi knows the pattern once the request is routed.
		Route: func(r *http.Request) string { return chi.RouteContext(r.Context()).RoutePattern() },
	})
	if err != nil {
		return err
	}
	router := chi.NewRouter()
	router.Use(audit)
	router.Post("/orders/{id}", (&orders{pool, outbox}).create)

	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", lis.Addr())
	srv := &http.Server{Handler: router, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error)
	go func() {
		<-ctx.Done()
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		ended <- srv.Shutdown(limit)
	}()
	if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended // no handler runs any more, and the log may close
}

type orders struct {
	pool   *pgxpool.Pool
	outbox *postgres.Outbox
}

// create makes an order and its entry in one transaction.
func (o *orders) create(w http.ResponseWriter, r *http.Request) {
	id := chi.URLParam(r, "id")
	err := pgx.BeginFunc(r.Context(), o.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(r.Context(), "INSERT INTO orders (id) VALUES ($1)", id); err != nil {
			return err
		}
		return o.outbox.AppendTx(r.Context(), tx, attestlog.Event{
			Action: "order.create", Operation: "create", Outcome: attestlog.Success,
			Actor: attestlog.Actor{ID: "alice", Type: "user"}, Targets: []attestlog.Target{{Type: "order", ID: id}},
		})
	})
	if err != nil {
		http.Error(w, "the order was not made", http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusCreated)
}
