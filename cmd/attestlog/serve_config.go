package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/witness"
)

// config turns the flags into the server's configuration, without its logs.
func (c *serveCmd) config(logger *slog.Logger) (server.Config, error) {
	cfg := server.Config{
		Public:  c.Public,
		MaxBody: c.MaxBody,
		Rate:    c.Rate,
		Webhook: c.Webhook,
		Logger:  logger,
	}
	if c.MaxConnections < 1 {
		return cfg, fmt.Errorf("--max-connections %d: want at least 1", c.MaxConnections)
	}
	if c.Webhook != "" && !isHTTP(c.Webhook) {
		return cfg, fmt.Errorf("--webhook: %q is not an HTTP URL", c.Webhook)
	}
	if _, err := net.ResolveTCPAddr("tcp", c.Syslog); err != nil {
		return cfg, fmt.Errorf("--syslog: %w", err)
	}

	var err error
	cfg.OIDC, err = c.OIDC.config()
	if err != nil {
		return cfg, err
	}
	for _, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return cfg, fmt.Errorf("--trusted-proxy: %w", err)
		}
		cfg.TrustedProxies = append(cfg.TrustedProxies, p)
	}
	return cfg, nil
}

// isHTTP reports whether text is an absolute URL of HTTP or HTTPS.
func isHTTP(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return false
	}
	return u.Scheme == "http" || u.Scheme == "https"
}

// witnesses returns the witnesses of the default log's checkpoints, or nil.
func (c *serveCmd) witnesses() (*server.Witnesses, error) {
	if len(c.Witnesses) == 0 {
		if c.WitnessRequire {
			return nil, errors.New("--witness-require: there is no --witness")
		}
		return nil, nil
	}

	w := &server.Witnesses{Require: c.WitnessRequire}
	seen := map[string]bool{}
	for _, text := range c.Witnesses {
		key, address, ok := strings.Cut(text, "@")
		if !ok {
			return nil, hinted{fmt.Errorf("--witness %q: want KEY@URL", text), "attestlog witness prints its key when it starts"}
		}
		verifier, err := witness.NewVerifier(key)
		if err != nil {
			return nil, fmt.Errorf("--witness: %w", err)
		}
		if !isHTTP(address) {
			return nil, fmt.Errorf("--witness: %q is not an HTTP URL", address)
		}

		// One key under two names would count twice.
		material := key[strings.LastIndexByte(key, '+')+1:]
		if seen[material] {
			return nil, fmt.Errorf("--witness: two witnesses have the key of %s", verifier.Name())
		}
		seen[material] = true
		w.Witnesses = append(w.Witnesses, &witness.Client{URL: address, Verifier: verifier})
	}

	w.Need = c.WitnessNeed
	if w.Need < 0 {
		w.Need = len(w.Witnesses)
	}
	if w.Need == 0 && w.Require {
		return nil, errors.New("--witness-require needs a --witness-need of at least 1")
	}
	if w.Need > len(w.Witnesses) {
		return nil, fmt.Errorf("--witness-need %d: there are %d witnesses", w.Need, len(w.Witnesses))
	}
	return w, nil
}

// oidcFlags say how people sign in to a server.
type oidcFlags struct {
	Issuer      string   `help:"Let people sign in with this OpenID Connect provider." env:"ISSUER" placeholder:"URL"`
	ClientID    string   `help:"The client's id at the provider." env:"CLIENT_ID" placeholder:"ID"`
	SecretFile  string   `help:"File with the client's secret." env:"SECRET_FILE" placeholder:"FILE"`
	URL         string   `help:"The server's URL for people; the provider must know its /auth/callback." env:"URL" placeholder:"URL"`
	Roles       []string `help:"What people with a value of the role claim may do, as VALUE=SCOPE+SCOPE." name:"role" env:"ROLES" placeholder:"VALUE=SCOPE"`
	RoleClaim   string   `help:"The role claim. Defaults to groups." default:"groups" env:"ROLE_CLAIM"`
	TenantClaim string   `help:"A claim that limits people to a tenant." env:"TENANT_CLAIM"`
	KeyFile     string   `help:"File with 64 hexadecimal digits that seal the cookies, the same for all servers. Defaults to a key of this process." env:"KEY_FILE" placeholder:"FILE"`
}

// config returns nil if nobody signs in.
func (f *oidcFlags) config() (*server.OIDC, error) {
	if f.Issuer == "" {
		return nil, nil
	}

	secret, err := os.ReadFile(f.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("--oidc-secret-file: %w", err)
	}
	out := &server.OIDC{
		Issuer:       f.Issuer,
		ClientID:     f.ClientID,
		ClientSecret: strings.TrimSpace(string(secret)),
		URL:          f.URL,
		RoleClaim:    f.RoleClaim,
		TenantClaim:  f.TenantClaim,
		Roles:        map[string][]string{},
	}

	for _, text := range f.Roles {
		value, scopes, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("--oidc-role %q: want VALUE=SCOPE+SCOPE, such as auditors=read+verify", text)
		}
		out.Roles[value] = strings.Split(scopes, "+")
	}

	if f.KeyFile != "" {
		text, err := os.ReadFile(f.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-key-file: %w", err)
		}
		out.Key, err = hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			return nil, fmt.Errorf("--oidc-key-file: %s: want 64 hexadecimal digits", f.KeyFile)
		}
	}
	return out, nil
}
