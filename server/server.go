package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/attestlog/attestlog"
)

// Config configures a Server.
type Config struct {
	// Logs are served by their names; the first is the default log, which is also
	// served under the paths without a name. Required.
	Logs []Log
	// Public lets anybody read checkpoints and hash tiles, which hold no event.
	// Defaults to asking for a token.
	Public bool
	// MaxBody bounds a request's body in bytes, also after decompression.
	// Defaults to 16 MiB.
	MaxBody int64
	// Rate is how many requests a second one token may make, on average over five
	// seconds. Defaults to no bound.
	Rate float64
	// TrustedProxies are the networks of proxies whose ProxyHeader is believed.
	// Defaults to none.
	TrustedProxies []netip.Prefix
	// ProxyHeader is the header in which the proxies say whom they were called by:
	// Forwarded or X-Forwarded-For. Defaults to X-Forwarded-For.
	ProxyHeader string
	// Registry takes the server's figures. Defaults to a new one.
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

// A Log is a log that a Server serves. The Server closes neither it nor its
// store.
type Log struct {
	// Name is the log's name in paths: letters, digits, - and _, 63 at most.
	Name string
	// Log is the log itself. Required, as is the store of its tokens.
	Log    *attestlog.Log
	Tokens TokenStore
	// Disk returns the free and all bytes of the disk that the log is on; too few
	// free ones are an alarm. Defaults to not looking.
	Disk func() (free, total uint64, err error)
	// Witnesses are asked to cosign the log's checkpoints. Defaults to none.
	Witnesses *Witnesses
}

const (
	defaultMaxBody     = 16 << 20
	defaultProxyHeader = "X-Forwarded-For"
)

// A Server is an http.Handler that serves logs. It is safe for concurrent use.
// Close ends the goroutines that it starts.
type Server struct {
	cfg     Config
	logs    map[string]*hosted // by name; complete when New returns
	first   *hosted            // the default log
	router  router
	life    *lifecycle
	metrics *metrics
	signIn  *signIn // nil without Config.OIDC

	wrongTokens  *limiters // by the address that they come from
	requestRates *limiters // by the token's id
}

// hosted is a log with the parts of the server that are about it alone.
type hosted struct {
	name          string
	log           *attestlog.Log
	keyring       *keyring
	looks         *looks
	alarms        *alarms
	watcher       *watcher
	publisher     *publisher
	hub           *hub
	verifications *verifications
}

// New makes a server of open logs. It returns an error if the configuration lacks
// something or contradicts itself, and panics if the Registry has the figures of
// another Server.
func New(cfg Config) (*Server, error) {
	cfg.setDefaults()
	if len(cfg.Logs) == 0 {
		return nil, errors.New("server: no log to serve")
	}

	s := &Server{
		cfg:          cfg,
		logs:         map[string]*hosted{},
		life:         newLifecycle(),
		metrics:      newMetrics(cfg.Registry),
		wrongTokens:  newLimiters(rate.Every(wrongTokenEvery), wrongTokenBurst),
		requestRates: newLimiters(rate.Limit(cfg.Rate), max(1, int(cfg.Rate*rateSpan.Seconds()))),
	}

	hook := newWebhook(cfg.Webhook, cfg.Logger)
	err := s.hostAll(hook)
	if err == nil && cfg.OIDC != nil {
		s.signIn, err = newSignIn(*cfg.OIDC, s.first.looks.recorder, cfg.Clock, cfg.Logger)
	}
	if err != nil {
		s.life.close()
		return nil, err
	}

	s.metrics.register(cfg.Registry, logCollector{s.life.untilClose, s.logs})
	s.addRoutes()

	// Nothing can fail after this, so an error leaves no goroutine running.
	s.life.start(hook.run)
	for _, h := range s.logs {
		s.life.start(h.watcher.run)
		if h.publisher.witnesses != nil {
			s.life.start(h.publisher.run)
		}
	}
	return s, nil
}

func (cfg *Config) setDefaults() {
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = defaultMaxBody
	}
	if cfg.ProxyHeader == "" {
		cfg.ProxyHeader = defaultProxyHeader
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
}

var logName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}$`)

// hostAll makes s.logs.
func (s *Server) hostAll(hook *webhook) error {
	for _, l := range s.cfg.Logs {
		if !logName.MatchString(l.Name) {
			return fmt.Errorf("server: log %q: a name has letters, digits, - and _, 63 at most", l.Name)
		}
		if s.logs[l.Name] != nil {
			return fmt.Errorf("server: two logs are named %q", l.Name)
		}

		h, err := s.host(l, hook)
		if err != nil {
			return err
		}
		s.logs[l.Name] = h
	}

	s.first = s.logs[s.cfg.Logs[0].Name]
	return nil
}

func (s *Server) host(l Log, hook *webhook) (*hosted, error) {
	looks, err := newLooks(l.Name, l.Log, s.cfg.Clock, s.cfg.Logger)
	if err != nil {
		return nil, err
	}

	h := &hosted{name: l.Name, log: l.Log, looks: looks}
	h.keyring = newKeyring(l.Tokens, s.cfg.Clock)
	h.alarms = &alarms{
		log:      l.Name,
		recorder: l.Log,
		webhook:  hook,
		total:    s.metrics.alarms,
		life:     s.life,
		clock:    s.cfg.Clock,
		logger:   s.cfg.Logger,
	}
	h.watcher = newWatcher(l.Log, h.alarms, l.Disk, s.cfg.Clock)
	h.publisher = &publisher{
		name:      l.Name,
		log:       l.Log,
		witnesses: l.Witnesses,
		alarms:    h.alarms,
		metrics:   s.metrics,
		clock:     s.cfg.Clock,
	}
	h.hub = newHub(l.Log, s.life)
	h.verifications = newVerifications(l.Log, h.alarms, s.life, s.cfg.Clock)
	return h, nil
}

// Stop ends everything that could go on for hours: tails, exports, verifications,
// and connections of syslog. New requests are still answered, so that a server
// that drains can be reached. Give Stop to http.Server.RegisterOnShutdown.
func (s *Server) Stop() { s.life.stop() }

// Close stops the server, waits for the goroutines that it started, and records
// the looks into the logs that were summed up; ctx bounds that. Call it after the
// last request and before the logs are closed. It returns an error if a look could
// not be recorded.
func (s *Server) Close(ctx context.Context) error {
	s.life.close()

	var err error
	for _, h := range s.logs {
		err = errors.Join(err, h.looks.recorder.Close(ctx))
	}
	return err
}

// ServeHTTP answers a request. Every answer has the request's id in
// X-Request-Id.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := s.cfg.Clock()
	req := s.newRequest(r)
	setHeaders(w.Header(), req.id)

	original := r
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, req))
	req.http = r

	w, status := keepStatus(w)
	defer func() {
		s.answerPanic(w, req, *status, recover())

		// A handler that wraps this one sees which route the request took.
		original.Pattern = r.Pattern

		if *status == 0 {
			*status = http.StatusOK // which net/http sends after this
		}
		s.finish(r, req, *status, s.cfg.Clock().Sub(began))
	}()

	r.Body = http.MaxBytesReader(w, r.Body, s.cfg.MaxBody)
	s.router.ServeHTTP(w, r)
}

func setHeaders(h http.Header, id string) {
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
}

// answerPanic answers a request whose handler panicked with p, and does nothing
// if p is nil. It panics with http.ErrAbortHandler, which closes the connection,
// if a part of the answer has been sent, so that the client does not take that
// for the whole.
func (s *Server) answerPanic(w http.ResponseWriter, req *request, status int, p any) {
	switch p {
	case nil:
		return
	case http.ErrAbortHandler: // a handler has logged why
		panic(p)
	}

	s.cfg.Logger.Error("server: a handler panicked", "request", req.id, "path", req.http.URL.Path,
		"panic", p, "stack", string(debug.Stack()))
	if status != 0 {
		panic(http.ErrAbortHandler)
	}
	writeProblem(w, problem(http.StatusInternalServerError, seeLog(req.id)))
}

// finish counts and logs a request that was answered.
func (s *Server) finish(r *http.Request, req *request, status int, took time.Duration) {
	s.metrics.observe(r, status, took)

	if s.cfg.Logger.Enabled(r.Context(), slog.LevelDebug) {
		s.cfg.Logger.Debug("server: request", "request", req.id, "method", r.Method, "path", r.URL.Path,
			"from", req.from.IP, "status", status, "took", took)
	}
}
