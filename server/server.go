// Package server makes logs a service: an HTTP API, what other programs send,
// a live tail, the tiles of c2sp.org/tlog-tiles, figures for Prometheus.
//
//	store, err := sqlite.Open(ctx, "audit.db", sqlite.Config{})
//	log, err := attestlog.New(ctx, store, attestlog.Config{})
//	srv, err := server.New(server.Config{Logs: []server.Log{{Name: "default", Log: log, Tokens: store}}})
//	http.ListenAndServe("127.0.0.1:8450", srv)
//
// Every request but those for health shows a token of the log: see CreateToken.
// /openapi.json describes the API. A request that stores events is answered once
// they are durable; searching, following, exporting and verifying a log are
// recorded in it.
package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/audithttp"
	"github.com/attestlog/attestlog/auditpolicy"
)

// Config configures a Server.
type Config struct {
	// Logs are served by their names; the first is the default log, which has
	// the paths without a name as well. Required.
	Logs []Log
	// Public lets anybody read checkpoints and hash tiles, which hold no event.
	// Defaults to asking for a token.
	Public bool
	// MaxBody bounds a request's body in bytes, also after decompression.
	// Defaults to 16 MiB.
	MaxBody int64
	// Rate bounds the requests that one token may make a second, over some seconds.
	// Defaults to no bound.
	Rate float64
	// TrustedProxies are the networks of proxies whose Header is believed.
	// Defaults to none.
	TrustedProxies []netip.Prefix
	// ProxyHeader is the header that they set: Forwarded or X-Forwarded-For.
	// Defaults to X-Forwarded-For.
	ProxyHeader string
	// Registry takes the server's figures. Defaults to one of its own.
	Registry *prometheus.Registry
	// OIDC lets people sign in. Defaults to tokens alone.
	OIDC *OIDC
	// Webhook is a URL to which alarms are posted, each as the JSON of Alarm.
	// Defaults to none; alarms are logged and recorded in the log all the same.
	Webhook string
	// Logger receives requests that failed, and at its level Debug every request.
	// Defaults to slog.Default().
	Logger *slog.Logger
	// Clock returns the current time. Defaults to time.Now.
	Clock func() time.Time
}

// A Log is one that is served. The Server closes neither it nor its store.
type Log struct {
	Name   string // in paths: letters, digits, - and _, 63 at most
	Log    *attestlog.Log
	Tokens TokenStore
	// Disk returns the free and all bytes of the disk that holds the log, for an
	// alarm. Defaults to not looking.
	Disk func() (free, total uint64, err error)
	// Witnesses are asked to cosign its checkpoints. Defaults to none.
	Witnesses *Witnesses
}

const (
	defaultMaxBody = 16 << 20
	proxyHeader    = "X-Forwarded-For"
)

// A Server is an http.Handler.
type Server struct {
	cfg      Config
	logs     map[string]*hosted
	first    *hosted
	mux      router
	people   *people  // nil without OIDC
	guesses  limiters // of addresses
	rates    limiters // of tokens
	metrics  *metrics
	ctx      context.Context // ended by Close
	end      context.CancelFunc
	posts    chan Alarm     // that wait for the webhook
	open     sync.WaitGroup // what runs beside the requests
	stopping chan struct{}
	stop     sync.Once
	beat     time.Duration
}

// hosted is one log with what the server keeps about it.
type hosted struct {
	name   string
	log    *attestlog.Log
	tokens TokenStore
	keys   keyring
	access *auditpolicy.Filter
	hub    *hub
	jobs   jobs

	mu      sync.Mutex
	bundles map[string]time.Time // when it was recorded last that somebody fetches them

	alarms    alarms
	disk      func() (free, total uint64, err error)
	witnesses *Witnesses
	cosigned  cosigned
}

