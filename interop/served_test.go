package interop

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/servertest"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/sqlite"
)

// A host is a log behind a server on loopback.
type host struct {
	URL    string
	server *server.Server
	log    *attestlog.Log
	file   *sqlite.Store // the log's database, opened once more
	token  string        // may do all
	key    string        // path of the file with the public key

	quick bool // requests go to the server as they are

	mu       sync.Mutex
	store    *faulty
	plan     []fault // of the next requests
	answered []answered
}

// An answered request, with how many entries another connection saw in the
// database when the answer began.
type answered struct {
	path    string
	status  int
	durable uint64
}

// A fault is what becomes of one request.
type fault int

const (
	works  fault = iota
	before       // the store fails, and nothing is durable
	after        // the store fails once all is durable
	cut          // all is durable, and the connection ends before the answer
)

// faulty is a store whose transactions fail while a fault lasts.
type faulty struct {
	*sqlite.Store
	mu    sync.Mutex
	fault fault
}

func (f *faulty) set(what fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = what
}

func (f *faulty) Write(ctx context.Context, fn func(attestlog.Tx) error) error {
	f.mu.Lock()
	what := f.fault
	f.mu.Unlock()
	if what == before {
		return attestlog.ErrUnavailable
	}
	err := f.Store.Write(ctx, fn)
	if err == nil && what == after {
		return attestlog.ErrUnavailable
	}
	return err
}

// serve starts a host of a new log named default.
func serve(t testing.TB, cfg server.Config) *host {
	t.Helper()
	path := sqlitetest.Path(t)
	s := &host{store: &faulty{Store: sqlitetest.Store(t, path, sqlite.Config{})}, key: path + ".pub"}
	s.log = testlog.New(t, s.store, attestlog.Config{Origin: "example.com/interop"})
	s.file = sqlitetest.Store(t, path, sqlite.Config{})
	t.Cleanup(func() {
		testlog.Close(t, s.log)
		if err := s.file.Close(); err != nil {
			t.Error(err)
		}
	})

	s.token = servertest.Token(t, s.store, server.Token{Scopes: []string{server.ScopeAdmin}})
	cfg.Logs = []server.Log{{Name: "default", Log: s.log, Tokens: s.store}}
	s.URL = servertest.Start(t, cfg, func(srv *server.Server) http.Handler {
		s.server = srv
		return http.HandlerFunc(s.handle)
	})
	return s
}

// fail plans what becomes of the next requests.
func (s *host) fail(plan ...fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan = append(s.plan, plan...)
}

func (s *host) handle(w http.ResponseWriter, r *http.Request) {
	if s.quick {
		s.server.ServeHTTP(w, r)
		return
	}
	what := works
	s.mu.Lock()
	if len(s.plan) > 0 && r.Method == http.MethodPost {
		what, s.plan = s.plan[0], s.plan[1:]
	}
	s.mu.Unlock()
	switch what {
	case cut:
		s.server.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case before, after:
		s.store.set(what)
		defer s.store.set(works)
	}
	s.server.ServeHTTP(&watched{ResponseWriter: w, s: s, r: r}, r)
}

// watched notes what is durable when an answer begins.
type watched struct {
	http.ResponseWriter
	s     *host
	r     *http.Request
	noted bool
}

func (w *watched) WriteHeader(status int) {
	w.note(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(p []byte) (int, error) {
	w.note(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

func (w *watched) note(status int) {
	if w.noted {
		return
	}
	w.noted = true
	tree, err := w.s.file.Tree(context.Background())
	if err != nil {
		panic(err)
	}
	w.s.mu.Lock()
	w.s.answered = append(w.s.answered, answered{w.r.URL.Path, status, tree.Size})
	w.s.mu.Unlock()
}

func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// checkAnswers compares the requests' statuses, and sees to it that all that the
// client sent was durable before it was told so.
func (s *host) checkAnswers(t testing.TB, durable uint64, statuses ...int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []int
	for _, a := range s.answered {
		got = append(got, a.status)
	}
	if !slices.Equal(got, statuses) {
		t.Errorf("answers %v, want %v", got, statuses)
	}
	if last := s.answered[len(s.answered)-1]; last.durable != durable {
		t.Errorf("the last answer began when %d entries were durable, want %d", last.durable, durable)
	}
}

// entries returns all that is in the log.
func (s *host) entries(t testing.TB) []attestlog.Entry {
	t.Helper()
	return entriesOf(t, s.log)
}

func entriesOf(t testing.TB, log *attestlog.Log) (out []attestlog.Entry) {
	t.Helper()
	for e, err := range log.Entries(t.Context(), query.Query{}.OrderBy(query.ByIndex)) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// program installs a program of others, at an exact version, and returns its path.
func program(t testing.TB, pkg string) string {
	t.Helper()
	dir, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "install", pkg)
	cmd.Env = append(os.Environ(), "GOBIN="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go install %s: %v\n%s", pkg, err, out)
	}
	name, _, _ := strings.Cut(filepath.Base(pkg), "@")
	return filepath.Join(dir, name)
}
