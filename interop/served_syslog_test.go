package interop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/server"
)

// rsyslogConf is a daemon that takes counted messages at a socket of its own, and
// sends them on as they came. What it could not send it keeps over a restart.
const rsyslogConf = `
global(workDirectory="%[1]s" maxMessageSize="128k" parser.escapeControlCharactersOnReceive="off" net.enableDNS="off" %[3]s)
module(load="imptcp")
input(type="imptcp" path="%[1]s/in" supportOctetCountedFraming="on")
template(name="rfc5424" type="string" string="<%%PRI%%>1 %%TIMESTAMP:::date-rfc3339%% %%HOSTNAME%% %%APP-NAME%% %%PROCID%% %%MSGID%% %%STRUCTURED-DATA%% %%msg%%")
action(type="omfwd" target="127.0.0.1" port="%[2]s" protocol="tcp" TCP_Framing="octet-counted" template="rfc5424" %[4]s
	action.resumeRetryCount="-1" action.resumeInterval="1" queue.type="LinkedList" queue.filename="out" queue.saveOnShutdown="on" queue.timeoutShutdown="10000")
`

// rsyslog is a daemon with its folder.
type rsyslog struct {
	t    testing.TB
	dir  string
	cmd  *exec.Cmd
	log  bytes.Buffer
	sent int
}

func newRsyslog(t testing.TB, port, global, action string) *rsyslog {
	t.Helper()
	d := &rsyslog{t: t}
	var err error
	if d.dir, err = os.MkdirTemp("", "rsyslog"); err != nil { // short enough for a socket's name
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d.dir) })
	if err := os.WriteFile(filepath.Join(d.dir, "conf"), fmt.Appendf(nil, rsyslogConf, d.dir, port, global, action), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start()
	t.Cleanup(d.stop)
	return d
}

func (d *rsyslog) start() {
	d.t.Helper()
	d.cmd = exec.Command("/usr/sbin/rsyslogd", "-n", "-f", filepath.Join(d.dir, "conf"), "-i", filepath.Join(d.dir, "pid"))
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	os.Remove(filepath.Join(d.dir, "in"))
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *rsyslog) stop() {
	if d.cmd == nil {
		return
	}
	d.cmd.Process.Signal(syscall.SIGTERM)
	d.cmd.Wait()
	d.cmd = nil
	if d.t.Failed() {
		d.t.Logf("rsyslogd:\n%s", &d.log)
	}
}

// syslogText is the text of a message: with UTF-8, lines, and now and then 64 KiB.
func syslogText(i int) string {
	text := fmt.Sprintf("é “%d”\nsecond line\tend", i)
	if i%25 == 7 {
		text += strings.Repeat("x", 64<<10)
	}
	return text
}

// send gives the daemon n messages.
func (d *rsyslog) send(n int) {
	d.t.Helper()
	var conn net.Conn
	testwait.Until(d.t, "rsyslogd takes connections", func() bool {
		c, err := net.Dial("unix", filepath.Join(d.dir, "in"))
		conn = c
		return err == nil
	})
	defer conn.Close()
	for range n {
		i := d.sent
		message := fmt.Sprintf(`<109>1 %s host1 webmail 4711 mail.view [user@32473 uid="user%d" note="a\"b"] %s`, syslogTime(i).Format(time.RFC3339Nano), i%7, syslogText(i))
		if _, err := fmt.Fprintf(conn, "%d %s", len(message), message); err != nil {
			d.t.Fatal(err)
		}
		d.sent++
	}
	conn.(*net.UnixConn).CloseWrite()
	if n, err := conn.Read(make([]byte, 1)); err != io.EOF { // once the daemon has read all
		d.t.Fatalf("the daemon sends %d bytes, %v", n, err)
	}
}

func syslogTime(i int) time.Time {
	return moment.Truncate(time.Microsecond).Add(time.Duration(i) * time.Millisecond)
}