var logName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}$`)

// A look into the log is recorded as it is, up to this many of one kind by one
// token within a minute; of more, how many there were.
const (
	accessWindow = time.Minute
	accessMost   = 20
)

// New makes a server of open logs.
func New(cfg Config) (*Server, error) {
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = defaultMaxBody
	}
	if cfg.ProxyHeader == "" {
		cfg.ProxyHeader = proxyHeader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	if len(cfg.Logs) == 0 {
		return nil, errors.New("server: no log to serve")
	}
	s := &Server{cfg: cfg, logs: map[string]*hosted{}, stopping: make(chan struct{}), beat: beat}
	s.guesses = newLimiters(rate.Every(guessEvery), guessBurst)
	s.rates = newLimiters(rate.Limit(cfg.Rate), max(1, int(cfg.Rate*rateSpan.Seconds())))
	s.ctx, s.end = context.WithCancel(context.Background())
	for _, l := range cfg.Logs {
		if err := s.host(l); err != nil {
			s.end()
			return nil, err
		}
	}
	s.first = s.logs[cfg.Logs[0].Name]
	if cfg.OIDC != nil {
		var err error
		if s.people, err = newPeople(s, *cfg.OIDC); err != nil {
			s.end()
			return nil, err
		}
	}
	s.metrics = newMetrics(s)
	s.routes()
	s.posts = make(chan Alarm, maxPosts)
	s.open.Go(s.watchAll)
	s.open.Go(s.postAll)
	for _, h := range s.logs {
		if h.witnesses != nil {
			s.open.Go(func() { s.cosign(h) })
		}
	}
	return s, nil
}

func (s *Server) host(l Log) error {
	switch {
	case !logName.MatchString(l.Name):
		return fmt.Errorf("server: log %q: a name has letters, digits, - and _, 63 at most", l.Name)
	case s.logs[l.Name] != nil:
		return fmt.Errorf("server: two logs are named %q", l.Name)
	}
	access, err := auditpolicy.New(l.Log, auditpolicy.Config{
		Floods: []auditpolicy.Flood{{Window: accessWindow, Most: accessMost}}, Logger: s.cfg.Logger, Clock: s.cfg.Clock,
	})
	if err != nil {
		return err
	}
	h := &hosted{name: l.Name, log: l.Log, tokens: l.Tokens, access: access}
	h.keys = keyring{store: l.Tokens, clock: s.cfg.Clock, known: map[string]knownToken{}}
	h.hub = newHub(s, h)
	h.jobs.all = map[string]*job{}
	h.alarms.raised = map[string]time.Time{}
	h.disk, h.witnesses = l.Disk, l.Witnesses
	s.logs[l.Name] = h
	return nil
}

// Stop ends what would run on by itself: tails, exports that have not begun to
// be read, verifications. New requests are still answered, so that a server
// that drains can be reached. An http.Server calls it by RegisterOnShutdown.
func (s *Server) Stop() { s.stop.Do(func() { close(s.stopping) }) }

// Close stops the server and waits for what runs beside its requests. It is
// called before the logs are closed, after the last request.
func (s *Server) Close(ctx context.Context) error {
	s.Stop()
	s.end()
	s.open.Wait()
	var err error
	for _, h := range s.logs {
		err = errors.Join(err, h.access.Close(ctx))
	}
	return err
}

// ServeHTTP answers a request. Every answer has the request's id in
// X-Request-Id.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := s.cfg.Clock()
	req := &request{id: requestID(r.Header.Get("X-Request-Id")), bearer: bearer(r), http: r}
	ip, host := audithttp.ClientAddress(r.RemoteAddr, r.Header.Values(s.cfg.ProxyHeader), s.cfg.TrustedProxies, s.cfg.ProxyHeader)
	req.from = attestlog.Source{IP: ip, Host: host, UserAgent: cutText(r.UserAgent(), 512)}
	h := w.Header()
	h.Set("X-Request-Id", req.id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	given := r
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, req))
	req.http = r
	counted := &answer{ResponseWriter: w}
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			s.cfg.Logger.Error("server: a handler panicked", "request", req.id, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			if counted.status == 0 {
				writeProblem(counted, problem(http.StatusInternalServerError, "the request failed; the server's log says why, request "+req.id))
			} else {
				panic(http.ErrAbortHandler) // the answer is torn, and shall look so
			}
		} else if p != nil {
			panic(p)
		}
		given.Pattern = r.Pattern // for whoever stands in front
		took := s.cfg.Clock().Sub(began)
		s.metrics.observe(r, counted.status, took)
		if s.cfg.Logger.Enabled(r.Context(), slog.LevelDebug) {
			s.cfg.Logger.Debug("server: request", "request", req.id, "method", r.Method, "path", r.URL.Path, "from", ip, "status", counted.status, "took", took)
		}
	}()
	r.Body = http.MaxBytesReader(counted, r.Body, s.cfg.MaxBody)
	s.mux.ServeHTTP(counted, r)
}

// An answer knows its status.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Flush is for handlers that ask for an http.Flusher.
func (a *answer) Flush() { http.NewResponseController(a.ResponseWriter).Flush() }

var givenID = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

// requestID takes a proxy's id if it is fit for logs.
func requestID(given string) string {
	if givenID.MatchString(given) {
		return given
	}
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// cutText returns valid UTF-8 of at most n bytes.
func cutText(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
