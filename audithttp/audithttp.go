// Package audithttp records the requests that a net/http server answers.
//
// The middleware stands behind authentication and in front of the router:
//
//	audit, err := audithttp.New(log, audithttp.Config{Actor: currentUser})
//	mux.Handle("POST /mail/{id}", deleteMail)
//	http.ListenAndServe(addr, authenticate(audit(mux)))
//
// One event is recorded when the handler returns:
//
//	{"action":"http.post","operation":"create","outcome":"success",
//	 "actor":{"id":"alice"},"source":{"ip":"192.0.2.7","user_agent":"…"},
//	 "request":{"method":"POST","path":"/mail/7","route":"POST /mail/{id}",
//	            "status":200,"duration_us":812},
//	 "trace":{"trace_id":"…","span_id":"…"},"time":"…"}
//
// The time is that of the request's arrival. A handler adds to its event with
// Edit, or has it left out with Veto. An event that breaks a rule of the log is
// bounded as package convert does, and never lost for its content.
package audithttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
)

// A Recorder takes events: an *attestlog.Log.
type Recorder = attestlog.Recorder

// A Readier tells whether events are taken now: an *attestlog.Log.
type Readier interface {
	Ready(ctx context.Context) error
}

// Config configures the middleware. The zero Config is useful.
type Config struct {
	// Actor returns who makes a request; it is called before the handler.
	// Defaults to an actor "anonymous".
	Actor func(*http.Request) attestlog.Actor
	// Tenant returns whose request it is. Defaults to none.
	Tenant func(*http.Request) string
	// Module returns the part of the program. Defaults to none.
	Module func(*http.Request) string
	// Service names the program. Defaults to none.
	Service string
	// Record says which requests are recorded; it is called before the
	// handler. Defaults to those with a method other than GET, HEAD, OPTIONS
	// and TRACE.
	Record func(*http.Request) bool
	// Action names what a request does; it is called after the handler.
	// Defaults to "http." and the method in lower case.
	Action func(*http.Request) string
	// Route returns the pattern that the request matched; it is called after
	// the handler. Defaults to Request.Pattern, which http.ServeMux sets.
	Route func(*http.Request) string
	// FailClosed says which requests are refused, with status 503 and before
	// their handler runs, while the log cannot take events. It needs a Recorder
	// that is a Readier. Defaults to none: the handler runs, and Record waits
	// for the log as its own configuration says.
	FailClosed func(*http.Request) bool
	// TrustedProxies are the networks of the proxies in front of the server.
	// The client's address is read from ProxyHeader as far as those wrote it.
	// Defaults to none: the address is the connection's.
	TrustedProxies []netip.Prefix
	// ProxyHeader is the header that the trusted proxies append to,
	// "X-Forwarded-For" or "Forwarded" (RFC 7239). The other is ignored: a
	// proxy passes on what a client put there. Defaults to the former.
	ProxyHeader string
	// RequestID names the header that a request's id is taken from. Defaults
	// to "X-Request-Id".
	RequestID string
	// Logger receives what could not be recorded: who did what, without the
	// content, which may hold what a policy would have redacted. Defaults to
	// slog.Default().
	Logger *slog.Logger
	// Clock returns the current time. Defaults to time.Now.
	Clock func() time.Time
}

// New returns the middleware.
func New(rec Recorder, cfg Config) (func(http.Handler) http.Handler, error) {
	m := &middleware{rec: rec, cfg: cfg}
	m.ready, _ = rec.(Readier)
	switch m.cfg.ProxyHeader = http.CanonicalHeaderKey(cmp.Or(cfg.ProxyHeader, forwardedFor)); {
	case cfg.FailClosed != nil && m.ready == nil:
		return nil, errors.New("audithttp: FailClosed needs a Recorder with a method Ready")
	case m.cfg.ProxyHeader != forwardedFor && m.cfg.ProxyHeader != forwarded:
		return nil, fmt.Errorf("audithttp: ProxyHeader %q: want %s or %s", cfg.ProxyHeader, forwardedFor, forwarded)
	}
	if cfg.Record == nil {
		m.cfg.Record = writes
	}
	if cfg.Clock == nil {
		m.cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		m.cfg.Logger = slog.Default()
	}
	m.cfg.RequestID = http.CanonicalHeaderKey(cmp.Or(cfg.RequestID, "X-Request-Id"))
	return m.wrap, nil
}

// writes is for the methods that are not safe (RFC 9110, Section 9.2.1).
func writes(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return false
	}
	return true
}

type middleware struct {
	rec   Recorder
	ready Readier // nil if the recorder is none
	cfg   Config
}

func (m *middleware) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !m.cfg.Record(r) {
			next.ServeHTTP(w, r)
			return
		}
		if m.cfg.FailClosed != nil && m.cfg.FailClosed(r) {
			if err := m.ready.Ready(r.Context()); err != nil {
				m.cfg.Logger.Error("audithttp: a request was refused because it cannot be recorded", "method", r.Method, "path", r.URL.Path, "err", err)
				w.Header().Set("Retry-After", "5")
				http.Error(w, "the audit log is unavailable", http.StatusServiceUnavailable)
				return
			}
		}
		m.serve(w, r, next)
	})
}

// A draft is the event of a request that is being answered.
type draft struct {
	context.Context
	mu     sync.Mutex // of what follows: handlers may start goroutines
	event  attestlog.Event
	vetoed bool
	ended  bool // the event is out of the handler's hands
	answer writer
}

// A detached draft is its context without the request's end: the client may be
// gone by the time that the event is recorded.
type detached draft

