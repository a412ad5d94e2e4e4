package server

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/time/rate"

	"github.com/attestlog/attestlog"
)

// tokenLife is how long a token is known without looking again: what a
// revocation by another process takes to be heard of.
const tokenLife = time.Second

// maxKnown bounds the tokens of one log that are known at a time.
const maxKnown = 10_000

// A keyring knows the tokens that were used lately.
type keyring struct {
	store TokenStore
	clock func() time.Time

	mu    sync.Mutex
	known map[string]knownToken // by id
}

type knownToken struct {
	token *Token // nil: there is none
	until time.Time
}

// find returns the token with a secret, or ErrToken.
func (k *keyring) find(ctx context.Context, text string) (*Token, error) {
	id, secret, ok := splitToken(text)
	if !ok {
		return nil, ErrToken
	}
	now := k.clock()
	k.mu.Lock()
	known, found := k.known[id]
	k.mu.Unlock()
	if !found || now.After(known.until) || known.until.Sub(now) > tokenLife {
		record, err := k.store.Token(ctx, id)
		if err != nil && !errors.Is(err, attestlog.ErrNotFound) {
			return nil, err
		}
		known = knownToken{until: now.Add(tokenLife)}
		if err == nil {
			t, err := parseToken(id, record)
			if err != nil {
				return nil, err
			}
			known.token = &t
		}
		k.learn(id, known, now)
	}
	if known.token == nil {
		return nil, ErrToken
	}
	return known.token, known.token.check(secret, now)
}

func (k *keyring) learn(id string, t knownToken, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.known) >= maxKnown {
		for id, old := range k.known {
			if now.After(old.until) {
				delete(k.known, id)
			}
		}
		if len(k.known) >= maxKnown {
			clear(k.known)
		}
	}
	k.known[id] = t
}

// limiters bound what each of many may do.
type limiters struct {
	limit rate.Limit
	burst int
	mu    *sync.Mutex
	by    map[string]*rate.Limiter
}

const (
	// How many wrong tokens an address may try.
	guessBurst = 20
	guessEvery = 6 * time.Second
	// rateSpan is the time over which a token may use its rate unevenly.
	rateSpan    = 5 * time.Second
	maxLimiters = 10_000
)

func newLimiters(limit rate.Limit, burst int) limiters {
	return limiters{limit, burst, new(sync.Mutex), map[string]*rate.Limiter{}}
}

func (g *limiters) of(name string) *rate.Limiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.by[name]
	if l == nil {
		if len(g.by) >= maxLimiters {
			for name, l := range g.by {
				if l.Tokens() >= float64(g.burst) {
					delete(g.by, name)
				}
			}
			if len(g.by) >= maxLimiters {
				clear(g.by)
			}
		}
		l = rate.NewLimiter(g.limit, g.burst)
		g.by[name] = l
	}
	return l
}

// A visit is one request that has shown a token of a log.
type visit struct {
	log   *hosted
	token *Token
	actor attestlog.Actor // who looks
	from  attestlog.Source
	id    string    // the request's
	until time.Time // when a sign-in ends

	bearer  string
	checked time.Time // when the token was last looked at, by a long request
}

type requestKey struct{}

// request is what the outermost handler knows.
type request struct {
	id     string
	bearer string
	from   attestlog.Source
	http   *http.Request

	visit *visit // what enterFirst found, for the handler
	scope string
}

// enterFirst lets a request in before its body is read, so that who has no token
// cannot make the server keep one.
func (s *Server) enterFirst(scope string) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		v, err := s.enter(c.Context(), c.Param("log"), scope)
		if err != nil {
			_, w := humago.Unwrap(c)
			writeProblem(w, err)
			return
		}
		r := requestOf(c.Context())
		r.visit, r.scope = v, scope
		next(c)
	}
}

func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// enter lets a request use a log, or returns a problem. A log that does not exist
// is answered like a wrong token.
func (s *Server) enter(ctx context.Context, name, scope string) (*visit, error) {
	r := requestOf(ctx)
	if r.visit != nil && r.visit.log.name == name && r.scope == scope {
		return r.visit, nil
	}
	if r.bearer == "" && s.people != nil {
		if who, ok := s.people.session(r.http); ok {
			return s.admit(name, scope, who, r)
		}
	}
	limiter, err := s.guessing(r)
	if err != nil {
		return nil, err
	}
	v, err := s.present(ctx, s.logs[name], scope)
	if errors.Is(err, ErrToken) {
		return nil, s.wrong(limiter)
	}
	return v, err
}

// guessing returns what counts the wrong tokens of a request's address, or why its
// token is not looked at.
func (s *Server) guessing(r *request) (*rate.Limiter, error) {
	if r.bearer == "" {
		return nil, s.unauthorized("a token is needed: Authorization: Bearer al_…; attestlog token create makes one")
	}
	limiter := s.guesses.of(guesser(r.from.IP))
	if limiter.Tokens() < 1 {
		return nil, problem(http.StatusTooManyRequests, "too many wrong tokens from this address; try again in a minute")
	}
	return limiter, nil
}

