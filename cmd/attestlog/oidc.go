package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/attestlog/attestlog/server"
)

// oidcFlags let people sign in to a server.
type oidcFlags struct {
	Issuer      string   `help:"Let people sign in with this OpenID Connect provider." env:"ISSUER" placeholder:"URL"`
	ClientID    string   `help:"The client's id at the provider." env:"CLIENT_ID" placeholder:"ID"`
	SecretFile  string   `help:"File with the client's secret." env:"SECRET_FILE" placeholder:"FILE"`
	URL         string   `help:"Where people reach the server; the provider has to know its /auth/callback." env:"URL" placeholder:"URL"`
	Roles       []string `help:"What a value of the role claim may do, as VALUE=SCOPE+SCOPE." name:"role" env:"ROLES" placeholder:"VALUE=SCOPE"`
	RoleClaim   string   `help:"The role claim. Defaults to groups." default:"groups" env:"ROLE_CLAIM"`
	TenantClaim string   `help:"A claim that limits people to a tenant." env:"TENANT_CLAIM"`
	KeyFile     string   `help:"File with 64 hexadecimal digits that seal the cookies, the same for all servers. Defaults to a key of this process." env:"KEY_FILE" placeholder:"FILE"`
}

// config returns nil where nobody shall sign in.
func (f *oidcFlags) config() (*server.OIDC, error) {
	if f.Issuer == "" {
		return nil, nil
	}
	secret, err := os.ReadFile(f.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("--oidc-secret-file: %w", err)
	}
	out := &server.OIDC{
		Issuer: f.Issuer, ClientID: f.ClientID, ClientSecret: strings.TrimSpace(string(secret)), URL: f.URL, RoleClaim: f.RoleClaim,
		TenantClaim: f.TenantClaim, Roles: map[string][]string{},
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
		if out.Key, err = hex.DecodeString(strings.TrimSpace(string(text))); err != nil {
			return nil, fmt.Errorf("--oidc-key-file: %s: want 64 hexadecimal digits", f.KeyFile)
		}
	}
	return out, nil
}
