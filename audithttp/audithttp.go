// Package audithttp records the requests that a net/http server answers.
//
// The middleware comes after authentication and before the router:
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
// The time is when the request arrived. A handler adds to its event with Edit, or
// leaves it out with Veto. An event that breaks a rule of the log is changed by
// package fit until it fits, so that none is lost for its content.
package audithttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/auditdraft"
)

// A Readier tells whether events are taken now: an *attestlog.Log.
type Readier interface {
	Ready(ctx context.Context) error
}

// Config configures the middleware. The zero Config is useful.
type Config struct {
	// Actor returns who makes a request; it is called before the handler. An
	// actor without an ID is "anonymous". Defaults to "anonymous".
	Actor func(*http.Request) attestlog.Actor
	// Tenant returns whose request it is. Defaults to none.
	Tenant func(*http.Request) string
	// Module returns the part of the program. Defaults to none.
	Module func(*http.Request) string
	// Service names the program. Defaults to none.
	Service string
	// Record says which requests are recorded; it is called before the
	// handler. Defaults to those whose method is not GET, HEAD, OPTIONS or
	// TRACE.
	Record func(*http.Request) bool
	// Action names what a request does; it is called after the handler.
	// Defaults to "http." and the method in lower case.
	Action func(*http.Request) string
	// Route returns the pattern that the request matched; it is called after
	// the handler. Defaults to Request.Pattern, which http.ServeMux sets.
	Route func(*http.Request) string
	// FailClosed says which requests are refused, with status 503 and before
	// their handler runs, while the log cannot take events. It needs a recorder
	// that is a Readier. Defaults to none: the handler runs, and Record waits
	// for the log as the log's configuration says.
	FailClosed func(*http.Request) bool
	// TrustedProxies are the networks of the proxies in front of the server.
	// The client's address is read from what they appended to ProxyHeader.
	// Defaults to none: the address is the connection's.
	TrustedProxies []netip.Prefix
	// ProxyHeader is the header that the trusted proxies append to,
	// "X-Forwarded-For" or "Forwarded" (RFC 7239). The other is ignored, since
	// proxies pass on what a client put there. Defaults to the former.
	ProxyHeader string
	// RequestID names the header that holds a request's id. Defaults to
	// "X-Request-Id".
	RequestID string
	// Logger receives the requests that could not be recorded: who did what,
	// without the content, which a policy might have redacted. Defaults to
	// slog.Default().
	Logger *slog.Logger
	// Clock returns the current time. Defaults to time.Now.
	Clock func() time.Time
}

// New returns the middleware, which records with rec, an attestlog.Log.
func New(rec attestlog.Recorder, cfg Config) (func(http.Handler) http.Handler, error) {
	m := &middleware{rec: rec, cfg: cfg}
	m.ready, _ = rec.(Readier)
	if cfg.FailClosed != nil && m.ready == nil {
		return nil, errors.New("audithttp: FailClosed needs a recorder with a method Ready")
	}
	m.cfg.ProxyHeader = http.CanonicalHeaderKey(cmp.Or(cfg.ProxyHeader, forwardedFor))
	if m.cfg.ProxyHeader != forwardedFor && m.cfg.ProxyHeader != forwarded {
		return nil, fmt.Errorf("audithttp: ProxyHeader %q: want %s or %s", cfg.ProxyHeader, forwardedFor, forwarded)
	}

	m.cfg.RequestID = http.CanonicalHeaderKey(cmp.Or(cfg.RequestID, "X-Request-Id"))
	if cfg.Record == nil {
		m.cfg.Record = isUnsafe
	}
	if cfg.Clock == nil {
		m.cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		m.cfg.Logger = slog.Default()
	}
	return m.wrap, nil
}

// isUnsafe reports whether a request's method is not a safe one (RFC 9110,
// Section 9.2.1).
func isUnsafe(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return false
	}
	return true
}

type middleware struct {
	rec   attestlog.Recorder
	ready Readier // rec, or nil if that is not a Readier
	cfg   Config
}

func (m *middleware) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !m.cfg.Record(r) {
			next.ServeHTTP(w, r)
			return
		}

		if m.cfg.FailClosed != nil && m.cfg.FailClosed(r) {
			err := m.ready.Ready(r.Context())
			if err != nil {
				m.refuse(w, r, err)
				return
			}
		}
		m.serve(w, r, next)
	})
}

// refuse answers a request that must not be served unrecorded.
func (m *middleware) refuse(w http.ResponseWriter, r *http.Request, err error) {
	m.cfg.Logger.Error("audithttp: a request was refused because it cannot be recorded",
		"method", r.Method, "path", r.URL.Path, "err", err)
	w.Header().Set("Retry-After", "5")
	http.Error(w, "the audit log is unavailable", http.StatusServiceUnavailable)
}

// serve has the handler answer a request, and records it.
func (m *middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	x := &exchange{Context: r.Context(), answer: writer{ResponseWriter: w}}
	began := m.cfg.Clock()
	x.draft.Edit(func(e *attestlog.Event) { m.addRequest(e, r, began) })

	r = r.WithContext(x)
	returned := false
	defer func() { // a handler that panics is recorded too
		x.draft.Edit(func(e *attestlog.Event) { addAnswer(e, &x.answer, !returned) })
		m.record(x, r, began)
	}()
	next.ServeHTTP(x.answer.wrapped(), r)
	returned = true
}

// An exchange is a request that is being answered. It is the context of the
// handler as well, which saves an allocation.
type exchange struct {
	context.Context
	draft  auditdraft.Draft
	answer writer // owned by the handler until it returns
}

