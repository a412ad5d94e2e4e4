package client_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/client"
	"github.com/attestlog/attestlog/internal/servertest"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
)

// A service is a real server of a real log, in front of which connections can be
// made to fail.
type service struct {
	log    *attestlog.Log
	home   attestlog.Home
	tokens server.TokenStore
	url    string
	token  string
	// fault, if set, decides what happens to a request: it may answer itself.
	fault atomic.Pointer[func(w http.ResponseWriter, r *http.Request, next http.Handler)]
}

func serve(t *testing.T) *service {
	t.Helper()
	store := sqlitetest.Store(t, sqlitetest.Path(t), sqlite.Config{})
	s := &service{log: testlog.New(t, store, attestlog.Config{}), home: store.Home(), tokens: store}
	t.Cleanup(func() { testlog.Close(t, s.log) })

	logs := []server.Log{{Name: "mail", Log: s.log, Tokens: store}}
	url := servertest.Start(t, server.Config{Logs: logs}, func(srv *server.Server) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if fault := s.fault.Load(); fault != nil {
				(*fault)(w, r, srv)
				return
			}
			srv.ServeHTTP(w, r)
		})
	})
	s.url = url + "/mail"
	s.token = servertest.Token(t, store, server.Token{Scopes: []string{server.ScopeAppend, server.ScopeRead}})
	return s
}

func (s *service) set(fault func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	if fault == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&fault)
}

