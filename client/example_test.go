package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/client"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/sqlite"
)

func Example() {
	ctx := context.Background()
	url, token, stop := serveExample(ctx)
	defer stop()

	log, err := client.New(client.Config{URL: url, Token: token})
	if err != nil {
		panic(err)
	}

	// Append returns once the event is durable on the server.
	alice := attestlog.Actor{ID: "alice"}
	receipts, err := log.Append(ctx, attestlog.Event{Action: "mail.view", Actor: alice})
	if err != nil {
		panic(err)
	}
	viewed, err := log.Entry(ctx, receipts[0].Index)
	fmt.Println(viewed.Actor.ID, viewed.Action, err)

	// Record returns at once. Flush waits until the server has the event.
	err = log.Record(ctx, attestlog.Event{Action: "mail.delete", Actor: alice})
	if err != nil {
		panic(err)
	}
	err = log.Flush(ctx)
	if err != nil {
		panic(err)
	}
	n, err := log.Count(ctx, query.Field("actor", "alice"), 0)
	fmt.Println(n, "entries", err)

	fmt.Println("closed", log.Close(ctx))
	// Output:
	// alice mail.view <nil>
	// 2 entries <nil>
	// closed <nil>
}

// serveExample serves a log named "mail" of its own.
func serveExample(ctx context.Context) (url, token string, stop func()) {
	dir, err := os.MkdirTemp("", "client")
	if err != nil {
		panic(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	store, err := sqlite.Open(ctx, filepath.Join(dir, "audit.db"), sqlite.Config{Logger: quiet})
	if err != nil {
		panic(err)
	}
	log, err := attestlog.New(ctx, store, attestlog.Config{Logger: quiet})
	if err != nil {
		panic(err)
	}

	handler, err := server.New(server.Config{Logs: []server.Log{{Name: "mail", Log: log, Tokens: store}}, Logger: quiet})
	if err != nil {
		panic(err)
	}
	token, err = server.CreateToken(ctx, store, &server.Token{Scopes: []string{server.ScopeAppend, server.ScopeRead}})
	if err != nil {
		panic(err)
	}

	h := httptest.NewServer(handler)
	return h.URL + "/mail", token, func() {
		handler.Stop()
		h.Close()
		handler.Close(ctx)
		log.Close(ctx)
		os.RemoveAll(dir)
	}
}
