package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certFiles reads a certificate again when its file has changed: whoever renews
// it need not stop the server.
type certFiles struct {
	cert, key string
	logger    *slog.Logger

	mu      sync.Mutex
	have    *tls.Certificate
	changed time.Time // of the file that have came from
	looked  time.Time
}

// lookEvery is how often the file is looked at.
const lookEvery = 10 * time.Second

func (f *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.have != nil && now.Sub(f.looked) < lookEvery {
		return f.have, nil
	}
	f.looked = now
	info, err := os.Stat(f.cert)
	if err == nil && (f.have == nil || !info.ModTime().Equal(f.changed)) {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.have, f.changed = &pair, info.ModTime()
		}
	}
	if err != nil && f.have != nil {
		f.logger.Error("attestlog: the certificate cannot be read again; the old one stays in use", "file", f.cert, "err", err)
		return f.have, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	return f.have, nil
}
