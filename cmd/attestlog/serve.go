package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/sqlite"
)

type serveCmd struct {
	Logs           []string      `arg:"" optional:"" help:"Logs to serve under names, as NAME=URL; the first is the default one. Defaults to default and what --log says." name:"NAME=URL"`
	Listen         string        `help:"Address to listen on. Defaults to 127.0.0.1:8450, for this machine alone." default:"127.0.0.1:8450" env:"ATTESTLOG_LISTEN"`
	TLSCert        string        `help:"Certificate chain, PEM. Read again when the file changes." name:"tls-cert" env:"ATTESTLOG_TLS_CERT" placeholder:"FILE"`
	TLSKey         string        `help:"The certificate's key, PEM." name:"tls-key" env:"ATTESTLOG_TLS_KEY" placeholder:"FILE"`
	ClientCA       string        `help:"Ask clients for a certificate of these authorities, in addition to their token." name:"client-ca" env:"ATTESTLOG_CLIENT_CA" placeholder:"FILE"`
	Public         bool          `help:"Let anyone read checkpoints and hash tiles." env:"ATTESTLOG_PUBLIC"`
	TrustedProxies []string      `help:"Networks of proxies whose X-Forwarded-For is trusted." name:"trusted-proxy" env:"ATTESTLOG_TRUSTED_PROXIES" placeholder:"CIDR"`
	MaxBody        int64         `help:"Largest body of a request, in bytes. Defaults to 16 MiB." default:"16777216" env:"ATTESTLOG_MAX_BODY"`
	Rate           float64       `help:"Requests a second that one token may make. Defaults to no limit." env:"ATTESTLOG_RATE" placeholder:"N"`
	Verbose        bool          `help:"Log every request." env:"ATTESTLOG_VERBOSE"`
	MaxConnections int           `help:"Most connections at a time. Defaults to 10,000." default:"10000" env:"ATTESTLOG_MAX_CONNECTIONS"`
	Syslog         string        `help:"Take syslog messages over TCP at this address into the default log, over TLS with --tls-cert. Anyone who can connect can write." env:"ATTESTLOG_SYSLOG" placeholder:"ADDRESS"`
	OIDC           oidcFlags     `embed:"" prefix:"oidc-" envprefix:"ATTESTLOG_OIDC_"`
	Webhook        string        `help:"Post alarms to this URL." env:"ATTESTLOG_WEBHOOK" placeholder:"URL"`
	Witnesses      []string      `help:"Have checkpoints of the default log cosigned by this witness: its verifier key, an @, its URL." name:"witness" env:"ATTESTLOG_WITNESSES" placeholder:"KEY@URL"`
	WitnessNeed    int           `help:"How many witnesses must cosign. Defaults to all." default:"-1" env:"ATTESTLOG_WITNESS_NEED"`
	WitnessRequire bool          `help:"Publish no checkpoint that they have not cosigned." env:"ATTESTLOG_WITNESS_REQUIRE"`
	Traces         bool          `help:"Send a span of every request to where the OTEL_EXPORTER_OTLP_* variables say." env:"ATTESTLOG_TRACES"`
	StopWait       time.Duration `help:"How long a stop waits for requests in progress. Defaults to 30s." default:"30s" env:"ATTESTLOG_STOP_WAIT"`
	Check          bool          `help:"Check the configuration and open the logs, but do not serve."`
}

func (serveCmd) Help() string {
	return `Without flags it creates a log in attestlog.db, listens for this machine alone, and
prints its address and, once, a first token. Requests carry a token of the log:

  attestlog serve
  curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8450/api/v1/logs/default/entries \
    -d '{"action":"mail.view","actor":{"id":"alice"}}'

Flags can also be set in the environment, and in a file (--config FILE) as one JSON
object such as {"listen":":8450","tls_cert":"cert.pem","tls_key":"key.pem"}.

Examples:
  attestlog serve --listen :8450 --tls-cert cert.pem --tls-key key.pem
  attestlog serve shop=sqlite:shop.db mail='postgres://app@db/audit?log=mail'
  attestlog serve --check`
}

