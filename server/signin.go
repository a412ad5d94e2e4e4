package server

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

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
	// Roles give scopes to the values of RoleClaim. Somebody who has none of them
	// may not sign in. Required.
	Roles map[string][]string
	// RoleClaim is the claim that Roles is about: a text or a list of texts.
	// Defaults to "groups".
	RoleClaim string
	// TenantClaim is a claim whose value limits people to one tenant; somebody who
	// lacks it may not sign in. Defaults to no limit.
	TenantClaim string
	// Scopes are asked for in addition to openid. Default to profile, email and
	// groups.
	Scopes []string
	// Lasts is how long a sign-in lasts. Defaults to eight hours.
	Lasts time.Duration
	// Key seals the cookies, 32 bytes: the same for all servers that share a name.
	// Defaults to a random one, so that a restart signs everybody out.
	Key []byte
}

const (
	sessionCookie = "attestlog_session"
	pendingCookie = "attestlog_sign_in"
	pendingLasts  = 10 * time.Minute // at the provider
	defaultLasts  = 8 * time.Hour

	callbackPath  = "/auth/callback"
	afterSignIn   = "/docs" // for people who did not come from a page of the server
	maxOAuthError = 200     // bytes
)

// signIn signs people in and out, and knows them by a cookie between the two. The
// server keeps no sessions.
type signIn struct {
	cfg      OIDC
	provider *oidcProvider
	cookies  *sealedCookies
	recorder attestlog.Recorder // takes sign-ins as events
	clock    func() time.Time
	logger   *slog.Logger
}

// A pendingSignIn is kept by the browser while somebody is at the provider.
type pendingSignIn struct {
	State, Nonce, Verifier string
	To                     string // the path to go to afterwards
	Until                  time.Time
}

// A session is somebody who has signed in. The browser keeps it.
type session struct {
	Subject, Name string
	Tenant        string // empty for all tenants
	Scopes        []string
	Until         time.Time
}

func newSignIn(cfg OIDC, recorder attestlog.Recorder, clock func() time.Time, logger *slog.Logger) (*signIn, error) {
	err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("server: OIDC: %w", err)
	}

	u, err := url.Parse(cfg.URL)
	isWeb := err == nil && (u.Scheme == "http" || u.Scheme == "https")
	if !isWeb || u.Host == "" {
		return nil, fmt.Errorf("server: OIDC: %q is not the URL that people reach the server at", cfg.URL)
	}

	// The provider compares the callback's URL letter by letter with the one that it
	// knows, so not even a slash at the end may stay.
	cfg.URL = (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()

	cfg.setDefaults()
	cookies, err := newSealedCookies(cfg.Key, u.Scheme == "https")
	if err != nil {
		return nil, fmt.Errorf("server: OIDC: %w", err)
	}

	return &signIn{
		cfg:      cfg,
		provider: newOIDCProvider(cfg, clock),
		cookies:  cookies,
		recorder: recorder,
		clock:    clock,
		logger:   logger,
	}, nil
}

func (cfg *OIDC) check() error {
	if cfg.Issuer == "" || cfg.ClientID == "" || cfg.ClientSecret == "" {
		return errors.New("an issuer, a client id and a client secret are needed")
	}
	if len(cfg.Roles) == 0 {
		return errors.New("roles are needed: who may do what")
	}
	for role, scopes := range cfg.Roles {
		for _, scope := range scopes {
			if !slices.Contains(Scopes, scope) {
				return fmt.Errorf("role %q: there is no scope %q", role, scope)
			}
		}
	}
	return nil
}

func (cfg *OIDC) setDefaults() {
	if cfg.RoleClaim == "" {
		cfg.RoleClaim = "groups"
	}
	if cfg.Scopes == nil {
		cfg.Scopes = []string{"profile", "email", "groups"}
	}
	if cfg.Lasts <= 0 {
		cfg.Lasts = defaultLasts
	}
	if cfg.Key == nil {
		cfg.Key = make([]byte, cookieKeySize)
		rand.Read(cfg.Key)
	}
}

// login sends the browser to the provider.
func (s *signIn) login(w http.ResponseWriter, r *http.Request) {
	in := pendingSignIn{
		State:    randomText(),
		Nonce:    randomText(),
		Verifier: oauth2.GenerateVerifier(),
		To:       localPath(r.URL.Query().Get("to")),
		Until:    s.clock().Add(pendingLasts),
	}
	target, err := s.provider.signInURL(&in)
	if err != nil {
		s.refuse(w, r, http.StatusBadGateway, "the provider cannot be reached", err)
		return
	}

	err = s.cookies.set(w, pendingCookie, in, pendingLasts)
	if err != nil {
		s.refuse(w, r, http.StatusInternalServerError, "signing in failed", err)
		return
	}
	http.Redirect(w, r, target, http.StatusSeeOther)
}

// localPath returns a path of this server: the given one unless it leads
// elsewhere.
func localPath(to string) string {
	u, err := url.Parse(to)
	elsewhere := err != nil || u.IsAbs() || u.Host != ""

	// Browsers read //host and /\host as another host.
	tricky := strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n")

	if elsewhere || tricky || !strings.HasPrefix(to, "/") {
		return afterSignIn
	}
	return to
}