// guesser is what stands for an address: of IPv6 the network that a host has to
// itself, whose addresses it has by the billion.
func guesser(ip string) string {
	const host = 64 // bits: RFC 4291, Section 2.5.4
	if addr, err := netip.ParseAddr(ip); err == nil && addr.Is6() && !addr.Is4In6() {
		if network, err := addr.WithZone("").Prefix(host); err == nil {
			return network.String()
		}
	}
	return ip
}

func (s *Server) wrong(limiter *rate.Limiter) error {
	limiter.Allow()
	s.metrics.refused.Inc()
	return s.unauthorized(ErrToken.Error())
}

// present shows a request's token to l, which may be nil. It returns ErrToken for one
// that is not of that log, and a problem for anything else.
func (s *Server) present(ctx context.Context, l *hosted, scope string) (*visit, error) {
	if l == nil {
		return nil, ErrToken
	}
	r := requestOf(ctx)
	t, err := l.keys.find(ctx, r.bearer)
	if errors.Is(err, ErrToken) {
		return nil, err
	}
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	if s.cfg.Rate > 0 && !s.rates.of(t.ID).Allow() {
		return nil, huma.ErrorWithHeaders(problem(http.StatusTooManyRequests, "the token makes more requests than it may"), http.Header{"Retry-After": {strconv.Itoa(retryAfter)}})
	}
	if !t.May(scope) {
		return nil, problem(http.StatusForbidden, "the token lacks the scope "+scope)
	}
	actor := attestlog.Actor{ID: "token/" + t.ID, Type: "service", Name: t.Note, OnBehalfOf: t.Actor}
	return &visit{log: l, token: t, actor: actor, from: r.from, id: r.id, bearer: r.bearer}, nil
}

// admit lets somebody who has signed in use a log. Other sites cannot make a
// browser write in their name.
func (s *Server) admit(name, scope string, who session, r *request) (*visit, error) {
	if err := http.NewCrossOriginProtection().Check(r.http); err != nil {
		return nil, problem(http.StatusForbidden, "the request comes from another site: "+err.Error())
	}
	l := s.logs[name]
	if l == nil {
		return nil, problem(http.StatusNotFound, "there is no such log")
	}
	t := who.token()
	if !t.May(scope) {
		return nil, problem(http.StatusForbidden, "your role lacks the scope "+scope)
	}
	return &visit{log: l, token: t, actor: who.actor(), from: r.from, id: r.id, until: who.Until}, nil
}

// whole is enter for what concerns the whole log: a token that is limited to a
// tenant or an actor is refused.
func (s *Server) whole(ctx context.Context, name, scope string) (*visit, error) {
	v, err := s.enter(ctx, name, scope)
	if err == nil && v.token.Limited() {
		return nil, problem(http.StatusForbidden, "the token is limited to a part of the log, and this concerns all of it")
	}
	return v, err
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// still returns why a token that was valid when a long request began is no
// longer, or nil.
func (v *visit) still(ctx context.Context, now time.Time) error {
	if v.checked.IsZero() {
		v.checked = now
	}
	if now.Sub(v.checked) < tokenLife {
		return nil
	}
	v.checked = now
	if v.bearer == "" {
		if now.After(v.until) {
			return ErrToken
		}
		return nil
	}
	_, err := v.log.keys.find(ctx, v.bearer)
	return err
}

// notOwn refuses an event, and not the token: its place says so.
func notOwn(field, detail string) error {
	return huma.NewError(http.StatusForbidden, detail, &huma.ErrorDetail{Message: detail, Location: "body[0]." + field})
}

// own makes an event the token's own, or returns why it may not be written.
func (v *visit) own(e *attestlog.Event) error {
	t := v.token
	if t.Tenant != "" {
		if e.Tenant == "" {
			e.Tenant = t.Tenant
		}
		if e.Tenant != t.Tenant {
			return notOwn("tenant", "the token may write for its own tenant only")
		}
	}
	if t.Actor != "" {
		if e.Actor.ID == "" {
			e.Actor.ID = t.Actor
		}
		if e.Actor.ID != t.Actor {
			return notOwn("actor.id", "the token may write for its own actor only")
		}
	}
	return nil
}

// told returns an error without what a limited token must not know: which entry,
// of whom ever, has the id that it gave.
func (v *visit) told(err error) error {
	if v.token.Limited() && errors.Is(err, attestlog.ErrConflict) {
		return attestlog.ErrConflict
	}
	return err
}

// Sealed are the fields of what a server records about looks into a log that
// should be among the log's attestlog.Config.Sealed: a query can name people.
var Sealed = []string{"/attributes/query"}

// noted records that the log was looked into: that is an audit event too.
func (v *visit) noted(ctx context.Context, action string, operation string, attributes map[string]any) error {
	return v.log.access.Record(ctx, attestlog.Event{
		Tenant: v.token.Tenant, Service: "attestlog", Module: "server", Action: action, Operation: operation, Outcome: attestlog.Success,
		Actor:  v.actor,
		Source: v.from, Request: attestlog.Request{ID: v.id}, Attributes: attributes,
	})
}
