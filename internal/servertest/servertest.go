// Package servertest runs servers of logs for tests.
package servertest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/server"
)

// Start serves the logs of cfg on loopback and returns the server's URL. The
// handler that requests reach is what wrap makes of the server, or the server
// itself if wrap is nil. The end of the test stops it before it closes logs
// that were made before. Config.Logger defaults to testlog.Quiet.
func Start(t testing.TB, cfg server.Config, wrap func(*server.Server) http.Handler) (url string) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = testlog.Quiet
	}
	srv, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}

	handler := http.Handler(srv)
	if wrap != nil {
		handler = wrap(srv)
	}
	h := httptest.NewServer(handler)
	t.Cleanup(func() {
		srv.Stop()
		h.CloseClientConnections()
		h.Close()
		ctx, cancel := context.WithTimeout(context.Background(), testwait.Patience())
		defer cancel()
		if err := srv.Close(ctx); err != nil {
			t.Errorf("Server.Close = %v", err)
		}
	})
	return h.URL
}

// Token makes a token and returns its text.
func Token(t testing.TB, tokens server.TokenStore, token server.Token) string {
	t.Helper()
	text, err := server.CreateToken(t.Context(), tokens, &token)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
