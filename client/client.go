// Package client uses a log that a server serves: the same Append, Record and
// Query as an attestlog.Log.
//
//	log, err := client.New(client.Config{URL: "https://audit.example.com/webmail", Token: token})
//	receipts, err := log.Append(ctx, attestlog.Event{Action: "mail.view", Actor: attestlog.Actor{ID: "alice"}})
//
// Every event has its id and its time before it is sent, so sending it again is
// harmless, and is done: after an error of the network, or while the server is
// away. With a spool, recorded events survive this program as well.
//
// Entries are read with their exact bytes: Entry.Leaf and Entry.LeafHash are
// computed here, and a proof is checked with attestlog.CheckProof.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
)

// ErrDenied is returned when the server does not accept the token, or the token
// may not do what was asked.
var ErrDenied = errors.New("the server refuses the token")

// errBad is of a request that the server cannot do anything with.
var errBad = errors.New("the request is not accepted")

// errAnswer is of a server that is none of a log's.
var errAnswer = errors.New("the server's answer is not that of a log")

// Config configures a Client.
type Config struct {
	// URL is the server's, with the log's name as its path:
	// https://audit.example.com/webmail. Required.
	URL string
	// Token is the bearer's: al_…. Required.
	Token string
	// HTTP makes the requests. Defaults to a client of its own, which gives up a
	// connection that takes more than 10 s to be made.
	HTTP *http.Client
	// Spool keeps recorded events on this machine while the server is away. The
	// Client closes it. Defaults to none: they wait in the queue.
	Spool attestlog.Spool
	// SpoolAfter is how long recorded events wait in memory for a server that is
	// away before they go to the spool. Defaults to 5 s.
	SpoolAfter time.Duration
	// QueueEvents and QueueBytes bound the recorded events that wait to be sent.
	// Default to 20,000 events and 64 MiB.
	QueueEvents int
	QueueBytes  int
	// Timeout bounds a request that is not a stream, with its answer. Defaults to
	// 30 s.
	Timeout time.Duration
	// Logger receives warnings: a server that is away, records that could not be
	// stored. Defaults to slog.Default().
	Logger *slog.Logger
	// Clock returns the current time. Defaults to time.Now.
	Clock func() time.Time
}

// A Client is safe for concurrent use.
type Client struct {
	cfg  Config
	base string // URL of the log's API, without a slash at its end
	root string // of the server
	name string // the log's

	queue  queue
	sender sync.WaitGroup
	ctx    context.Context // ended when Close gives up
	end    context.CancelFunc

	closing sync.Once
	closed  error

	mu     sync.Mutex
	counts Stats
	failed []error // of records, since the last Flush
}

const (
	defaultTimeout = 30 * time.Second
	dialTimeout    = 10 * time.Second
	defaultSpool   = 5 * time.Second
	defaultEvents  = 20_000
	defaultBytes   = 64 << 20
)

// New makes a client. It does not ask the server: what was recorded while that
// is away waits for it.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("client: %q: want the server's URL with the log's name, such as https://audit.example.com/webmail", cfg.URL)
	}
	name := strings.Trim(u.Path, "/")
	if name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("client: %q: the log's name is missing behind the host: https://HOST/LOG", cfg.URL)
	}
	if cfg.Token == "" {
		return nil, errors.New("client: a token is needed; `attestlog token create` on the server's machine makes one")
	}
	if cfg.HTTP == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DialContext = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
		t.MaxIdleConnsPerHost = 64
		t.ResponseHeaderTimeout = max(cfg.Timeout, defaultTimeout) // a stream sends its head at once
		cfg.HTTP = &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // a POST that is redirected becomes another request
		}}
	}
	defaults(&cfg)
	root := (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
	c := &Client{cfg: cfg, root: root, base: root + "/api/v1/logs/" + url.PathEscape(name), name: name}
	c.ctx, c.end = context.WithCancel(context.Background())
	c.queue.init(cfg.QueueEvents, cfg.QueueBytes)
	c.sender.Go(c.send)
	if cfg.Spool != nil {
		c.sender.Go(c.unspool)
	}
	return c, nil
}

func defaults(cfg *Config) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.SpoolAfter <= 0 {
		cfg.SpoolAfter = defaultSpool
	}
	if cfg.QueueEvents <= 0 {
		cfg.QueueEvents = defaultEvents
	}
	if cfg.QueueBytes <= 0 {
		cfg.QueueBytes = defaultBytes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
}

// call makes a request that is answered whole. What has no body is a nil body.
func (c *Client) call(ctx context.Context, method, path string, params url.Values, body []byte) (*http.Response, []byte, error) {
	bounded, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	resp, err := c.request(bounded, method, c.base+path, params, body, nil)
	if err == nil {
		defer resp.Body.Close()
		var text []byte
		if text, err = io.ReadAll(resp.Body); err == nil {
			return resp, text, nil
		}
		err = unavailable(err)
	}
	if bounded.Err() != nil && ctx.Err() == nil {
		err = unavailable(fmt.Errorf("no answer within %s", c.cfg.Timeout))
	}
	return nil, nil, err
}

// request makes a request whose answer is a stream, or an error.
func (c *Client) request(ctx context.Context, method, target string, params url.Values, body []byte, header http.Header) (*http.Response, error) {
	if len(params) > 0 {
		target += "?" + params.Encode()
	}
	var in io.Reader
	if body != nil {
		in = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, in)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	req.Header.Set("User-Agent", "attestlog-client")
	if body != nil {
		req.Header.Set("Content-Type", "application/x-ndjson")
	}
	resp, err := c.cfg.HTTP.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, unavailable(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problemOf(resp)
}

// maxProblem bounds the text of an error that is read.
const maxProblem = 64 << 10

var bodyField = regexp.MustCompile(`^body\[(\d+)\]\.?(.*)$`)

// problemOf turns an answer into the error that a Log would have returned.
func problemOf(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	var p struct {
		Detail string `json:"detail"`
		Errors []struct{ Message, Location string }
	}
	if json.Unmarshal(text, &p) != nil || p.Detail == "" {
		p.Detail = resp.Status
	}
	said := fmt.Errorf("the server says: %s", p.Detail)
	if len(p.Errors) > 0 { // an event is to blame
		if m := bodyField.FindStringSubmatch(p.Errors[0].Location); m != nil {
			n, _ := strconv.Atoi(m[1])
			return &attestlog.FieldError{Event: n, Field: m[2], Rule: p.Errors[0].Message}
		}
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %w", ErrDenied, said)
	case http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		if strings.Contains(p.Detail, attestlog.ErrCursor.Error()) {
			return fmt.Errorf("%w: %w", attestlog.ErrCursor, said)
		}
		return fmt.Errorf("%w: %w", errBad, said)
	case http.StatusNotFound:
		return fmt.Errorf("%w: %w", attestlog.ErrNotFound, said)
	case http.StatusConflict:
		return fmt.Errorf("%w: %w", attestlog.ErrConflict, said)
	case http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w: %w", attestlog.ErrTooLarge, said)
	case http.StatusTooManyRequests, http.StatusRequestTimeout:
		return fmt.Errorf("%w: %w", attestlog.ErrUnavailable, said)
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("%w: %w", attestlog.ErrUnavailable, said)
	}
	return said
}

func unavailable(err error) error {
	return fmt.Errorf("%w: %w", attestlog.ErrUnavailable, err)
}
