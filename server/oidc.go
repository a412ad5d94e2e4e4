package server

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/attestlog/attestlog"
)

// OIDC lets people sign in with an OpenID Connect provider. What they may do
// comes from a claim: see Roles.
type OIDC struct {
	// Issuer is the provider's URL. Required, as are the client's id and secret.
	Issuer       string
	ClientID     string
	ClientSecret string
	// URL is where people reach the server, without a path. The provider has to
	// know URL + "/auth/callback". Required.
	URL string
	// Roles give scopes to the values of RoleClaim. Who has none of them may not
	// sign in. Required.
	Roles map[string][]string
	// RoleClaim is the claim that Roles is about: a text or a list of texts.
	// Defaults to "groups".
	RoleClaim string
	// TenantClaim is a claim whose value limits people to one tenant: who lacks it
	// may not sign in. Defaults to no limit.
	TenantClaim string
	// Scopes are asked for beside openid. Default to profile, email and groups.
	Scopes []string
	// Lasts is how long a sign-in lasts. Defaults to eight hours.
	Lasts time.Duration
	// Key seals the cookies, 32 bytes: the same for all servers behind one name.
	// Defaults to one of this process, so that a restart signs everybody out.
	Key []byte
}

const (
	sessionCookie = "attestlog_session"
	signInCookie  = "attestlog_sign_in"
	signInLasts   = 10 * time.Minute
	sessionLasts  = 8 * time.Hour

	providerLasts = 10 * time.Minute // what the provider said of itself
	providerWait  = 5 * time.Second
	maxProvider   = 1 << 20 // bytes of an answer
)

// people signs people in.
type people struct {
	s      *Server
	cfg    OIDC
	aead   cipher.AEAD
	secure bool // over https alone

	mu    sync.Mutex
	known *oidc.Provider
	asked time.Time

	failure error // of the last asking
	failed  time.Time
}

func newPeople(s *Server, cfg OIDC) (*people, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case cfg.Issuer == "" || cfg.ClientID == "" || cfg.ClientSecret == "":
		return nil, errors.New("server: OIDC needs an issuer, a client id and a client secret")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("server: OIDC: %q is not the URL that people reach the server at", cfg.URL)
	case len(cfg.Roles) == 0:
		return nil, errors.New("server: OIDC needs roles: who may do what")
	}
	for role, scopes := range cfg.Roles {
		for _, scope := range scopes {
			if !slices.Contains(Scopes, scope) {
				return nil, fmt.Errorf("server: OIDC: role %q: there is no scope %q", role, scope)
			}
		}
	}
	cfg.URL = (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
	if cfg.RoleClaim == "" {
		cfg.RoleClaim = "groups"
	}
	if cfg.Scopes == nil {
		cfg.Scopes = []string{"profile", "email", "groups"}
	}
	if cfg.Lasts <= 0 {
		cfg.Lasts = sessionLasts
	}
	if cfg.Key == nil {
		cfg.Key = make([]byte, 32)
		rand.Read(cfg.Key)
	}
	block, err := aes.NewCipher(cfg.Key)
	if err != nil || len(cfg.Key) != 32 {
		return nil, errors.New("server: OIDC: the key is not 32 bytes long")
	}
	p := &people{s: s, cfg: cfg, secure: u.Scheme == "https"}
	p.aead, err = cipher.NewGCM(block)
	return p, err
}

// context has requests to the provider made by a client that neither waits nor
// reads for long.
func (p *people) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, &http.Client{Timeout: providerWait, Transport: limited{http.DefaultTransport}})
}

// limited bounds the answers that are read.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxProvider), resp.Body}
	}
	return resp, err
}

// routes adds the ways in and out.
func (p *people) routes(mux *router) {
	mux.HandleFunc("GET /auth/login", p.login)
	mux.HandleFunc("GET /auth/callback", p.callback)
	mux.HandleFunc("POST /auth/logout", p.logout)
}

