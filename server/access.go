package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/time/rate"

	"github.com/attestlog/attestlog"
)

// A visit is a request that may use a log: it has shown a token of it, or comes
// from somebody who has signed in.
type visit struct {
	log    *attestlog.Log
	hosted *hosted
	token  *Token          // what the request may do
	actor  attestlog.Actor // who makes it
	from   attestlog.Source
	id     string // the request's

	bearer    string    // the token as it was shown; empty for a sign-in
	signedOut time.Time // when the sign-in ends

	// checked is when a long request last made sure that its token is still
	// valid: see stillValid.
	checked time.Time
}

// enter lets a request use the log with a name, or returns a problem. A log that
// does not exist is answered like a wrong token, so that nobody finds out the
// names of logs.
func (s *Server) enter(ctx context.Context, name, scope string) (*visit, error) {
	r := requestOf(ctx)
	if r.visit != nil && r.visit.hosted.name == name && r.scope == scope {
		return r.visit, nil
	}

	if who, ok := s.signedIn(r); ok {
		return s.enterSignedIn(s.logs[name], scope, who, r)
	}

	wrong, err := s.wrongTokensOf(r)
	if err != nil {
		return nil, err
	}
	v, err := s.enterWithToken(ctx, s.logs[name], scope)
	if errors.Is(err, ErrToken) {
		return nil, s.refuseToken(wrong)
	}
	return v, err
}

// enterAll is enter for all logs: it returns a visit of each log that the
// request may use, in the order of Config.Logs, or a problem if there is none.
func (s *Server) enterAll(ctx context.Context, scope string) ([]*visit, error) {
	r := requestOf(ctx)
	who, signedIn := s.signedIn(r)

	var wrong *rate.Limiter
	if !signedIn {
		var err error
		wrong, err = s.wrongTokensOf(r)
		if err != nil {
			return nil, err
		}
	}

	var visits []*visit
	refusal := ErrToken
	for _, l := range s.cfg.Logs {
		var v *visit
		var err error
		if signedIn {
			v, err = s.enterSignedIn(s.logs[l.Name], scope, who, r)
		} else {
			v, err = s.enterWithToken(ctx, s.logs[l.Name], scope)
		}

		switch {
		case err == nil:
			visits = append(visits, v)
		case !errors.Is(err, ErrToken):
			refusal = err
		}
	}

	if len(visits) > 0 {
		return visits, nil
	}
	// A token belongs to one log, and the others do not know it. So it is a wrong
	// token only if no log knows it, and then it counts once.
	if errors.Is(refusal, ErrToken) {
		return nil, s.refuseToken(wrong)
	}
	return nil, refusal
}

// enterWhole is enter for what concerns the whole log: a token that is limited to
// a tenant or an actor is refused.
func (s *Server) enterWhole(ctx context.Context, name, scope string) (*visit, error) {
	v, err := s.enter(ctx, name, scope)
	if err != nil {
		return nil, err
	}
	if v.token.Limited() {
		return nil, problem(http.StatusForbidden, "the token is limited to a part of the log, and this concerns all of it")
	}
	return v, nil
}

// enterFirst lets a request in before its body is read, so that nobody without a
// token can make the server store a body in its memory.
func (s *Server) enterFirst(scope string) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		v, err := s.enter(c.Context(), c.Param("log"), scope)
		if err != nil {
			_, w := humago.Unwrap(c)
			writeProblem(w, err)
			return
		}

		r := requestOf(c.Context())
		r.visit = v
		r.scope = scope
		next(c)
	}
}

// signedIn returns the session of a request's cookie. ok is false if it has no
// valid one, or if it shows a token, which takes precedence.
func (s *Server) signedIn(r *request) (who session, ok bool) {
	if s.signIn == nil || r.bearer != "" {
		return session{}, false
	}
	return s.signIn.session(r.http)
}

// enterSignedIn lets somebody who has signed in use h, which may be nil.
func (s *Server) enterSignedIn(h *hosted, scope string, who session, r *request) (*visit, error) {
	// A browser sends the cookie also when another site makes it send the request.
	err := http.NewCrossOriginProtection().Check(r.http)
	if err != nil {
		return nil, problem(http.StatusForbidden, "the request comes from another site: "+err.Error())
	}

	// A sign-in is good for all logs alike, so it may learn which there are.
	if h == nil {
		return nil, problem(http.StatusNotFound, "there is no such log")
	}
	t := who.token()
	if !t.May(scope) {
		return nil, problem(http.StatusForbidden, "your role lacks the scope "+scope)
	}
	return &visit{log: h.log, hosted: h, token: t, actor: who.actor(), from: r.from, id: r.id, signedOut: who.Until}, nil
}

