// Package client uses a log that a server serves: the same Append, Record and
// Query as an attestlog.Log.
//
//	log, err := client.New(client.Config{URL: "https://audit.example.com/webmail", Token: token})
//	receipts, err := log.Append(ctx, attestlog.Event{Action: "mail.view", Actor: attestlog.Actor{ID: "alice"}})
//
// Every event gets its id and its time before it is sent. Sending it again is
// therefore harmless, and a Client does so after a network error and while the
// server is away. With a spool, recorded events also survive the end of this
// program.
//
// Entries are read with their exact bytes: Entry.Leaf and Entry.LeafHash are
// computed here, and attestlog.CheckProof checks a proof.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/lasting"
	"github.com/attestlog/attestlog/internal/retry"
)

// Config configures a Client.
type Config struct {
	// URL is the server's URL with the log's name as its path:
	// https://audit.example.com/webmail. Required.
	URL string
	// Token is the bearer token: al_…. Required.
	Token string
	// HTTP makes the requests. Defaults to a client of its own, which gives up
	// on connecting after 10 s and follows no redirects.
	HTTP *http.Client
	// Spool keeps recorded events on this machine while the server is away. The
	// Client closes it. Defaults to none: the events wait in the queue.
	Spool attestlog.Spool
	// SpoolAfter is how long recorded events wait in memory for a server that is
	// away before they go to the spool. Defaults to 5 s.
	SpoolAfter time.Duration
	// QueueEvents and QueueBytes bound the recorded events that wait to be sent.
	// Default to 20,000 events and 64 MiB.
	QueueEvents int
	QueueBytes  int
	// Timeout bounds a request and its answer, except for streams. Defaults to
	// 30 s.
	Timeout time.Duration
	// Logger receives warnings: a server that is away, records that could not be
	// stored. Defaults to slog.Default().
	Logger *slog.Logger
	// Clock returns the current time. Defaults to time.Now.
	Clock func() time.Time
}

const (
	defaultTimeout     = 30 * time.Second
	defaultSpoolAfter  = 5 * time.Second
	defaultQueueEvents = 20_000
	defaultQueueBytes  = 64 << 20

	dialTimeout = 10 * time.Second
	keepAlive   = 30 * time.Second
	idleConns   = 64
)

// A Client sends events to one log of a server, and reads that log. Its methods
// are safe for concurrent use.
type Client struct {
	cfg    Config
	server string // URL of the server, without a slash at its end
	api    string // URL of the log's API, without a slash at its end
	name   string // of the log

	queue   queue
	workers sync.WaitGroup
	ctx     context.Context // of the workers
	giveUp  context.CancelFunc

	closing  sync.Once
	closeErr error

	// The server, to those who record; and the spool.
	away, notSpooling lasting.State

	mu      sync.Mutex
	counts  Stats
	refused []error // why records were refused, since the last Flush
}

// New makes a client. It does not contact the server, which may be away: events
// can be recorded all the same.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	isHTTP := err == nil && (u.Scheme == "http" || u.Scheme == "https")
	if !isHTTP || u.Host == "" {
		return nil, fmt.Errorf("client: %q: want the server's URL with the log's name, such as %s",
			cfg.URL, "https://audit.example.com/webmail")
	}
	name := strings.Trim(u.Path, "/")
	if name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("client: %q: want the log's name after the host: https://HOST/LOG", cfg.URL)
	}
	if cfg.Token == "" {
		return nil, errors.New("client: a token is needed; `attestlog token create` on the server's machine makes one")
	}

	setDefaults(&cfg)
	server := (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
	c := &Client{
		cfg:    cfg,
		server: server,
		api:    server + "/api/v1/logs/" + url.PathEscape(name),
		name:   name,
		queue:  queue{maxEvents: cfg.QueueEvents, maxBytes: cfg.QueueBytes},
	}

	// Close ends the workers and waits for them.
	c.ctx, c.giveUp = context.WithCancel(context.Background())
	c.workers.Go(c.sendQueue)
	if cfg.Spool != nil {
		c.workers.Go(c.sendSpool)
	}
	return c, nil
}

func setDefaults(cfg *Config) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.HTTP == nil {
		cfg.HTTP = newHTTPClient(cfg.Timeout)
	}
	if cfg.SpoolAfter <= 0 {
		cfg.SpoolAfter = defaultSpoolAfter
	}
	if cfg.QueueEvents <= 0 {
		cfg.QueueEvents = defaultQueueEvents
	}
	if cfg.QueueBytes <= 0 {
		cfg.QueueBytes = defaultQueueBytes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
}

func newHTTPClient(timeout time.Duration) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext
	transport.MaxIdleConnsPerHost = idleConns
	// This holds for streams too: the server sends their header at once.
	transport.ResponseHeaderTimeout = max(timeout, defaultTimeout)

	return &http.Client{
		Transport: transport,
		// A redirected POST would become another request.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newBackoff spaces out the tries of whatever the server does not take.
func newBackoff() retry.Backoff {
	return retry.Backoff{First: 50 * time.Millisecond, Longest: 2 * time.Second, Jitter: true}
}

// Stats are a client's figures since New.
type Stats struct {
	Queued  uint64 // recorded events that were accepted
	Stored  uint64 // recorded events that the server has
	Spooled uint64 // recorded events that went to the spool
	Failed  uint64 // recorded events that the server refused for good
	Waiting int    // events in the queue now
}

// Stats returns the client's figures.
func (c *Client) Stats() Stats {
	waiting := c.queue.len()

	c.mu.Lock()
	defer c.mu.Unlock()

	out := c.counts
	out.Waiting = waiting
	return out
}

func (c *Client) count(fn func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()

	fn(&c.counts)
}

// Close stops accepting events, and sends those that are queued and spooled. If
// ctx ends first, the rest of the queue goes to the spool. Without a spool, or if
// that is full, the rest is lost, and the error is an *attestlog.AppendError with
// the ids. Events in the spool that were not sent stay there for the next Client.
// Later calls return the error of the first.
func (c *Client) Close(ctx context.Context) error {
	c.closing.Do(func() { c.closeErr = c.close(ctx) })
	return c.closeErr
}

func (c *Client) close(ctx context.Context) error {
	c.queue.close()

	sent := make(chan struct{})
	go func() {
		defer close(sent)
		c.workers.Wait()
	}()

	select {
	case <-sent:
	case <-ctx.Done():
		c.giveUp()
		<-sent
	}
	c.giveUp() // releases the context in either case

	rest := c.queue.removeAll()
	var err error
	if c.cfg.Spool != nil {
		for len(rest) > 0 && err == nil {
			var n int
			n, err = c.spool(rest)
			rest = rest[n:]
		}
		err = errors.Join(err, c.cfg.Spool.Close())
	}

	if len(rest) > 0 {
		ids := make([]string, len(rest))
		for i, e := range rest {
			ids[i] = e.id
		}
		err = &attestlog.AppendError{IDs: ids, Err: errors.Join(attestlog.ErrUnavailable, err)}
	}

	c.cfg.HTTP.CloseIdleConnections()
	return err
}