// provider asks the provider what it is, now and then when somebody signs in: the
// server has to start without it.
func (p *people) provider() (*oidc.Provider, *oauth2.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock() // one at a time asks a provider that hangs
	if now := p.s.cfg.Clock(); p.known == nil || now.Sub(p.asked) > providerLasts {
		if p.failure != nil && now.Sub(p.failed) < providerWait {
			return nil, nil, p.failure // or who waits would ask in turn
		}
		provider, err := oidc.NewProvider(p.context(context.Background()), p.cfg.Issuer)
		if p.failure = err; err != nil {
			p.failed = p.s.cfg.Clock()
			return nil, nil, err
		}
		p.known, p.asked = provider, now
	}
	provider := p.known
	return provider, &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: provider.Endpoint(), RedirectURL: p.cfg.URL + "/auth/callback",
		Scopes: append([]string{oidc.ScopeOpenID}, p.cfg.Scopes...),
	}, nil
}

// A signIn is what the browser keeps while somebody is at the provider.
type signIn struct {
	State, Nonce, Verifier, To string
	Until                      time.Time
}

func (p *people) login(w http.ResponseWriter, r *http.Request) {
	_, cfg, err := p.provider()
	if err != nil {
		p.fail(w, r, http.StatusBadGateway, "the provider cannot be reached", err)
		return
	}
	in := signIn{State: randomText(), Nonce: randomText(), Verifier: oauth2.GenerateVerifier(), To: localPath(r.URL.Query().Get("to")), Until: p.s.cfg.Clock().Add(signInLasts)}
	if err := p.set(w, signInCookie, in, signInLasts); err != nil {
		p.fail(w, r, http.StatusInternalServerError, "signing in failed", err)
		return
	}
	http.Redirect(w, r, cfg.AuthCodeURL(in.State, oidc.Nonce(in.Nonce), oauth2.S256ChallengeOption(in.Verifier)), http.StatusSeeOther)
}

// localPath is a path of this server, and never another's.
func localPath(to string) string {
	if u, err := url.Parse(to); err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n") {
		return "/docs"
	}
	return to
}

func (p *people) callback(w http.ResponseWriter, r *http.Request) {
	var in signIn
	err := p.get(r, signInCookie, &in)
	p.drop(w, signInCookie)
	switch {
	case err != nil || p.s.cfg.Clock().After(in.Until):
		p.fail(w, r, http.StatusBadRequest, "the sign-in took too long, or began in another browser: begin again at /auth/login", err)
		return
	case r.URL.Query().Get("state") != in.State || in.State == "":
		p.fail(w, r, http.StatusBadRequest, "this is the answer to another sign-in: begin again at /auth/login", nil)
		return
	case r.URL.Query().Get("error") != "":
		p.fail(w, r, http.StatusForbidden, "the provider refuses: "+cutText(r.URL.Query().Get("error"), 200), nil)
		return
	}
	claims, err := p.claims(r, &in)
	if err != nil {
		p.fail(w, r, http.StatusForbidden, "the provider's answer is not accepted", err)
		return
	}
	who, err := p.who(claims)
	if err != nil {
		p.fail(w, r, http.StatusForbidden, err.Error(), nil)
		return
	}
	who.Until = p.s.cfg.Clock().Add(p.cfg.Lasts)
	if err := p.set(w, sessionCookie, who, p.cfg.Lasts); err != nil {
		p.fail(w, r, http.StatusInternalServerError, "signing in failed", err)
		return
	}
	p.note(r, who, "auth.login", "login", attestlog.Success, "")
	http.Redirect(w, r, in.To, http.StatusSeeOther)
}

// claims exchanges the code for an ID token, and checks it.
func (p *people) claims(r *http.Request, in *signIn) (map[string]any, error) {
	ctx := p.context(r.Context())
	provider, cfg, err := p.provider()
	if err != nil {
		return nil, err
	}
	got, err := cfg.Exchange(ctx, r.URL.Query().Get("code"), oauth2.VerifierOption(in.Verifier))
	if err != nil {
		return nil, err
	}
	raw, _ := got.Extra("id_token").(string)
	token, err := provider.Verifier(&oidc.Config{ClientID: p.cfg.ClientID, Now: p.s.cfg.Clock}).Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if token.Nonce != in.Nonce {
		return nil, errors.New("the ID token has another nonce")
	}
	claims := map[string]any{}
	return claims, token.Claims(&claims)
}