func (c *serveCmd) Run(a *app) (err error) {
	level := slog.LevelInfo
	if c.Verbose {
		level = slog.LevelDebug
	}
	a.logger = slog.New(slog.NewJSONHandler(a.stderr, &slog.HandlerOptions{Level: level}))
	s := &serving{app: a, cmd: c, logger: a.logger}

	cfg, err := c.config(s.logger)
	if err != nil {
		return err
	}
	tlsConfig, err := c.tls(s.logger)
	if err != nil {
		return err
	}
	witnesses, err := c.witnesses()
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, s.closeLogs()) }()
	err = s.openLogs()
	if err != nil {
		return err
	}
	s.logs[0].Witnesses = witnesses
	cfg.Logs = s.logs
	srv, err := server.New(cfg)
	if err != nil {
		return err
	}
	if c.Check {
		fmt.Fprintf(a.stdout, "the configuration is good: %d logs, on %s\n", len(s.logs), c.Listen)
		return srv.Close(a.ctx)
	}

	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return errors.Join(hinted{err, "--listen names another address"}, srv.Close(a.ctx))
	}
	err = s.greet(l.Addr(), tlsConfig != nil)
	if err != nil {
		return errors.Join(err, l.Close(), srv.Close(a.ctx))
	}
	return s.serve(srv, netutil.LimitListener(l, c.MaxConnections), tlsConfig)
}

// serving is what serve has opened.
type serving struct {
	app    *app
	cmd    *serveCmd
	logger *slog.Logger
	logs   []server.Log
	urls   []string // of logs, without passwords
}

// openLogs opens every log that is to be served.
func (s *serving) openLogs() error {
	named := s.cmd.Logs
	if len(named) == 0 {
		named = []string{"default=" + s.app.url}
	}

	// All names are checked before any log is opened or created.
	seen := map[string]bool{}
	for _, text := range named {
		name, _, ok := strings.Cut(text, "=")
		switch {
		case !ok:
			return fmt.Errorf("log %q: want NAME=URL", text)
		case seen[name]:
			return fmt.Errorf("two logs are named %q", name)
		}
		seen[name] = true
	}

	for _, text := range named {
		name, url, _ := strings.Cut(text, "=")
		a := *s.app
		a.url = url
		log, store, err := a.openServed(!s.cmd.Check)
		if err != nil {
			return fmt.Errorf("log %s: %w", name, err)
		}

		served := server.Log{Name: name, Log: log, Tokens: store.(server.TokenStore)}
		if file, ok := store.(*sqlite.Store); ok {
			served.Disk = diskOf(file.Path())
		}
		s.logs = append(s.logs, served)
		s.urls = append(s.urls, redacted(url))
	}
	return nil
}

// openServed opens a log. Unlike open, it accepts one that can only be read:
// such a log is served for reading.
func (a *app) openServed(create bool) (*attestlog.Log, attestlog.Store, error) {
	store, err := a.openStore(openOptions{create: create, write: true})
	if err != nil {
		return nil, nil, err
	}

	log, err := attestlog.New(a.ctx, store, attestlog.Config{
		Logger: a.logger,
		Sealed: append(slices.Clone(attestlog.DefaultSealed), server.Sealed...),
	})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	if why := log.ReadOnly(); why != nil {
		a.logger.Error("attestlog: the log can only be read", "log", redacted(a.url), "err", why)
	}
	return log, store, nil
}

func (s *serving) closeLogs() error {
	var err error
	for _, l := range s.logs {
		err = errors.Join(err, s.app.closeLog(l.Log))
	}
	return err
}

// greet prints the address and the logs, and for each log without a token a
// first one.
func (s *serving) greet(addr net.Addr, secure bool) error {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	base := url.URL{Scheme: scheme, Host: addr.String()}
	fmt.Fprintf(s.app.stdout, "attestlog serves on %s\n", base.String())

	for i, l := range s.logs {
		fmt.Fprintf(s.app.stdout, "  log %-12s %s\n", l.Name, s.urls[i])
		if l.Log.ReadOnly() != nil {
			continue
		}
		err := s.logStart(l.Log)
		if err != nil {
			return err
		}
		err = s.createFirstToken(l)
		if err != nil {
			return err
		}
	}
	return nil
}

// logStart appends an entry that says that the log is served, and how: the
// configuration changes only with a restart.
func (s *serving) logStart(log *attestlog.Log) error {
	c := s.cmd

	// Of what is secret or holds secrets, only whether it is there.
	configuration := map[string]any{
		"listen":          c.Listen,
		"tls":             c.TLSCert != "",
		"client_ca":       c.ClientCA,
		"public":          c.Public,
		"trusted_proxies": c.TrustedProxies,
		"max_body":        c.MaxBody,
		"rate":            c.Rate,
		"syslog":          c.Syslog,
		"webhook":         c.Webhook != "",
		"witnesses":       c.Witnesses,
		"witness_need":    c.WitnessNeed,
		"witness_require": c.WitnessRequire,
		"oidc_issuer":     c.OIDC.Issuer,
		"oidc_roles":      c.OIDC.Roles,
	}

	_, err := log.Append(s.app.ctx, attestlog.Event{
		Service:    "attestlog",
		Module:     "server",
		Action:     "server.start",
		Operation:  "execute",
		Outcome:    attestlog.Success,
		Actor:      osActor(),
		Attributes: configuration,
	})
	return err
}