// enterWithToken lets a request use h, which may be nil, with its token. It
// returns ErrToken if the token is not of that log, and a problem for anything
// else.
func (s *Server) enterWithToken(ctx context.Context, h *hosted, scope string) (*visit, error) {
	if h == nil {
		return nil, ErrToken
	}

	r := requestOf(ctx)
	t, err := h.keyring.find(ctx, r.bearer)
	if errors.Is(err, ErrToken) {
		return nil, err
	}
	if err != nil {
		return nil, s.problemOf(ctx, err)
	}

	// Counted only now that the secret was checked: entries name the token's id, and
	// nobody else may use up its rate.
	if s.cfg.Rate > 0 && !s.requestRates.of(t.ID).Allow() {
		return nil, huma.ErrorWithHeaders(
			problem(http.StatusTooManyRequests, "the token makes more requests than it may"),
			http.Header{"Retry-After": {strconv.Itoa(retryAfter)}},
		)
	}
	if !t.May(scope) {
		return nil, problem(http.StatusForbidden, "the token lacks the scope "+scope)
	}

	actor := attestlog.Actor{ID: "token/" + t.ID, Type: "service", Name: t.Note, OnBehalfOf: t.Actor}
	return &visit{log: h.log, hosted: h, token: t, actor: actor, from: r.from, id: r.id, bearer: r.bearer}, nil
}

// wrongTokensOf returns the limiter that counts the wrong tokens from a request's
// address. It returns a problem if the request shows no token, or if there were
// too many wrong ones: then even a valid token is refused, because the answer
// would tell that it is valid.
func (s *Server) wrongTokensOf(r *request) (*rate.Limiter, error) {
	if r.bearer == "" {
		return nil, unauthorized("a token is needed: Authorization: Bearer al_…; attestlog token create makes one")
	}

	wrong := s.wrongTokens.of(networkOf(r.from.IP))
	if wrong.Tokens() < 1 {
		return nil, problem(http.StatusTooManyRequests, "too many wrong tokens from this address; try again in a minute")
	}
	return wrong, nil
}

// refuseToken counts a wrong token, and returns the answer to it.
func (s *Server) refuseToken(wrong *rate.Limiter) error {
	wrong.Allow()
	s.metrics.tokensRefused.Inc()
	return unauthorized(ErrToken.Error())
}

// stillValid returns nil as long as the token or the sign-in that a long request
// began with is valid. It looks the token up once a second at most.
func (v *visit) stillValid(ctx context.Context, now time.Time) error {
	if v.checked.IsZero() {
		v.checked = now
	}
	if now.Sub(v.checked) < tokenLife {
		return nil
	}
	v.checked = now

	if v.bearer == "" {
		if now.After(v.signedOut) {
			return ErrToken
		}
		return nil
	}
	_, err := v.hosted.keyring.find(ctx, v.bearer)
	return err
}

// confine fills in the tenant and the actor that the token is limited to where an
// event lacks them, and returns a problem if it has others.
func (v *visit) confine(e *attestlog.Event) error {
	t := v.token
	if t.Tenant != "" {
		if e.Tenant == "" {
			e.Tenant = t.Tenant
		}
		if e.Tenant != t.Tenant {
			return refuseEvent("tenant", "the token may write for its own tenant only")
		}
	}

	if t.Actor != "" {
		if e.Actor.ID == "" {
			e.Actor.ID = t.Actor
		}
		if e.Actor.ID != t.Actor {
			return refuseEvent("actor.id", "the token may write for its own actor only")
		}
	}
	return nil
}

// refuseEvent returns a problem that is about a field of an event. Without that
// place a 403 would be about the token.
func refuseEvent(field, detail string) error {
	return huma.NewError(http.StatusForbidden, detail, &huma.ErrorDetail{Message: detail, Location: "body[0]." + field})
}

// hideConflict removes the details of a conflict from an error if the token is
// limited: they name the entry that has the id, and it may be anybody's.
func (v *visit) hideConflict(err error) error {
	if v.token.Limited() && errors.Is(err, attestlog.ErrConflict) {
		return attestlog.ErrConflict
	}
	return err
}
