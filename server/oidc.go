package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	// providerLife is how long a provider's description of itself is used before the
	// provider is asked for it again.
	providerLife = 10 * time.Minute

	// providerWait bounds a request to a provider, and is how long it is left alone
	// after it failed.
	providerWait = 5 * time.Second

	// maxProviderAnswer bounds the bytes of an answer that are read.
	maxProviderAnswer = 1 << 20
)

// An oidcProvider talks to an OpenID Connect provider. It asks for the provider's
// description of itself when somebody signs in, and not when the server starts,
// because the server has to start without the provider.
type oidcProvider struct {
	cfg    OIDC
	client *http.Client
	clock  func() time.Time

	mu      sync.Mutex // held while the provider is asked, so by one at a time
	known   *oidc.Provider
	asked   time.Time // when known was learned
	failure error     // of asking the last time, or nil
	failed  time.Time // when that was
}

func newOIDCProvider(cfg OIDC, clock func() time.Time) *oidcProvider {
	return &oidcProvider{
		cfg:    cfg,
		client: &http.Client{Timeout: providerWait, Transport: boundedTransport{http.DefaultTransport}},
		clock:  clock,
	}
}

// boundedTransport bounds the answers that are read.
type boundedTransport struct{ http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}

	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxProviderAnswer), resp.Body}
	return resp, nil
}

// discover returns the provider's description of itself (OpenID Connect Discovery
// 1.0, Section 4).
func (p *oidcProvider) discover() (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()

	now := p.clock()
	if p.known != nil && now.Sub(p.asked) <= providerLife {
		return p.known, nil
	}
	// Requests that waited for the lock while a provider hung would otherwise ask
	// it one after the other, and each wait as long as the one before.
	if p.failure != nil && now.Sub(p.failed) < providerWait {
		return nil, p.failure
	}

	// The description is for everybody who signs in, so the request that asks for it
	// first does not end this when it ends.
	provider, err := oidc.NewProvider(oidc.ClientContext(context.Background(), p.client), p.cfg.Issuer)
	p.failure = err
	if err != nil {
		p.failed = p.clock()
		return nil, err
	}
	p.known = provider
	p.asked = now
	return provider, nil
}

// signInURL returns the provider's URL that the browser is sent to.
func (p *oidcProvider) signInURL(in *pendingSignIn) (string, error) {
	provider, err := p.discover()
	if err != nil {
		return "", err
	}
	return p.oauth2(provider).AuthCodeURL(in.State, oidc.Nonce(in.Nonce), oauth2.S256ChallengeOption(in.Verifier)), nil
}

// claims exchanges the code that the provider gave the browser for an ID token,
// checks that, and returns its claims.
func (p *oidcProvider) claims(ctx context.Context, code string, in *pendingSignIn) (map[string]any, error) {
	provider, err := p.discover()
	if err != nil {
		return nil, err
	}

	ctx = oidc.ClientContext(ctx, p.client)
	got, err := p.oauth2(provider).Exchange(ctx, code, oauth2.VerifierOption(in.Verifier))
	if err != nil {
		return nil, err
	}

	raw, _ := got.Extra("id_token").(string)
	verifier := provider.Verifier(&oidc.Config{ClientID: p.cfg.ClientID, Now: p.clock})
	token, err := verifier.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if token.Nonce != in.Nonce { // which Verify leaves to its caller
		return nil, errors.New("the ID token has another nonce")
	}

	claims := map[string]any{}
	return claims, token.Claims(&claims)
}

func (p *oidcProvider) oauth2(provider *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID:     p.cfg.ClientID,
		ClientSecret: p.cfg.ClientSecret,
		Endpoint:     provider.Endpoint(),
		RedirectURL:  p.cfg.URL + callbackPath,
		Scopes:       append([]string{oidc.ScopeOpenID}, p.cfg.Scopes...),
	}
}
