// Command http is a server of notes that records who changes what in an audit
// log of its own: net/http and SQLite.
//
//	go run ./http -dir /tmp/notes
//	curl -H 'User: alice' -X PUT -d 'milk' http://127.0.0.1:8080/notes/1
//	curl -H 'User: alice' http://127.0.0.1:8080/admin/audit
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/audithttp"
	"github.com/attestlog/attestlog/diff"
	"github.com/attestlog/attestlog/sqlite"
)

func main() {
	dir := flag.String("dir", ".", "folder of the audit log")
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir, *addr); err != nil {
		slog.Error("notes", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, addr string) error {
	store, err := sqlite.Open(ctx, filepath.Join(dir, "audit.db"), sqlite.Config{})
	if err != nil {
		return err
	}
	log, err := attestlog.New(ctx, store, attestlog.Config{})
	if err != nil {
		return err
	}
	defer log.Close(context.WithoutCancel(ctx)) // stores what is queued

	audit, err := audithttp.New(log, audithttp.Config{
		Actor:   func(r *http.Request) attestlog.Actor { return attestlog.Actor{ID: r.Header.Get("User"), Type: "user"} },
		Service: "notes",
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	notes := &notes{texts: map[string]string{}}
	mux.HandleFunc("PUT /notes/{id}", notes.put)
	mux.HandleFunc("GET /notes/{id}", notes.get)
	mux.Handle("GET /admin/audit", audithttp.Handler(log, audithttp.ListConfig{})) // put your own authentication in front

	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", lis.Addr())
	srv := &http.Server{Handler: audit(mux), ReadHeaderTimeout: 10 * time.Second}
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

// notes are in place of what an application does.
type notes struct {
	mu    sync.Mutex
	texts map[string]string
}

func (n *notes) put(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
	if err != nil {
		http.Error(w, "too long", http.StatusRequestEntityTooLarge)
		return
	}
	id := r.PathValue("id")
	n.mu.Lock()
	was := n.texts[id]
	n.texts[id] = string(text)
	n.mu.Unlock()
	audithttp.AddTargets(r.Context(), attestlog.Target{Type: "note", ID: id})
	audithttp.AddChanges(r.Context(), diff.Changes(map[string]string{"text": was}, map[string]string{"text": string(text)})...)
	w.WriteHeader(http.StatusNoContent)
}

func (n *notes) get(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	io.WriteString(w, n.texts[r.PathValue("id")])
}
