package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate, signed by the authority, or by itself without one,
// and writes it and its key to files.
func (a *authority) issue(t *testing.T, dir, name string) (tls.Certificate, *authority) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	plan := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: a == nil, BasicConstraintsValid: true,
	}
	parent, signer := plan, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, plan, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	for file, text := range map[string][]byte{name + ".pem": certPEM, name + ".key": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pair, &authority{cert, key}
}

func TestServeOverTLSAsksForCertificates(t *testing.T) {
	dir := t.TempDir()
	_, ca := (*authority)(nil).issue(t, dir, "ca")
	ca.issue(t, dir, "server")
	mine, _ := ca.issue(t, dir, "client")
	other, _ := (*authority)(nil).issue(t, dir, "other")
	cmd := exec.Command("attestlog", "serve", "--listen", "127.0.0.1:0", "--tls-cert", "server.pem", "--tls-key", "server.key", "--client-ca", "ca.pem")
	cmd.Dir = dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	address := ""
	for buf := make([]byte, 1); address == "" || !strings.Contains(said.String(), "al_"); {
		if _, err := out.Read(buf); err != nil {
			t.Fatalf("serve said %q, %v", said.String(), err)
		}
		said.Write(buf)
		if m := regexp.MustCompile(`on https://(\S+)\n`).FindStringSubmatch(said.String()); m != nil {
			address = m[1]
		}
	}
	go io.Copy(io.Discard, out)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	get := func(certs ...tls.Certificate) error {
		c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs}, ForceAttemptHTTP2: true}}
		defer c.CloseIdleConnections()
		resp, err := c.Get("https://" + address + "/healthz")
		if err == nil {
			resp.Body.Close()
			if resp.ProtoMajor != 2 {
				t.Errorf("%s, want HTTP/2", resp.Proto)
			}
		}
		return err
	}
	if err := get(mine); err != nil {
		t.Errorf("with a certificate of the authority: %v", err)
	}
	if get() == nil || get(other) == nil {
		t.Error("a client without a certificate of the authority is let in")
	}
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Errorf("serve ended with %v", err)
	}
}

// A certificate that was renewed is used without a restart; one that cannot be
// read leaves the old one in use.
func TestACertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	(*authority)(nil).issue(t, dir, "server")
	f := &certFiles{cert: filepath.Join(dir, "server.pem"), key: filepath.Join(dir, "server.key"), logger: testLogger(t)}
	serial := func() string {
		t.Helper()
		f.looked = time.Time{} // as if it were long ago
		pair, err := f.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return cert.SerialNumber.String()
	}
	first := serial()
	(*authority)(nil).issue(t, dir, "server")
	if err := os.Chtimes(f.cert, time.Time{}, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	second := serial()
	if first == second {
		t.Error("the renewed certificate is not used")
	}
	if err := os.WriteFile(f.cert, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != second {
		t.Error("a certificate that cannot be read ends the use of the old one")
	}
	f.have = nil
	f.looked = time.Time{}
	if _, err := f.get(nil); err == nil {
		t.Error("a server starts without a certificate")
	}
}

func TestSpansOfRequestsAreSent(t *testing.T) {
	paths := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		paths <- r.URL.Path + " " + string(body)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /entries/{index}", func(http.ResponseWriter, *http.Request) {})
	h, stop, err := traced(t.Context(), mux)
	if err != nil {
		t.Fatal(err)
	}
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/entries/7", nil))
	if err := stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-paths; !strings.HasPrefix(got, "/v1/traces ") || strings.Contains(got, "GET GET") || !strings.Contains(got, "GET /entries/{index}") || !strings.Contains(got, "attestlog") {
		t.Errorf("the collector gets %q", got)
	}
}

func testLogger(*testing.T) *slog.Logger { return slog.New(slog.DiscardHandler) }
