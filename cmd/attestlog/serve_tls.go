package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// tls returns how connections are secured, or nil if they are not.
func (c *serveCmd) tls(logger *slog.Logger) (*tls.Config, error) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return nil, errors.New("--tls-cert and --tls-key go together")
	}
	if c.TLSCert == "" {
		if c.ClientCA != "" {
			return nil, errors.New("--client-ca needs --tls-cert and --tls-key")
		}
		if !isLoopback(c.Listen) {
			logger.Warn("attestlog: tokens and entries go over the network in clear text; "+
				"--tls-cert and --tls-key, or a proxy in front, secure them", "listen", c.Listen)
		}
		return nil, nil
	}

	files := &certFiles{cert: c.TLSCert, key: c.TLSKey, logger: logger}
	_, err := files.get(nil)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: files.get,
		NextProtos:     []string{"h2", "http/1.1"},
	}

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

// isLoopback reports whether only this machine can reach an address, or the
// address is not one at all, which net.Listen will say.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// certFiles reads a certificate again when its file has changed, so that it can
// be renewed without a restart.
type certFiles struct {
	cert, key string
	logger    *slog.Logger

	mu      sync.Mutex
	have    *tls.Certificate // nil until one was read
	changed time.Time        // when the file of have was changed
	looked  time.Time        // when the file was looked at last
}

// lookEvery is how often the file is looked at.
const lookEvery = 10 * time.Second

// get is a tls.Config's GetCertificate.
func (f *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	now := time.Now()
	if f.have != nil && now.Sub(f.looked) < lookEvery {
		return f.have, nil
	}
	f.looked = now

	err := f.read()
	if err != nil && f.have != nil {
		f.logger.Error("attestlog: the certificate cannot be read again; the old one stays in use",
			"file", f.cert, "err", err)
		return f.have, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	return f.have, nil
}

// read reads the certificate if its file has changed. The caller holds f.mu.
func (f *certFiles) read() error {
	info, err := os.Stat(f.cert)
	if err != nil {
		return err
	}
	if f.have != nil && info.ModTime().Equal(f.changed) {
		return nil
	}

	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return err
	}
	f.have = &pair
	f.changed = info.ModTime()
	return nil
}
