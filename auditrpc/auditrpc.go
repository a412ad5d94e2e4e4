// Package auditrpc has the parts that the interceptors of packages auditgrpc and
// auditconnect share: their configuration, and how a handler adds to its event.
//
// A call becomes this event when its handler returns:
//
//	{"action":"mail.v1.MailService.Delete","outcome":"failure","reason":"permission_denied",
//	 "actor":{"id":"alice"},"source":{"ip":"192.0.2.7","user_agent":"…"},
//	 "request":{"path":"/mail.v1.MailService/Delete","status":7,"duration_us":812},
//	 "trace":{"trace_id":"…","span_id":"…"},"time":"…"}
//
// The status is the RPC's code, 0 to 16, as gRPC and Connect number them.
package auditrpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/audithttp"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/auditdraft"
)

// A Call is an RPC that has arrived.
type Call struct {
	Procedure string // such as "/mail.v1.MailService/Delete"
	Peer      string // the address of the connection
	// Header returns the values of a request header or of metadata.
	Header func(name string) []string
}

// Config configures an Auditor. The zero Config is useful.
type Config struct {
	// Actor returns who makes a call; it is called before the handler. An actor
	// without an ID is "anonymous". Defaults to "anonymous".
	Actor func(context.Context, Call) attestlog.Actor
	// Tenant returns whose call it is. Defaults to none.
	Tenant func(context.Context, Call) string
	// Service names the program. Defaults to none.
	Service string
	// Record says which calls are recorded. Defaults to all except health checks
	// and reflection, gRPC's standard services.
	Record func(Call) bool
	// Action names what a call does. Defaults to the procedure with dots.
	Action func(Call) string
	// FailClosed says which calls are refused, as unavailable and before their
	// handler runs, while the log cannot take events. It needs a recorder that
	// is an audithttp.Readier. Defaults to none.
	FailClosed func(Call) bool
	// TrustedProxies and ProxyHeader are those of audithttp.Config.
	TrustedProxies []netip.Prefix
	ProxyHeader    string
	// Logger receives the calls that could not be recorded: who did what, without
	// the content. Defaults to slog.Default().
	Logger *slog.Logger
	// Clock returns the current time. Defaults to time.Now.
	Clock func() time.Time
}

// ErrUnavailable is returned by Begin for a call that must not run unrecorded.
var ErrUnavailable = errors.New("the audit log is unavailable")

// An Auditor records calls. It is safe for concurrent use.
type Auditor struct {
	rec   attestlog.Recorder
	ready audithttp.Readier // rec, or nil if that is not a Readier
	cfg   Config
}

// New returns an Auditor that records with rec, an attestlog.Log.
func New(rec attestlog.Recorder, cfg Config) (*Auditor, error) {
	a := &Auditor{rec: rec, cfg: cfg}
	a.ready, _ = rec.(audithttp.Readier)
	if cfg.FailClosed != nil && a.ready == nil {
		return nil, errors.New("auditrpc: FailClosed needs a recorder with a method Ready")
	}

	// In the form in which ClientAddress compares the name.
	switch strings.ToLower(cfg.ProxyHeader) {
	case "", "x-forwarded-for":
		a.cfg.ProxyHeader = "X-Forwarded-For"
	case "forwarded":
		a.cfg.ProxyHeader = "Forwarded"
	default:
		return nil, fmt.Errorf("auditrpc: ProxyHeader %q: want X-Forwarded-For or Forwarded", cfg.ProxyHeader)
	}

	if cfg.Record == nil {
		a.cfg.Record = isOfProgram
	}
	if cfg.Action == nil {
		a.cfg.Action = actionOf
	}
	if cfg.Logger == nil {
		a.cfg.Logger = slog.Default()
	}
	if cfg.Clock == nil {
		a.cfg.Clock = time.Now
	}
	return a, nil
}

// isOfProgram reports whether a call is for a service of the program, and not for
// one of gRPC's own.
func isOfProgram(c Call) bool {
	return !strings.HasPrefix(c.Procedure, "/grpc.health.") && !strings.HasPrefix(c.Procedure, "/grpc.reflection.")
}

func actionOf(c Call) string {
	return strings.ReplaceAll(strings.TrimPrefix(c.Procedure, "/"), "/", ".")
}

// A Draft is the event of a call that is being answered.
type Draft struct {
	auditor *Auditor
	began   time.Time
	event   auditdraft.Draft
}

type draftKey struct{}

