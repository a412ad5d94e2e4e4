package main

import (
	"crypto/tls"
	"crypto/x509"
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

// config turns flags into the server's configuration.
func (c *serveCmd) config(logger *slog.Logger) (server.Config, error) {
	if c.MaxConnections < 1 {
		return server.Config{}, fmt.Errorf("--max-connections %d: one at least", c.MaxConnections)
	}
	if u, err := url.Parse(c.Webhook); c.Webhook != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return server.Config{}, fmt.Errorf("--webhook: %q is no URL", c.Webhook)
	}
	if _, err := net.ResolveTCPAddr("tcp", c.Syslog); err != nil {
		return server.Config{}, fmt.Errorf("--syslog: %w", err)
	}
	cfg := server.Config{Public: c.Public, MaxBody: c.MaxBody, Rate: c.Rate, Webhook: c.Webhook, Logger: logger}
	people, err := c.OIDC.config()
	if err != nil {
		return cfg, err
	}
	cfg.OIDC = people
	for _, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return cfg, fmt.Errorf("--trusted-proxy: %w", err)
		}
		cfg.TrustedProxies = append(cfg.TrustedProxies, p)
	}
	return cfg, nil
}

// witnesses returns who cosigns, or nil.
func (c *serveCmd) witnesses() (*server.Witnesses, error) {
	if len(c.Witnesses) == 0 {
		if c.WitnessRequire {
			return nil, errors.New("--witness-require: there is no --witness")
		}
		return nil, nil
	}
	w := &server.Witnesses{Require: c.WitnessRequire}
	keys := map[string]bool{}
	for _, text := range c.Witnesses {
		key, address, ok := strings.Cut(text, "@")
		if !ok {
			return nil, hinted{fmt.Errorf("--witness %q: want KEY@URL", text), "attestlog witness prints its key when it starts"}
		}
		verifier, err := witness.NewVerifier(key)
		if err != nil {
			return nil, fmt.Errorf("--witness: %w", err)
		}
		if u, err := url.Parse(address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("--witness: %q is no URL", address)
		}
		if material := key[strings.LastIndexByte(key, '+')+1:]; keys[material] {
			return nil, fmt.Errorf("--witness: two witnesses have the key of %s", verifier.Name())
		} else {
			keys[material] = true
		}
		w.Witnesses = append(w.Witnesses, &witness.Client{URL: address, Verifier: verifier})
	}
	if w.Need = c.WitnessNeed; w.Need < 0 {
		w.Need = len(w.Witnesses)
	}
	if w.Need == 0 && w.Require {
		return nil, errors.New("--witness-require needs --witness-need 1 at least")
	}
	if w.Need > len(w.Witnesses) {
		return nil, fmt.Errorf("--witness-need %d: there are %d witnesses", w.Need, len(w.Witnesses))
	}
	return w, nil
}

// tls returns how connections are secured, or nil.
func (c *serveCmd) tls(logger *slog.Logger) (*tls.Config, error) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return nil, errors.New("--tls-cert and --tls-key go together")
	}
	if c.TLSCert == "" {
		if c.ClientCA != "" {
			return nil, errors.New("--client-ca needs --tls-cert and --tls-key")
		}
		host, _, err := net.SplitHostPort(c.Listen)
		if ip, ipErr := netip.ParseAddr(host); err == nil && host != "localhost" && (ipErr != nil || !ip.IsLoopback()) {
			logger.Warn("attestlog: tokens and entries go over the network in clear; --tls-cert and --tls-key, or a proxy in front, secure them", "listen", c.Listen)
		}
		return nil, nil
	}
	files := &certFiles{cert: c.TLSCert, key: c.TLSKey, logger: logger}
	if _, err := files.get(nil); err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: files.get, NextProtos: []string{"h2", "http/1.1"}}
	if c.ClientCA != "" {
		text, err := os.ReadFile(c.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("--client-ca: %w", err)
		}
		cfg.ClientCAs = x509.NewCertPool()
		if !cfg.ClientCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--client-ca: %s holds no certificate", c.ClientCA)
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}
