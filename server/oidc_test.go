package server_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/sqlite"
)

// A provider is an OpenID Connect provider that lets everybody in with its claims:
// discovery, the code flow with PKCE, and signed ID tokens.
type provider struct {
	*httptest.Server
	key    *rsa.PrivateKey
	signer jose.Signer

	mu     sync.Mutex
	claims map[string]any
	asked  map[string]url.Values // the request for each code
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{asked: map[string]url.Values{}}
	var err error
	if p.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if p.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: p.key, KeyID: "k"}}, nil); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		code := rand.Text()
		p.asked[code] = r.URL.Query()
		back := r.URL.Query().Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {r.URL.Query().Get("state")}}.Encode()
		http.Redirect(w, r, back, http.StatusFound)
	})
	mux.HandleFunc("POST /token", p.token)
	return p
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked[r.FormValue("code")]
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	id, secret, _ := r.BasicAuth()
	if asked == nil || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || id != "attestlog" || secret != "s3cret" {
		http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
		return
	}
	delete(p.asked, r.FormValue("code"))
	claims := map[string]any{
		"iss": p.URL, "aud": "attestlog", "nonce": asked.Get("nonce"), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	for name, v := range p.claims {
		claims[name] = v
	}
	token, err := jwt.Signed(p.signer).Claims(claims).Serialize()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": token})
}

// A signedService is a server that people sign in to.
type signedService struct {
	*httptest.Server
	log *attestlog.Log
	now func() time.Time
}

func serveSigned(t *testing.T, p *provider, change func(*server.OIDC)) *signedService {
	t.Helper()
	store := sqlitetest.Store(t, sqlitetest.Path(t), sqlite.Config{})
	log := testlog.New(t, store, attestlog.Config{})
	s := &signedService{log: log, now: time.Now}
	var handler http.Handler
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))

	roles := map[string][]string{"auditors": {server.ScopeRead, server.ScopeVerify}, "ops": {server.ScopeAdmin}}
	cfg := server.OIDC{Issuer: p.URL, ClientID: "attestlog", ClientSecret: "s3cret", URL: s.URL, Roles: roles}
	if change != nil {
		change(&cfg)
	}
	srv, err := server.New(server.Config{
		Logs: []server.Log{{Name: "default", Log: log, Tokens: store}}, OIDC: &cfg, Logger: testlog.Quiet,
		Clock: func() time.Time { return s.now() },
	})
	if err != nil {
		t.Fatal(err)
	}
	handler = srv
	t.Cleanup(func() {
		s.Close()
		if err := errors.Join(srv.Close(context.Background()), log.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return s
}

func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

func status(t *testing.T, c *http.Client, r *http.Request) (int, string) {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func ask(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const oneEvent = `{"action":"mail.view","actor":{"id":"alice"},"tenant":"other"}`

func TestPeopleSignIn(t *testing.T) {
	p := newProvider(t)
	p.claims = map[string]any{"sub": "u1", "email": "ann@example.com", "groups": []string{"auditors", "staff"}}
	s := serveSigned(t, p, nil)
	ann := browser(t)
	entries := s.URL + "/api/v1/logs/default/entries"
	if code, _ := status(t, ann, ask(t, "GET", entries, "")); code != http.StatusUnauthorized {
		t.Errorf("before the sign-in: %d", code)
	}
	if code, text := status(t, ann, ask(t, "GET", s.URL+"/auth/login?to=/api/v1/logs", "")); code != http.StatusOK || !strings.Contains(text, `"scopes":["read","verify"]`) {
		t.Fatalf("the sign-in ends at: %d %s", code, text)
	}
	if code, text := status(t, ann, ask(t, "POST", entries, oneEvent)); code != http.StatusForbidden {
		t.Errorf("an auditor appends: %d %s", code, text)
	}
	if err := s.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, text := status(t, ann, ask(t, "GET", entries+"?q=action:auth.login", "")); code != http.StatusOK || !strings.Contains(text, `"id":"user/u1"`) {
		t.Errorf("the sign-in is not in the log: %d %s", code, text)
	}
	other := browser(t) // a cookie that was changed is none
	u, _ := url.Parse(s.URL)
	for _, c := range ann.Jar.Cookies(u) {
		other.Jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Value: c.Value[:len(c.Value)-2] + "AA"}})
	}
	if code, _ := status(t, other, ask(t, "GET", entries, "")); code != http.StatusUnauthorized {
		t.Errorf("with a forged cookie: %d", code)
	}
	s.now = func() time.Time { return time.Now().Add(9 * time.Hour) }
	if code, _ := status(t, ann, ask(t, "GET", entries, "")); code != http.StatusUnauthorized {
		t.Errorf("after nine hours: %d", code)
	}
	s.now = time.Now
	if code, _ := status(t, ann, ask(t, "POST", s.URL+"/auth/logout", "")); code != http.StatusNoContent {
		t.Errorf("the way out: %d", code)
	}
	if code, _ := status(t, ann, ask(t, "GET", entries, "")); code != http.StatusUnauthorized {
		t.Errorf("after the way out: %d", code)
	}
}

func TestOtherSitesCannotWriteForPeople(t *testing.T) {
	p := newProvider(t)
	p.claims = map[string]any{"sub": "u1", "groups": "ops"}
	s := serveSigned(t, p, nil)
	c := browser(t)
	status(t, c, ask(t, "GET", s.URL+"/auth/login", ""))
	entries := s.URL + "/api/v1/logs/default/entries"
	if code, text := status(t, c, ask(t, "POST", entries, oneEvent)); code != http.StatusCreated {
		t.Fatalf("an admin appends: %d %s", code, text)
	}
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example.com"} {
		for _, path := range []string{entries, s.URL + "/add", s.URL + "/ingest/default/json", s.URL + "/auth/logout"} {
			r := ask(t, "POST", path, oneEvent)
			r.Header.Set(name, value)
			if code, text := status(t, c, r); code != http.StatusForbidden {
				t.Errorf("POST %s with %s: %s: %d %s", path, name, value, code, text)
			}
		}
	}
}