// callback takes the browser back from the provider.
func (s *signIn) callback(w http.ResponseWriter, r *http.Request) {
	var in pendingSignIn
	err := s.cookies.get(r, pendingCookie, &in)
	s.cookies.drop(w, pendingCookie)

	// Anyone can send a browser here. The state shows that this browser began the
	// sign-in, so nothing else in the parameters is believed before it was compared.
	params := r.URL.Query()
	switch {
	case err != nil || s.clock().After(in.Until):
		s.refuse(w, r, http.StatusBadRequest,
			"the sign-in took too long, or began in another browser: begin again at /auth/login", err)
		return
	case in.State == "" || params.Get("state") != in.State:
		s.refuse(w, r, http.StatusBadRequest,
			"this is the answer to another sign-in: begin again at /auth/login", nil)
		return
	case params.Get("error") != "":
		s.refuse(w, r, http.StatusForbidden,
			"the provider refuses: "+cutText(params.Get("error"), maxOAuthError), nil)
		return
	}

	claims, err := s.provider.claims(r.Context(), params.Get("code"), &in)
	if err != nil {
		s.refuse(w, r, http.StatusForbidden, "the provider's answer is not accepted", err)
		return
	}
	who, err := s.sessionOf(claims)
	if err != nil {
		s.refuse(w, r, http.StatusForbidden, err.Error(), nil)
		return
	}

	who.Until = s.clock().Add(s.cfg.Lasts)
	err = s.cookies.set(w, sessionCookie, who, s.cfg.Lasts)
	if err != nil {
		s.refuse(w, r, http.StatusInternalServerError, "signing in failed", err)
		return
	}
	s.record(r, who, "auth.login", "login", attestlog.Success, "")
	http.Redirect(w, r, in.To, http.StatusSeeOther)
}

// sessionOf returns the session of somebody with these claims, without its Until.
// An error is for them to read.
func (s *signIn) sessionOf(claims map[string]any) (session, error) {
	var who session
	who.Subject, _ = claims["sub"].(string)
	for _, claim := range []string{"email", "preferred_username", "name"} {
		name, _ := claims[claim].(string)
		if who.Name == "" {
			who.Name = name
		}
	}

	who.Scopes = s.scopesOf(claims)
	if who.Subject == "" || len(who.Scopes) == 0 {
		return who, errors.New("you have no role that may use this log")
	}
	if s.cfg.TenantClaim == "" {
		return who, nil
	}

	who.Tenant, _ = claims[s.cfg.TenantClaim].(string)
	if who.Tenant == "" {
		return who, errors.New("you belong to no tenant")
	}
	who.Scopes = scopesWithinTenant(who.Scopes)
	return who, nil
}

// scopesOf returns the scopes of all roles that the claims name.
func (s *signIn) scopesOf(claims map[string]any) []string {
	var roles []any
	switch claim := claims[s.cfg.RoleClaim].(type) {
	case []any:
		roles = claim
	case string:
		roles = []any{claim}
	}

	var scopes []string
	for _, role := range roles {
		name, _ := role.(string)
		for _, scope := range s.cfg.Roles[name] {
			if !slices.Contains(scopes, scope) {
				scopes = append(scopes, scope)
			}
		}
	}
	return scopes
}

// scopesWithinTenant returns those of scopes that do not concern the whole log.
// An admin may do all that there is to do within a tenant.
func scopesWithinTenant(scopes []string) []string {
	if slices.Contains(scopes, ScopeAdmin) {
		return []string{ScopeAppend, ScopeRead}
	}
	return slices.DeleteFunc(scopes, func(scope string) bool { return scope != ScopeRead && scope != ScopeAppend })
}

// logout has the browser forget the session.
func (s *signIn) logout(w http.ResponseWriter, r *http.Request) {
	err := http.NewCrossOriginProtection().Check(r)
	if err != nil {
		writeProblem(w, problem(http.StatusForbidden, "the request comes from another site: "+err.Error()))
		return
	}

	who, ok := s.session(r)
	if ok {
		s.record(r, who, "auth.logout", "logout", attestlog.Success, "")
	}
	s.cookies.drop(w, sessionCookie)
	w.WriteHeader(http.StatusNoContent)
}

// session returns the session of a request's cookie. ok is false if it has none
// or if that has ended.
func (s *signIn) session(r *http.Request) (who session, ok bool) {
	err := s.cookies.get(r, sessionCookie, &who)
	ok = err == nil && who.Subject != "" && s.clock().Before(who.Until)
	return who, ok
}

// token returns a token that may do the same as somebody who has signed in.
func (s session) token() *Token {
	return &Token{ID: s.Subject, Note: s.Name, Scopes: s.Scopes, Tenant: s.Tenant}
}

func (s session) actor() attestlog.Actor {
	return attestlog.Actor{ID: "user/" + s.Subject, Type: "user", Name: s.Name}
}

// refuse answers a sign-in that failed, and logs and records that. detail is for
// everybody to read; err is for the server's log alone, and may be nil.
func (s *signIn) refuse(w http.ResponseWriter, r *http.Request, status int, detail string, err error) {
	s.logger.Warn("server: a sign-in failed", "request", requestOf(r.Context()).id, "detail", detail, "err", err)
	s.record(r, session{}, "auth.login", "login", attestlog.Failure, detail)
	writeProblem(w, problem(status, detail))
}

// record records a sign-in or its end. The zero session is somebody who is not
// known.
func (s *signIn) record(r *http.Request, who session, action, operation string, outcome attestlog.Outcome, reason string) {
	actor := attestlog.Actor{ID: "anonymous", Type: "anonymous"}
	if who.Subject != "" {
		actor = who.actor()
	}

	req := requestOf(r.Context())
	err := s.recorder.Record(r.Context(), attestlog.Event{
		Tenant:    who.Tenant,
		Service:   "attestlog",
		Module:    "server",
		Action:    action,
		Operation: operation,
		Outcome:   outcome,
		Reason:    reason,
		Actor:     actor,
		Source:    req.from,
		Request:   attestlog.Request{ID: req.id},
	})
	if err != nil {
		s.logger.Warn("server: a sign-in is not recorded in the log", "request", req.id, "err", err)
	}
}

func randomText() string {
	var b [24]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
