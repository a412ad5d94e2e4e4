package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// A token that may not append is an error of the command and not of each
// record.
func TestImportEndsWhenTheServerRefusesTheToken(t *testing.T) {
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	t.Setenv(tokenVariable, "al_x_y")

	var said bytes.Buffer
	records := strings.Repeat(`{"ts":"2026-01-01T00:00:00Z","event":"user.login","user":"alice"}`+"\n", 100)
	code := run(t.Context(), []string{"--log", server.URL + "/default", "import", "--from", "jsonl", "-"},
		strings.NewReader(records), io.Discard, &said)

	if code != exitError || !strings.Contains(said.String(), "refuses the token") {
		t.Errorf("import with a token that may not append = %d, %s", code, &said)
	}
	if n := requests.Load(); n > 5 {
		t.Errorf("%d requests were made", n)
	}
}