func (d *detached) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }
func (d *detached) Done() <-chan struct{}                   { return nil }
func (d *detached) Err() error                              { return nil }

type draftKey struct{}

func (d *draft) Value(key any) any {
	if key == (draftKey{}) {
		return d
	}
	return d.Context.Value(key)
}

func (m *middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	d := &draft{Context: r.Context(), answer: writer{ResponseWriter: w}}
	began := m.cfg.Clock()
	m.begin(d, r, began)
	r = r.WithContext(d)
	returned := false
	defer func() {
		d.end(r, !returned)
		m.end(d, r, began)
	}()
	next.ServeHTTP(d.answer.wrapped(), r)
	returned = true
}

// begin fills in what is known before the handler runs.
func (m *middleware) begin(d *draft, r *http.Request, began time.Time) {
	e := &d.event
	e.Time = began
	e.Service = m.cfg.Service
	e.Actor = attestlog.Actor{ID: "anonymous", Type: "anonymous"}
	if m.cfg.Actor != nil {
		if a := m.cfg.Actor(r); a.ID != "" {
			e.Actor = a
		}
	}
	if m.cfg.Tenant != nil {
		e.Tenant = m.cfg.Tenant(r)
	}
	e.Operation = operations[r.Method]
	e.Source.IP, e.Source.Host = clientAddress(r, m.cfg.TrustedProxies, m.cfg.ProxyHeader)
	e.Source.UserAgent = r.UserAgent()
	e.Request.ID = first(r.Header[m.cfg.RequestID])
	e.Request.Method = r.Method
	e.Request.Path = r.URL.Path
	e.Trace = TraceOf(first(r.Header["Traceparent"]))
}

var operations = map[string]string{
	http.MethodGet: "read", http.MethodHead: "read", http.MethodPost: "create",
	http.MethodPut: "update", http.MethodPatch: "update", http.MethodDelete: "delete",
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// end fills in how the request was answered.
func (d *draft) end(r *http.Request, panicked bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := &d.event
	e.Request.Status = d.answer.status
	switch {
	case d.answer.hijacked && d.answer.status == 0:
		e.Request.Status = http.StatusSwitchingProtocols
	case panicked && d.answer.status == 0:
		e.Request.Status = http.StatusInternalServerError
	case d.answer.status == 0:
		e.Request.Status = http.StatusOK
	}
	if e.Outcome != "" {
		return // the handler knows better
	}
	switch {
	case panicked:
		e.Outcome, e.Reason = attestlog.Failure, cmp.Or(e.Reason, "the handler panicked")
	case e.Request.Status >= 400:
		e.Outcome, e.Reason = attestlog.Failure, cmp.Or(e.Reason, http.StatusText(e.Request.Status))
	default:
		e.Outcome = attestlog.Success
	}
}

// end records the event.
func (m *middleware) end(d *draft, r *http.Request, began time.Time) {
	d.mu.Lock()
	e, vetoed := d.event, d.vetoed
	d.ended = true
	d.mu.Unlock()
	if vetoed {
		return
	}
	e.Request.DurationUS = max(0, m.cfg.Clock().Sub(began).Microseconds())
	switch {
	case e.Request.Route != "":
	case m.cfg.Route != nil:
		e.Request.Route = m.cfg.Route(r)
	default:
		e.Request.Route = r.Pattern
	}
	switch {
	case e.Action != "":
	case m.cfg.Action != nil:
		e.Action = m.cfg.Action(r)
	default:
		e.Action = actionOf(r.Method)
	}
	if e.Module == "" && m.cfg.Module != nil {
		e.Module = m.cfg.Module(r)
	}
	if err := fit.Record((*detached)(d), m.rec, e); err != nil {
		m.cfg.Logger.Error("audithttp: a request could not be recorded", "err", err,
			"action", e.Action, "actor", e.Actor.ID, "method", e.Request.Method, "path", e.Request.Path, "status", e.Request.Status, "time", e.Time)
	}
}

var actions = map[string]string{
	http.MethodPost: "http.post", http.MethodPut: "http.put", http.MethodPatch: "http.patch", http.MethodDelete: "http.delete",
	http.MethodGet: "http.get",
}

func actionOf(method string) string {
	if a := actions[method]; a != "" {
		return a
	}
	return "http." + strings.ToLower(method)
}

// Edit calls fn with the event of the request that a context belongs to, so
// that a handler can add targets, changes and attributes, or say who the actor
// is. It reports whether it did: not for a request that is not recorded, and not
// after the handler has returned. Safe for concurrent use; fn must not keep the
// event, nor what is in it.
func Edit(ctx context.Context, fn func(*attestlog.Event)) bool {
	d, ok := ctx.Value(draftKey{}).(*draft)
	if !ok {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return false
	}
	fn(&d.event)
	return true
}

// AddTargets adds what the request was done to.
func AddTargets(ctx context.Context, targets ...attestlog.Target) bool {
	return Edit(ctx, func(e *attestlog.Event) { e.Targets = append(slices.Clip(e.Targets), targets...) })
}

// AddChanges adds what the request changed; see attestlog.Changes.
func AddChanges(ctx context.Context, changes ...attestlog.Change) bool {
	return Edit(ctx, func(e *attestlog.Event) { e.Changes = append(slices.Clip(e.Changes), changes...) })
}

// Veto leaves the request's event out. It reports whether there was one.
func Veto(ctx context.Context) bool {
	d, ok := ctx.Value(draftKey{}).(*draft)
	if !ok {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.vetoed = d.vetoed || !d.ended
	return !d.ended
}
