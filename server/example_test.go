package server_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/sqlite"
)

func ExampleNew() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	store, err := sqlite.Open(ctx, filepath.Join(dir, "audit.db"), sqlite.Config{})
	if err != nil {
		log.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	audit, err := attestlog.New(ctx, store, attestlog.Config{Origin: "example.com/audit", Sealed: server.Sealed, Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	defer audit.Close(ctx)

	srv, err := server.New(server.Config{
		Logs:   []server.Log{{Name: "default", Log: audit, Tokens: store}},
		Logger: quiet,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close(ctx)
	listening := httptest.NewServer(srv)
	defer listening.Close()

	// A program may write events, and nothing else.
	token, err := server.CreateToken(ctx, store, &server.Token{Note: "mail service", Scopes: []string{server.ScopeAppend}})
	if err != nil {
		log.Fatal(err)
	}

	event := strings.NewReader(`{"action":"mail.view","actor":{"id":"alice"}}`)
	req, err := http.NewRequest(http.MethodPost, listening.URL+"/api/v1/logs/default/entries", event)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	fmt.Println(resp.Status)

	entry, err := audit.Entry(ctx, 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(entry.Index, entry.Action, "by", entry.Actor.ID)
	// Output:
	// 201 Created
	// 0 mail.view by alice
}