// createFirstToken creates and prints a token of a log that has none.
func (s *serving) createFirstToken(l server.Log) error {
	tokens, err := server.ListTokens(s.app.ctx, l.Tokens)
	if err != nil || len(tokens) > 0 {
		return err
	}

	t := server.Token{Note: "first token", Scopes: []string{server.ScopeAdmin}}
	secret, err := server.CreateToken(s.app.ctx, l.Tokens, &t)
	if err != nil {
		return err
	}
	err = logTokenChange(s.app.ctx, l.Log, "token.create", &t)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.app.stdout, "  its first token, shown this once: %s\n", secret)
	return nil
}

// Limits of one connection. A response that streams extends its own time as it
// goes on.
const (
	headerWait = 10 * time.Second
	readWait   = time.Minute
	writeWait  = time.Minute
	idleWait   = 2 * time.Minute
	maxHeader  = 64 << 10 // bytes
)

// serve answers requests until the program is told to stop, and then lets those
// in progress end. It closes srv and l.
func (s *serving) serve(srv *server.Server, l net.Listener, tlsConfig *tls.Config) error {
	h := &http.Server{
		Handler:           srv,
		ReadHeaderTimeout: headerWait,
		ReadTimeout:       readWait,
		WriteTimeout:      writeWait,
		IdleTimeout:       idleWait,
		MaxHeaderBytes:    maxHeader,
		TLSConfig:         tlsConfig,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	h.RegisterOnShutdown(srv.Stop)
	if s.cmd.Traces {
		handler, stop, err := traced(s.app.ctx, srv)
		if err != nil {
			return errors.Join(fmt.Errorf("--traces: %w", err), l.Close(), srv.Close(s.app.ctx))
		}
		h.Handler = handler
		defer stop(context.WithoutCancel(s.app.ctx))
	}

	ended := make(chan error, 2) // HTTP, syslog
	waitSyslog, err := s.serveSyslog(srv, tlsConfig, ended)
	if err != nil {
		return errors.Join(err, l.Close(), srv.Close(s.app.ctx))
	}
	go func() {
		if tlsConfig != nil {
			ended <- h.ServeTLS(l, "", "")
		} else {
			ended <- h.Serve(l)
		}
	}()

	select {
	case err = <-ended:
	case <-s.app.ctx.Done():
		s.logger.Info("attestlog: stopping", "wait", s.cmd.StopWait.String())
	}

	// The program's context has ended, so each step of the stop has its own time.
	ctx := context.WithoutCancel(s.app.ctx)
	s.shutDown(ctx, h)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	srv.Stop()
	waitSyslog()
	closeCtx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	return errors.Join(err, srv.Close(closeCtx))
}

// shutDown waits for requests in progress, and cuts them off after the time of
// --stop-wait.
func (s *serving) shutDown(ctx context.Context, h *http.Server) {
	ctx, cancel := context.WithTimeout(ctx, s.cmd.StopWait)
	defer cancel()

	err := h.Shutdown(ctx)
	if err != nil {
		s.logger.Warn("attestlog: requests were cut off", "err", err)
		h.Close()
	}
}

// serveSyslog takes syslog messages, if that is wanted, until the server stops.
// wait returns once all messages that were read are stored.
func (s *serving) serveSyslog(srv *server.Server, tlsConfig *tls.Config, ended chan<- error) (wait func(), err error) {
	if s.cmd.Syslog == "" {
		return func() {}, nil
	}

	l, err := net.Listen("tcp", s.cmd.Syslog)
	if err != nil {
		return nil, fmt.Errorf("--syslog: %w", err)
	}
	fmt.Fprintf(s.app.stdout, "  syslog           %s\n", l.Addr())
	if tlsConfig != nil {
		own := tlsConfig.Clone()
		own.NextProtos = nil // those are of HTTP
		l = tls.NewListener(l, own)
	}

	var messages sync.WaitGroup
	messages.Go(func() {
		err := srv.ServeSyslog(l, s.logs[0].Name)
		if err != nil {
			ended <- err
		}
	})
	return messages.Wait, nil
}