// Begin starts a call's event. It returns the context for the call's handler, and
// a nil Draft if the call is not recorded. The error is ErrUnavailable.
func (a *Auditor) Begin(ctx context.Context, c Call) (context.Context, *Draft, error) {
	if !a.cfg.Record(c) {
		return ctx, nil, nil
	}
	if a.cfg.FailClosed != nil && a.cfg.FailClosed(c) {
		err := a.ready.Ready(ctx)
		if err != nil {
			a.cfg.Logger.Error("auditrpc: a call was refused because it cannot be recorded", "procedure", c.Procedure, "err", err)
			return ctx, nil, ErrUnavailable
		}
	}

	d := &Draft{auditor: a, began: a.cfg.Clock()}
	d.event.Edit(func(e *attestlog.Event) {
		e.Time = d.began
		a.addCall(ctx, e, c)
	})
	return context.WithValue(ctx, draftKey{}, &d.event), d, nil
}

// addCall fills in what is known before the handler runs.
func (a *Auditor) addCall(ctx context.Context, e *attestlog.Event, c Call) {
	e.Service = a.cfg.Service
	e.Action = a.cfg.Action(c)
	e.Actor = attestlog.Actor{ID: "anonymous", Type: "anonymous"}
	if a.cfg.Actor != nil {
		actor := a.cfg.Actor(ctx, c)
		if actor.ID != "" {
			e.Actor = actor
		}
	}
	if a.cfg.Tenant != nil {
		e.Tenant = a.cfg.Tenant(ctx, c)
	}

	hops := c.Header(a.cfg.ProxyHeader)
	e.Source.IP, e.Source.Host = audithttp.ClientAddress(c.Peer, hops, a.cfg.TrustedProxies, a.cfg.ProxyHeader)
	e.Source.UserAgent = first(c.Header("User-Agent"))

	e.Request.ID = first(c.Header("X-Request-Id"))
	e.Request.Path = c.Procedure
	e.Trace = audithttp.TraceOf(first(c.Header("Traceparent")))
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// codes are the names of the RPC codes, as Connect writes them.
var codes = [...]string{
	"", "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
	"permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented",
	"internal", "unavailable", "data_loss", "unauthenticated",
}

// internalCode is the code of a handler that panicked.
const internalCode = 13

// End records the event of a call that was answered with a code, 0 for success.
// An outcome that the handler set stays. End does nothing on a nil Draft.
func (d *Draft) End(ctx context.Context, code int, panicked bool) {
	if d == nil {
		return
	}

	e, ok := d.event.End()
	if !ok {
		return
	}

	if panicked {
		code = internalCode
	}
	e.Request.Status = code
	e.Request.DurationUS = max(0, d.auditor.cfg.Clock().Sub(d.began).Microseconds())
	if e.Outcome == "" && code == 0 {
		e.Outcome = attestlog.Success
	}
	if e.Outcome == "" {
		e.Outcome = attestlog.Failure
		e.Reason = cmp.Or(e.Reason, reasonOf(code, panicked))
	}

	// The client may be gone, and ctx with it.
	err := fit.Record(context.WithoutCancel(ctx), d.auditor.rec, e)
	if err != nil {
		d.auditor.cfg.Logger.Error("auditrpc: a call could not be recorded", "err", err,
			"action", e.Action, "actor", e.Actor.ID, "procedure", e.Request.Path, "code", code, "time", e.Time)
	}
}

func reasonOf(code int, panicked bool) string {
	switch {
	case panicked:
		return "the handler panicked"
	case code > 0 && code < len(codes):
		return codes[code]
	}
	return ""
}

// Edit calls fn with the event of the call that a context belongs to, so that a
// handler can add targets, changes and attributes, or say who the actor is. It
// reports whether it did: there is no event if the call is not recorded, and none
// after the handler has returned. Edit is safe for concurrent use; fn must not keep
// the event, nor anything in it.
func Edit(ctx context.Context, fn func(*attestlog.Event)) bool {
	return auditdraft.Of(ctx, draftKey{}).Edit(fn)
}

// AddTargets adds what the call was done to. It reports whether it did, as Edit
// does.
func AddTargets(ctx context.Context, targets ...attestlog.Target) bool {
	return auditdraft.Of(ctx, draftKey{}).AddTargets(targets...)
}

// Veto leaves the call's event out. It reports whether it did, as Edit does.
func Veto(ctx context.Context) bool {
	return auditdraft.Of(ctx, draftKey{}).Veto()
}
