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
)

const (
	// maxMessage bounds a syslog message in bytes (RFC 5425, Section 4.3.1, wants
	// 8,192 at least).
	maxMessage = 256 << 10
	// syslogIdle is how long a sender may say nothing.
	syslogIdle = time.Hour
	maxSenders = 1000
	// syslogShake bounds a TLS handshake; syslogStop is how long a stop waits for a
	// log that takes nothing.
	syslogShake = 10 * time.Second
	syslogStop  = 5 * time.Second
)

// ServeSyslog takes syslog messages (RFC 5424, over TCP or TLS as RFC 6587 and
// RFC 5425 say) from a listener's connections into a log, until the listener is
// closed or the server stops. The protocol knows no answer: a message is stored
// soon after it came, and while the log takes nothing, connections are not read.
// Whoever may connect may write, so the listener should be local, or ask for
// certificates.
func (s *Server) ServeSyslog(l net.Listener, log string) error {
	h := s.logs[log]
	if h == nil {
		return fmt.Errorf("server: there is no log %q for syslog", log)
	}
	var senders sync.WaitGroup
	defer senders.Wait()
	s.open.Go(func() {
		<-s.stopping
		l.Close()
	})
	slots := make(chan struct{}, maxSenders)
	for {
		conn, err := l.Accept()
		if err != nil {
			select {
			case <-s.stopping:
				return nil
			default:
			}
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() {
				s.cfg.Logger.Warn("server: syslog", "err", err)
				time.Sleep(100 * time.Millisecond) // too many open files, most likely
				continue
			}
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
			s.takeSyslog(h, conn)
		})
	}
}

// takeSyslog reads one connection.
func (s *Server) takeSyslog(h *hosted, conn net.Conn) {
	defer conn.Close()
	from := conn.RemoteAddr().String()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	go func() {
		select {
		case <-s.stopping:
			conn.SetReadDeadline(time.Now()) // what was read is still stored, if it can be
			time.AfterFunc(syslogStop, cancel)
		case <-ctx.Done():
		}
	}()
	if secure, ok := conn.(*tls.Conn); ok {
		shake, done := context.WithTimeout(ctx, syslogShake)
		err := secure.HandshakeContext(shake)
		if done(); err != nil {
			s.cfg.Logger.Warn("server: a syslog connection is refused", "log", h.name, "from", from, "err", err)
			return
		}
	}
	address, _ := netip.ParseAddrPort(from)
	for frame, err := range syslog.Frames(idle{conn, s.stopping}, maxMessage) {
		if err != nil {
			var timeout net.Error
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !(errors.As(err, &timeout) && timeout.Timeout()) {
				s.cfg.Logger.Warn("server: a syslog connection ended", "log", h.name, "from", from, "err", err)
			}
			return
		}
		e := syslog.Event(frame, s.cfg.Clock())
		if e.Source == (attestlog.Source{}) && address.IsValid() {
			e.Source.IP = address.Addr().Unmap().String()
		}
		if err := fit.Record(ctx, h.log, e); err != nil {
			s.cfg.Logger.Error("server: a syslog message is lost, and its connection with it", "log", h.name, "from", from, "err", err)
			return
		}
	}
}

// idle ends a connection that says nothing for a long time.
type idle struct {
	net.Conn
	stopping <-chan struct{}
}

func (c idle) Read(p []byte) (int, error) {
	select {
	case <-c.stopping:
	default:
		c.SetReadDeadline(time.Now().Add(syslogIdle))
	}
	select {
	case <-c.stopping: // perhaps since then
		c.SetReadDeadline(time.Now())
	default:
	}
	return c.Conn.Read(p)
}
