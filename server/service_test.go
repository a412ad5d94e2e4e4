package server_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/sqlite"
)

const api = "/api/v1/logs/default"

// A service is a server over a log in a file, reached over HTTP. Its address
// outlives a restart.
type service struct {
	t       testing.TB
	path    string // of the log's database
	address string
	config  server.Config // its Logs are added to the service's own
	sealed  []string      // besides the log's own
	wrap    func(attestlog.Store) attestlog.Store
	tokens  func(server.TokenStore) server.TokenStore
	tune    func(*http.Server)
	listen  func(net.Listener) net.Listener
	beat    time.Duration

	store *sqlite.Store
	log   *attestlog.Log
	srv   *server.Server
	http  *http.Server
	ended chan struct{}
}

// serve starts a server over a new log.
func serve(t testing.TB, options ...func(*service)) *service {
	t.Helper()
	s := &service{t: t, path: sqlitetest.Path(t), address: "127.0.0.1:0", config: server.Config{Logger: testlog.Quiet}}
	for _, option := range options {
		option(s)
	}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *service) start() {
	s.t.Helper()
	ctx := context.Background()
	var err error
	if s.store, err = sqlite.Open(ctx, s.path, sqlite.Config{Logger: testlog.Quiet}); err != nil {
		s.t.Fatal(err)
	}
	store, tokens := attestlog.Store(s.store), server.TokenStore(s.store)
	if s.wrap != nil {
		store = s.wrap(store)
	}
	if s.tokens != nil {
		tokens = s.tokens(tokens)
	}
	sealed := append(append([]string{}, attestlog.DefaultSealed...), s.sealed...)
	sealed = append(sealed, server.Sealed...)
	if s.log, err = attestlog.New(ctx, store, attestlog.Config{Origin: "example.com/log", Logger: testlog.Quiet, Sealed: sealed}); err != nil {
		s.t.Fatal(err)
	}

	cfg := s.config
	cfg.Logs = append([]server.Log{{Name: "default", Log: s.log, Tokens: tokens}}, cfg.Logs...)
	if s.srv, err = server.New(cfg); err != nil {
		s.t.Fatal(err)
	}
	if s.beat > 0 {
		s.srv.SetBeat(s.beat)
	}

	l, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	if strings.HasSuffix(s.address, ":0") {
		s.address = l.Addr().String()
	}
	if s.listen != nil {
		l = s.listen(l)
	}
	s.http = &http.Server{Handler: s.srv, ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug)}
	if s.tune != nil {
		s.tune(s.http)
	}
	s.http.RegisterOnShutdown(s.srv.Stop)
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		s.http.Serve(l)
	}()
}

// stop ends the server as attestlog serve does.
func (s *service) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), testwait.Patience())
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.t.Errorf("Shutdown = %v", err)
		s.http.Close()
	}
	<-s.ended
	if err := s.srv.Close(ctx); err != nil {
		s.t.Errorf("Server.Close = %v", err)
	}
	if err := s.log.Close(ctx); err != nil {
		s.t.Errorf("Log.Close = %v", err)
	}
}

// token makes a token with these scopes.
func (s *service) token(scopes ...string) string { return s.make(server.Token{Scopes: scopes}) }

func (s *service) make(t server.Token) string {
	s.t.Helper()
	text, err := server.CreateToken(context.Background(), s.store, &t)
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// An answer is a response whose body has been read.
type answer struct {
	*http.Response
	body []byte
}

// A call is a request to a service.
type call struct {
	method, path, token, body string
	headers                   []string // names and values
}

var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true},
	Timeout:       testwait.Patience(),
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (s *service) request(ctx context.Context, c call) *http.Request {
	s.t.Helper()
	req, err := http.NewRequestWithContext(ctx, c.method, "http://"+s.address+c.path, strings.NewReader(c.body))
	if err != nil {
		s.t.Fatal(err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i < len(c.headers); i += 2 {
		req.Header.Set(c.headers[i], c.headers[i+1])
	}
	return req
}

func (s *service) do(c call) answer {
	s.t.Helper()
	resp, err := client.Do(s.request(context.Background(), c))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	return answer{resp, body}
}

func (s *service) get(path, token string) answer {
	s.t.Helper()
	return s.do(call{method: "GET", path: path, token: token})
}

func (s *service) post(path, token, body string, headers ...string) answer {
	s.t.Helper()
	return s.do(call{"POST", path, token, body, headers})
}

// into reads a body of JSON into a value, and demands a status.
func (a answer) into(t testing.TB, status int, v any) {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s = %d %s, want %d", a.Request.Method, a.Request.URL, a.StatusCode, a.body, status)
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%s %s: %v in %s", a.Request.Method, a.Request.URL, err, a.body)
	}
}

// append stores events directly.
func (s *service) append(events ...attestlog.Event) []attestlog.Receipt {
	s.t.Helper()
	receipts, err := s.log.Append(context.Background(), events...)
	if err != nil {
		s.t.Fatal(err)
	}
	return receipts
}

// size is the number of durable entries.
func (s *service) size() uint64 {
	s.t.Helper()
	n, err := s.log.Size(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return b.String()
}

// events makes n of them, from a number on.
func events(from, n int) []attestlog.Event {
	out := make([]attestlog.Event, n)
	for i := range out {
		out[i] = attestlog.Event{
			Time: time.Date(2026, 1, 1, 0, 0, from+i, 0, time.UTC), Action: fmt.Sprint("mail.", []string{"view", "send", "move"}[(from+i)%3]),
			Actor: attestlog.Actor{ID: fmt.Sprint("user-", (from+i)%5)}, Message: fmt.Sprint("event ", from+i),
		}
	}
	return out
}

// A clock is set by a test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