// A session is somebody who has signed in.
type session struct {
	Subject, Name, Tenant string
	Scopes                []string
	Until                 time.Time
}

// who turns claims into what somebody may do.
func (p *people) who(claims map[string]any) (session, error) {
	var out session
	out.Subject, _ = claims["sub"].(string)
	for _, claim := range []string{"email", "preferred_username", "name"} {
		if name, _ := claims[claim].(string); out.Name == "" {
			out.Name = name
		}
	}
	var roles []any
	switch v := claims[p.cfg.RoleClaim].(type) {
	case []any:
		roles = v
	case string:
		roles = []any{v}
	}
	for _, role := range roles {
		name, _ := role.(string)
		for _, scope := range p.cfg.Roles[name] {
			if !slices.Contains(out.Scopes, scope) {
				out.Scopes = append(out.Scopes, scope)
			}
		}
	}
	if out.Subject == "" || len(out.Scopes) == 0 {
		return out, errors.New("you have no role that may use this log")
	}
	if p.cfg.TenantClaim != "" {
		if out.Tenant, _ = claims[p.cfg.TenantClaim].(string); out.Tenant == "" {
			return out, errors.New("you belong to no tenant")
		}
		if slices.Contains(out.Scopes, ScopeAdmin) {
			out.Scopes = []string{ScopeAppend, ScopeRead} // what there is to do within a tenant
		}
		out.Scopes = slices.DeleteFunc(out.Scopes, func(scope string) bool { return scope != ScopeRead && scope != ScopeAppend })
	}
	return out, nil
}

func (p *people) logout(w http.ResponseWriter, r *http.Request) {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		writeProblem(w, problem(http.StatusForbidden, "the request comes from another site: "+err.Error()))
		return
	}
	if who, ok := p.session(r); ok {
		p.note(r, who, "auth.logout", "logout", attestlog.Success, "")
	}
	p.drop(w, sessionCookie)
	w.WriteHeader(http.StatusNoContent)
}

// session returns who makes a request, by its cookie.
func (p *people) session(r *http.Request) (session, bool) {
	var who session
	err := p.get(r, sessionCookie, &who)
	return who, err == nil && who.Subject != "" && p.s.cfg.Clock().Before(who.Until)
}

// token is what somebody who has signed in may do, as a token says it.
func (s session) token() *Token {
	return &Token{ID: s.Subject, Note: s.Name, Scopes: s.Scopes, Tenant: s.Tenant}
}

func (s session) actor() attestlog.Actor {
	return attestlog.Actor{ID: "user/" + s.Subject, Type: "user", Name: s.Name}
}

// note records a sign-in in the default log.
func (p *people) note(r *http.Request, who session, action, operation string, outcome attestlog.Outcome, reason string) {
	req := requestOf(r.Context())
	actor := who.actor()
	if who.Subject == "" {
		actor = attestlog.Actor{ID: "anonymous", Type: "anonymous"}
	}
	err := p.s.first.access.Record(r.Context(), attestlog.Event{
		Tenant: who.Tenant, Service: "attestlog", Module: "server", Action: action, Operation: operation, Outcome: outcome, Reason: reason, Actor: actor,
		Source: req.from, Request: attestlog.Request{ID: req.id},
	})
	if err != nil {
		p.s.cfg.Logger.Warn("server: a sign-in is not recorded in the log", "request", req.id, "err", err)
	}
}

func (p *people) fail(w http.ResponseWriter, r *http.Request, status int, detail string, err error) {
	req := requestOf(r.Context())
	p.s.cfg.Logger.Warn("server: a sign-in failed", "request", req.id, "detail", detail, "err", err)
	p.note(r, session{}, "auth.login", "login", attestlog.Failure, detail)
	writeProblem(w, problem(status, detail))
}

func randomText() string {
	var b [24]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