func TestPeopleOfATenantSeeIt(t *testing.T) {
	p := newProvider(t)
	p.claims = map[string]any{"sub": "u1", "groups": []string{"ops"}, "org": "acme"}
	s := serveSigned(t, p, func(cfg *server.OIDC) { cfg.TenantClaim = "org" })
	if _, err := s.log.Append(t.Context(), attestlog.Event{Tenant: "other", Action: "secret", Actor: attestlog.Actor{ID: "x"}},
		attestlog.Event{Tenant: "acme", Action: "own", Actor: attestlog.Actor{ID: "x"}}); err != nil {
		t.Fatal(err)
	}
	c := browser(t)
	status(t, c, ask(t, "GET", s.URL+"/auth/login", ""))
	if code, text := status(t, c, ask(t, "GET", s.URL+"/api/v1/logs/default/entries?q=action:own+OR+action:secret", "")); code != http.StatusOK || !strings.Contains(text, `"own"`) || strings.Contains(text, `"secret"`) {
		t.Errorf("what the tenant sees: %d %s", code, text)
	}
	if code, _ := status(t, c, ask(t, "POST", s.URL+"/api/v1/logs/default/verifications", "")); code != http.StatusForbidden {
		t.Errorf("a verification of the whole log: %d", code)
	}
	p.claims = map[string]any{"sub": "u2", "groups": []string{"ops"}}
	if code, text := status(t, browser(t), ask(t, "GET", s.URL+"/auth/login", "")); code != http.StatusForbidden || !strings.Contains(text, "no tenant") {
		t.Errorf("somebody without a tenant: %d %s", code, text)
	}
}

func TestSignInsThatAreNotAccepted(t *testing.T) {
	p := newProvider(t)
	s := serveSigned(t, p, nil)
	for name, claims := range map[string]map[string]any{
		"no role":        {"sub": "u1", "groups": []string{"staff"}},
		"no subject":     {"groups": "ops"},
		"other client":   {"sub": "u1", "groups": "ops", "aud": "another"},
		"another nonce":  {"sub": "u1", "groups": "ops", "nonce": "x"},
		"expired":        {"sub": "u1", "groups": "ops", "exp": 1},
		"another issuer": {"sub": "u1", "groups": "ops", "iss": "https://evil.example.com"},
	} {
		p.claims = claims
		if code, text := status(t, browser(t), ask(t, "GET", s.URL+"/auth/login", "")); code != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, code, text)
		}
	}
	p.claims = map[string]any{"sub": "u1", "groups": "ops"}
	for _, query := range []string{"", "?code=x&state=y", "?error=access_denied"} {
		if code, _ := status(t, browser(t), ask(t, "GET", s.URL+"/auth/callback"+query, "")); code != http.StatusBadRequest {
			t.Errorf("an answer that nobody asked for, %q: %d", query, code)
		}
	}
	for _, to := range []string{"https://evil.example.com", "//evil.example.com", `/\evil.example.com`, "javascript:x"} {
		c := browser(t)
		var last string
		c.CheckRedirect = func(r *http.Request, _ []*http.Request) error { last = r.URL.String(); return nil }
		status(t, c, ask(t, "GET", s.URL+"/auth/login?to="+url.QueryEscape(to), ""))
		if last != s.URL+"/docs" {
			t.Errorf("to=%s leads to %s", to, last)
		}
	}
	other := serveSigned(t, p, nil) // which has not asked the provider yet
	p.Close()
	if code, _ := status(t, browser(t), ask(t, "GET", other.URL+"/auth/login", "")); code != http.StatusBadGateway {
		t.Errorf("without the provider: %d", code)
	}
}