type draftKey struct{}

func (x *exchange) Value(key any) any {
	if key == (draftKey{}) {
		return &x.draft
	}
	return x.Context.Value(key)
}

// A detached exchange is its context without the request's end, since the client
// may be gone when the event is recorded. It is context.WithoutCancel without an
// allocation.
type detached exchange

func (d *detached) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }
func (d *detached) Done() <-chan struct{}                   { return nil }
func (d *detached) Err() error                              { return nil }

// addRequest fills in what is known before the handler runs.
func (m *middleware) addRequest(e *attestlog.Event, r *http.Request, began time.Time) {
	e.Time = began
	e.Service = m.cfg.Service
	e.Actor = attestlog.Actor{ID: "anonymous", Type: "anonymous"}
	if m.cfg.Actor != nil {
		actor := m.cfg.Actor(r)
		if actor.ID != "" {
			e.Actor = actor
		}
	}
	if m.cfg.Tenant != nil {
		e.Tenant = m.cfg.Tenant(r)
	}

	hops := r.Header[m.cfg.ProxyHeader]
	e.Source.IP, e.Source.Host = ClientAddress(r.RemoteAddr, hops, m.cfg.TrustedProxies, m.cfg.ProxyHeader)
	e.Source.UserAgent = r.UserAgent()

	e.Operation = operations[r.Method]
	e.Request.ID = first(r.Header[m.cfg.RequestID])
	e.Request.Method = r.Method
	e.Request.Path = r.URL.Path
	e.Trace = TraceOf(first(r.Header["Traceparent"]))
}

var operations = map[string]string{
	http.MethodGet:    "read",
	http.MethodHead:   "read",
	http.MethodPost:   "create",
	http.MethodPut:    "update",
	http.MethodPatch:  "update",
	http.MethodDelete: "delete",
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// addAnswer fills in how the request was answered. A handler that set an outcome
// knows better than the status does.
func addAnswer(e *attestlog.Event, answer *writer, panicked bool) {
	e.Request.Status = answer.status
	if answer.status == 0 { // the handler wrote nothing
		switch {
		case answer.hijacked:
			e.Request.Status = http.StatusSwitchingProtocols
		case panicked:
			e.Request.Status = http.StatusInternalServerError
		default:
			e.Request.Status = http.StatusOK
		}
	}

	if e.Outcome != "" {
		return
	}
	switch {
	case panicked:
		e.Outcome = attestlog.Failure
		e.Reason = cmp.Or(e.Reason, "the handler panicked")
	case e.Request.Status >= 400:
		e.Outcome = attestlog.Failure
		e.Reason = cmp.Or(e.Reason, http.StatusText(e.Request.Status))
	default:
		e.Outcome = attestlog.Success
	}
}

// record records the event, unless the handler vetoed it.
func (m *middleware) record(x *exchange, r *http.Request, began time.Time) {
	e, ok := x.draft.End()
	if !ok {
		return
	}

	e.Request.DurationUS = max(0, m.cfg.Clock().Sub(began).Microseconds())

	// What the handler has set with Edit stays.
	if e.Request.Route == "" {
		e.Request.Route = m.routeOf(r)
	}
	if e.Action == "" {
		e.Action = m.actionOf(r)
	}
	if e.Module == "" && m.cfg.Module != nil {
		e.Module = m.cfg.Module(r)
	}

	err := fit.Record((*detached)(x), m.rec, e)
	if err != nil {
		m.cfg.Logger.Error("audithttp: a request could not be recorded", "err", err,
			"action", e.Action, "actor", e.Actor.ID,
			"method", e.Request.Method, "path", e.Request.Path, "status", e.Request.Status, "time", e.Time)
	}
}

func (m *middleware) routeOf(r *http.Request) string {
	if m.cfg.Route != nil {
		return m.cfg.Route(r)
	}
	return r.Pattern
}

func (m *middleware) actionOf(r *http.Request) string {
	if m.cfg.Action != nil {
		return m.cfg.Action(r)
	}
	if action := actions[r.Method]; action != "" {
		return action
	}
	return "http." + strings.ToLower(r.Method)
}

// actions has the actions of the usual methods, so that they are not put together
// for each request.
var actions = map[string]string{
	http.MethodGet:    "http.get",
	http.MethodPost:   "http.post",
	http.MethodPut:    "http.put",
	http.MethodPatch:  "http.patch",
	http.MethodDelete: "http.delete",
}

// Edit calls fn with the event of the request that a context belongs to, so
// that a handler can add targets, changes and attributes, or say who the actor
// is. It reports whether it did: there is no event if the request is not recorded,
// and none after the handler has returned. Edit is safe for concurrent use; fn must
// not keep the event, nor anything in it.
func Edit(ctx context.Context, fn func(*attestlog.Event)) bool {
	return auditdraft.Of(ctx, draftKey{}).Edit(fn)
}

// AddTargets adds what the request was done to. It reports whether it did, as Edit
// does.
func AddTargets(ctx context.Context, targets ...attestlog.Target) bool {
	return auditdraft.Of(ctx, draftKey{}).AddTargets(targets...)
}

// AddChanges adds what the request changed, such as diff.Changes returns. It
// reports whether it did, as Edit does.
func AddChanges(ctx context.Context, changes ...attestlog.Change) bool {
	return auditdraft.Of(ctx, draftKey{}).AddChanges(changes...)
}

// Veto leaves the request's event out. It reports whether it did, as Edit does.
func Veto(ctx context.Context) bool {
	return auditdraft.Of(ctx, draftKey{}).Veto()
}