// away cuts every connection.
func away(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

func (s *service) dial(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	cfg.URL = s.url
	if cfg.Token == "" {
		cfg.Token = s.token
	}
	if cfg.Logger == nil {
		cfg.Logger = testlog.Quiet
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func event(n int) attestlog.Event {
	return attestlog.Event{Action: "mail.view", Actor: attestlog.Actor{ID: fmt.Sprintf("user%d", n%7), Name: "Ann"}, Message: fmt.Sprint(n)}
}

// messages returns those of the log's entries with the action of event.
func (s *service) messages(t *testing.T) (out []string) {
	t.Helper()
	for e, err := range s.log.Entries(t.Context(), query.Field("action", "mail.view")) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Message)
	}
	return out
}

func numbers(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func TestReadsWhatTheLogHas(t *testing.T) {
	s := serve(t)
	c := s.dial(t, client.Config{})
	defer c.Close(t.Context())
	var events []attestlog.Event
	for i := range 700 {
		events = append(events, event(i))
	}
	receipts, err := c.Append(t.Context(), events...)
	if err != nil || len(receipts) != 700 {
		t.Fatalf("Append = %d receipts, %v", len(receipts), err)
	}
	r := receipts[300]
	want, err := s.log.Entry(t.Context(), r.Index)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Entry(t.Context(), r.Index)
	if diff := cmp.Diff(want, got); err != nil || diff != "" || got.LeafHash != r.LeafHash || got.ID != r.ID || !got.LoggedTime.Equal(r.LoggedTime) {
		t.Errorf("Entry: %v (-want +got):\n%s", err, diff)
	}
	if got, err := c.EntryByID(t.Context(), r.ID); err != nil || got.Index != r.Index {
		t.Errorf("EntryByID = %d, %v", got.Index, err)
	}
	for _, call := range []func() error{
		func() error { _, err := c.Entry(t.Context(), 1e9); return err },
		func() error { _, err := c.EntryByID(t.Context(), "none"); return err },
	} {
		if err := call(); !errors.Is(err, attestlog.ErrNotFound) {
			t.Errorf("an entry that is not there: %v, want ErrNotFound", err)
		}
	}
	q := query.And(query.Field("actor", "user3"), query.Not(query.Text("10")))
	var pages []attestlog.Entry
	for opts := (attestlog.PageOptions{Limit: 30}); ; {
		page, err := c.Query(t.Context(), q, opts)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, page.Entries...)
		opts.Cursor = page.Next
		if opts.Cursor == "" {
			break
		}
	}
	direct, err := s.log.Query(t.Context(), q, attestlog.PageOptions{Limit: 1000})
	if diff := cmp.Diff(direct.Entries, pages); err != nil || diff != "" {
		t.Errorf("Query: %v (-want +got):\n%s", err, diff)
	}
	if n, err := c.Count(t.Context(), q, 0); err != nil || n != uint64(len(pages)) {
		t.Errorf("Count = %d, %v, want %d", n, err, len(pages))
	}
}

func TestProofsOfAServerHold(t *testing.T) {
	s := serve(t)
	c := s.dial(t, client.Config{})
	defer c.Close(t.Context())
	for i := range 300 {
		if err := c.Record(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.log.Publish(t.Context()); err != nil { // over all of them
		t.Fatal(err)
	}

	proof, err := c.InclusionProof(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	text, err := attestlog.VerifierKey(s.home)
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewVerifier(text)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := attestlog.CheckProof(proof, key)
	if err != nil || leaf.Event.Message != "7" {
		t.Errorf("CheckProof = %q, %v", leaf.Event.Message, err)
	}
	if _, err := c.ConsistencyProof(t.Context(), 100, proof.Checkpoint.Size); err != nil {
		t.Errorf("ConsistencyProof: %v", err)
	}
	report, err := c.Verify(t.Context(), verify.Options{Keys: []note.Verifier{key}})
	if err != nil || report.Size < 300 || report.Signed != report.Size {
		t.Errorf("Verify = %+v, %v", report, err)
	}
	if _, err := c.Verify(t.Context(), verify.Options{}); !errors.Is(err, verify.ErrCannotVerify) {
		t.Errorf("Verify without a key = %v", err)
	}
}

func TestAppendAfterALostAnswer(t *testing.T) {
	s := serve(t)
	c := s.dial(t, client.Config{})
	defer c.Close(t.Context())
	var tries atomic.Int32
	s.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		switch tries.Add(1) {
		case 1: // stored, and the answer lost
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			panic(http.ErrAbortHandler)
		default:
			next.ServeHTTP(w, r)
		}
	})
	receipts, err := c.Append(t.Context(), event(0), event(1))
	if err != nil || len(receipts) != 2 || tries.Load() != 4 {
		t.Fatalf("Append = %v, %v after %d tries", receipts, err, tries.Load())
	}
	if diff := cmp.Diff(numbers(2), s.messages(t)); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
}

func TestErrorsAreThoseOfALog(t *testing.T) {
	s := serve(t)
	c := s.dial(t, client.Config{})
	defer c.Close(t.Context())
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	same := attestlog.Event{ID: "x", Time: at, Action: "a", Actor: attestlog.Actor{ID: "b"}}
	other := same
	other.Message = "other"
	if _, err := c.Append(t.Context(), same); err != nil {
		t.Fatal(err)
	}
	var field *attestlog.FieldError
	if _, err := c.Append(t.Context(), event(0), attestlog.Event{Action: "a"}); !errors.As(err, &field) || field.Event != 1 || field.Field != "actor.id" {
		t.Errorf("Append without an actor = %v", err)
	}
	var failed *attestlog.AppendError
	if _, err := c.Append(t.Context(), event(0), other); !errors.Is(err, attestlog.ErrConflict) || !errors.As(err, &failed) || len(failed.IDs) != 2 {
		t.Errorf("Append of other content = %v, want ErrConflict", err)
	}
	if _, err := c.Append(t.Context(), make([]attestlog.Event, 10_001)...); !errors.Is(err, attestlog.ErrTooLarge) {
		t.Errorf("Append of too many = %v, want ErrTooLarge", err)
	}
	if _, err := c.Query(t.Context(), query.Query{}, attestlog.PageOptions{Cursor: "x"}); err == nil {
		t.Error("a cursor of nothing is taken")
	}
	wrong := s.dial(t, client.Config{Token: "al_aaaaaaaaaaaaaaaa_b"})
	defer wrong.Close(t.Context())
	if _, err := wrong.Append(t.Context(), event(0)); !errors.Is(err, client.ErrDenied) {
		t.Errorf("Append with a wrong token = %v, want ErrDenied", err)
	}

	// Append tries again until its context ends, which is as soon as it says so.
	s.set(away)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	patient := s.dial(t, client.Config{Logger: slog.New(slog.NewTextHandler(onWrite(cancel), nil))})
	defer patient.Close(t.Context())
	if _, err := patient.Append(ctx, event(0)); !errors.Is(err, attestlog.ErrUnavailable) || !errors.As(err, &failed) {
		t.Errorf("Append while the server is away = %v, want ErrUnavailable", err)
	}
	s.set(nil)
}

// onWrite is a writer that calls a function.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

// cutting cuts an answer off after some bytes.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(p []byte) (int, error) {
	c.left -= len(p)
	if c.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

func (c *cutting) Flush()                      { c.ResponseWriter.(http.Flusher).Flush() }
func (c *cutting) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func TestStreamsGoOnWhereTheyBroke(t *testing.T) {
	s := serve(t)
	c := s.dial(t, client.Config{})
	defer c.Close(t.Context())
	const n = 3000
	var writers sync.WaitGroup
	writers.Go(func() {
		for i := range n {
			if _, err := s.log.Append(t.Context(), event(i)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	s.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cutting{w, 200 << 10}, r)
	})
	q := query.Field("action", "mail.view")
	var followed []string
	ctx := testwait.Context(t)
	for e, err := range c.Tail(ctx, 0, q) {
		if err != nil {
			t.Fatal(err)
		}
		followed = append(followed, e.Message)
		if len(followed) == n {
			break
		}
	}
	writers.Wait()
	if diff := cmp.Diff(numbers(n), followed); diff != "" {
		t.Errorf("Tail (-want +got):\n%s", diff)
	}
	var read []string
	for e, err := range c.Entries(ctx, q) {
		if err != nil {
			t.Fatal(err)
		}
		read = append(read, e.Message)
	}
	if diff := cmp.Diff(numbers(n), read); diff != "" {
		t.Errorf("Entries (-want +got):\n%s", diff)
	}
}

func TestNewWantsAURLWithALog(t *testing.T) {
	for _, url := range []string{"", "audit.example.com/mail", "https://audit.example.com", "https://audit.example.com/", "https://audit.example.com/a/b", "ftp://x/y", "https:///mail"} {
		if _, err := client.New(client.Config{URL: url, Token: "al_x"}); err == nil {
			t.Errorf("New(%q) made a client", url)
		}
	}
	if _, err := client.New(client.Config{URL: "https://audit.example.com/mail"}); err == nil {
		t.Error("New made a client without a token")
	}
}

func TestALongerHashIsNoHash(t *testing.T) {
	s := serve(t)
	c := s.dial(t, client.Config{})
	defer c.Close(t.Context())
	s.set(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		fmt.Fprintf(w, `{"receipts":[{"leaf_hash":%q}]}`, base64.StdEncoding.EncodeToString(make([]byte, 33)))
	})
	if receipts, err := c.Append(t.Context(), event(0)); err == nil {
		t.Errorf("Append took a leaf hash of 33 bytes: %v", receipts)
	}
	s.set(nil)
}

// A server without end must not take the memory of the program that asks it.
func TestAnAnswerWithoutEndIsRefused(t *testing.T) {
	s := serve(t)
	c := s.dial(t, client.Config{})
	defer c.Close(t.Context())
	s.set(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		for chunk := make([]byte, 1<<20); r.Context().Err() == nil; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	defer s.set(nil)

	first := func(entries iter.Seq2[attestlog.Entry, error]) error {
		for _, err := range entries {
			return err
		}
		return nil
	}
	for name, call := range map[string]func() error{
		"Query": func() error {
			_, err := c.Query(t.Context(), query.Query{}, attestlog.PageOptions{})
			return err
		},
		"Append": func() error {
			_, err := c.Append(t.Context(), event(0))
			return err
		},
		"Entries": func() error { return first(c.Entries(t.Context(), query.Query{})) },
		"Tail":    func() error { return first(c.Tail(t.Context(), 0, query.Query{})) },
	} {
		err := call()
		if err == nil || errors.Is(err, attestlog.ErrUnavailable) || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s of an answer without end = %v", name, err)
		}
	}
}