// checkSyslogEntries wants each of n messages once. The original has all of a
// message, and the field as much as a log takes.
func checkSyslogEntries(t testing.TB, entries []attestlog.Entry, n int) {
	t.Helper()
	type facts struct {
		Actor, Action, Service, Host, Text string
		Bytes                              int
		Time                               time.Time
	}
	var got, want []facts
	for _, e := range entries {
		_, original, _ := strings.Cut(string(e.Original), `b"] `)
		if !strings.HasPrefix(e.Message, original[:min(len(original), 1<<10)]) {
			t.Errorf("message %.100q of %.100q", e.Message, original)
		}
		got = append(got, facts{e.Actor.ID, e.Action, e.Service, e.Source.Host, strings.TrimRight(original, "x"), len(original), e.Time})
	}
	for i := range n {
		want = append(want, facts{fmt.Sprintf("user%d", i%7), "mail.view", "webmail", "host1", strings.TrimRight(syslogText(i), "x"), len(syslogText(i)), syslogTime(i)})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%.4000s", diff)
	}
}

// await waits until n entries are in the log, and returns all that are.
func (s *host) await(t testing.TB, n int) []attestlog.Entry {
	t.Helper()
	testwait.Until(t, fmt.Sprintf("%d entries are in the log", n), func() bool { return testlog.Size(t, s.log) >= uint64(n) })
	return s.entries(t)
}

// A senders listener counts the connections that it has accepted and that the
// server has not closed yet.
type senders struct {
	net.Listener
	open atomic.Int64
}

func (l *senders) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.open.Add(1)
	return &sender{Conn: conn, left: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
}

type sender struct {
	net.Conn
	left func()
}

func (c *sender) Close() error {
	defer c.left()
	return c.Conn.Close()
}

// serveSyslog listens for syslog, and returns the port.
func (s *host) serveSyslog(t testing.TB, secure *tls.Config) (port string, connected *senders) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(tcp.Addr().String())
	connected = &senders{Listener: tcp}
	l := net.Listener(connected)
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	ended := make(chan error)
	go func() { ended <- s.server.ServeSyslog(l, "default") }()
	t.Cleanup(func() {
		s.server.Stop()
		if err := <-ended; err != nil {
			t.Errorf("ServeSyslog = %v", err)
		}
	})
	return port, connected
}

func TestRsyslogDeliversOnce(t *testing.T) {
	authority, issue := newAuthority(t)
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certificate, key := issue("daemon")
	own, ownKey := issue("attestlog.test")
	pair, err := tls.X509KeyPair(own, ownKey)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	for _, tt := range []struct {
		name, global, action string
		secure               *tls.Config
	}{
		{name: "TCP"},
		{
			"TLS",
			fmt.Sprintf("defaultNetstreamDriverCAFile=%q defaultNetstreamDriverCertFile=%q defaultNetstreamDriverKeyFile=%q", write("ca.pem", authority), write("cert.pem", certificate), write("key.pem", key)),
			`StreamDriver="ossl" StreamDriverMode="1" StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="attestlog.test"`,
			&tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, server.Config{})
			port, connected := s.serveSyslog(t, tt.secure)
			d := newRsyslog(t, port, tt.global, tt.action)
			d.send(100)
			s.await(t, 50)
			d.send(100)
			d.stop() // which keeps what it has not sent

			// The order is that of one connection: what another sends may overtake it.
			testwait.Until(t, "the server has read all of the connection", func() bool { return connected.open.Load() == 0 })
			d.start()
			d.send(100)
			s.await(t, d.sent)
			d.stop()
			checkSyslogEntries(t, s.entries(t), d.sent)
		})
	}
}

// newAuthority makes an authority, and what issues certificates with their keys,
// all in PEM.
func newAuthority(t testing.TB) (authority []byte, issue func(name string) (certificate, key []byte)) {
	t.Helper()
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	text := func(kind string, der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootKey := newKey()
	der, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	authority = text("CERTIFICATE", der, err)
	serial := int64(1)
	return authority, func(name string) (certificate, key []byte) {
		serial++
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		}
		own := newKey()
		der, err := x509.CreateCertificate(rand.Reader, leaf, root, own.Public(), rootKey)
		certificate = text("CERTIFICATE", der, err)
		der, err = x509.MarshalECPrivateKey(own)
		return certificate, text("EC PRIVATE KEY", der, err)
	}
}
