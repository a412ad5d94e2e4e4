package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert/syslog"
	"github.com/attestlog/attestlog/fit"
	"github.com/attestlog/attestlog/internal/retry"
)

const (
	// maxSyslogMessage bounds a message in bytes (RFC 5425, Section 4.3.1, wants
	// 8,192 at least).
	maxSyslogMessage = 256 << 10
	// maxSyslogSenders bounds the connections to one listener.
	maxSyslogSenders = 1000

	// syslogIdle is how long a sender may say nothing.
	syslogIdle = time.Hour
	// handshakeWait bounds a TLS handshake.
	handshakeWait = 10 * time.Second
	// acceptPause is how long no connection is accepted after one could not be.
	acceptPause = 100 * time.Millisecond
	// drainWait bounds how long a message that was read when the server stopped waits
	// for a log that takes nothing.
	drainWait = 5 * time.Second
)

// ServeSyslog takes syslog messages (RFC 5424, over TCP or TLS as in RFC 6587 and
// RFC 5425) from a listener's connections into the log with a name, until the
// listener is closed or the server stops. It closes the listener when the server
// stops, and then returns nil.
//
// The protocol has no answers: a message is stored soon after it came, and while
// the log takes nothing, connections are not read. Anyone who may connect may
// write, so the listener should be local, or ask for certificates.
func (s *Server) ServeSyslog(l net.Listener, log string) error {
	h := s.logs[log]
	if h == nil {
		return fmt.Errorf("server: there is no log %q for syslog", log)
	}

	var senders sync.WaitGroup
	defer senders.Wait()
	defer context.AfterFunc(s.life.untilStop, func() { l.Close() })()

	// A sender for whom there is no slot is sent away at once: left unaccepted, it
	// would write into the kernel's buffers, and think that its messages arrived.
	slots := make(chan struct{}, maxSyslogSenders)
	for {
		conn, err := l.Accept()

		// Then the error is that of the listener that was closed above, or a last
		// connection came before that.
		if s.life.stopping() {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if isTemporary(err) {
			s.cfg.Logger.Warn("server: syslog", "err", err)
			retry.Sleep(s.life.untilStop, acceptPause)
			continue
		}
		if err != nil {
			return err
		}

		select {
		case slots <- struct{}{}:
		default:
			s.cfg.Logger.Warn("server: too many syslog senders", "from", conn.RemoteAddr().String())
			conn.Close()
			continue
		}
		senders.Go(func() {
			defer func() { <-slots }()
			s.serveSyslogSender(h, conn)
		})
	}
}

// isTemporary reports whether an error of Accept is one that passes: too many open
// files, most likely.
func isTemporary(err error) bool {
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary()
}

// serveSyslogSender reads one connection, and closes it.
func (s *Server) serveSyslogSender(h *hosted, conn net.Conn) {
	defer conn.Close()
	logger := s.cfg.Logger.With("log", h.name, "from", conn.RemoteAddr().String())

	// When the server stops nothing more is read, but a message that was read before
	// is stored.
	ctx, cancel := context.WithCancel(s.life.untilClose)
	defer cancel()
	defer context.AfterFunc(s.life.untilStop, func() {
		conn.SetReadDeadline(time.Now())
		time.AfterFunc(drainWait, cancel)
	})()

	err := shakeHands(ctx, conn)
	if err != nil {
		logger.Warn("server: a syslog connection is refused", "err", err)
		return
	}

	address := addressOf(conn)
	for frame, err := range syslog.Frames(idleConn{conn, s.life}, maxSyslogMessage) {
		if err != nil {
			if !isEndOfConn(err) {
				logger.Warn("server: a syslog connection ended", "err", err)
			}
			return
		}

		e := syslog.Event(frame, s.cfg.Clock())
		if e.Source == (attestlog.Source{}) {
			e.Source.IP = address
		}
		err := fit.Record(ctx, h.log, e)
		if err != nil {
			logger.Error("server: a syslog message is lost, and its connection with it", "err", err)
			return
		}
	}
}

// shakeHands does the handshake of a TLS connection.
func shakeHands(ctx context.Context, conn net.Conn) error {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}

	ctx, cancel := context.WithTimeout(ctx, handshakeWait)
	defer cancel()
	return secure.HandshakeContext(ctx)
}

// addressOf returns the IP address that a connection comes from; empty for a
// connection that is not over IP.
func addressOf(conn net.Conn) string {
	address, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return ""
	}
	return address.Addr().Unmap().String()
}

// isEndOfConn reports whether a connection ended as connections do: one of both
// sides closed it, or its sender was idle for too long.
func isEndOfConn(err error) bool {
	var netErr net.Error
	timedOut := errors.As(err, &netErr) && netErr.Timeout()
	return timedOut || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}

// An idleConn ends a connection whose sender says nothing for syslogIdle.
type idleConn struct {
	net.Conn
	life *lifecycle
}

func (c idleConn) Read(p []byte) (int, error) {
	if !c.life.stopping() {
		c.SetReadDeadline(time.Now().Add(syslogIdle))
	}

	// The server may have stopped since, and its deadline be overwritten.
	if c.life.stopping() {
		c.SetReadDeadline(time.Now())
	}
	return c.Conn.Read(p)
}
