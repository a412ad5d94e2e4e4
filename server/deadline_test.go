package server_test

import (
	"net"
	"sync"
	"testing"
	"time"
)

// deadlines are those of a listener's connections. They come when the test says
// so, and not before.
type deadlines struct {
	net.Listener
	mu    sync.Mutex
	conns []*deadlineConn
}

// A deadlineConn is a connection that only has deadlines in the past, which
// net/http uses to end a read.
type deadlineConn struct {
	net.Conn
	all         *deadlines
	read, write time.Duration // how far away the server set them, or 0
}

func (d *deadlines) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &deadlineConn{Conn: conn, all: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns = append(d.conns, c)
	return c, nil
}

// pass has those deadlines come that the server set for less than a time later.
func (d *deadlines) pass(within time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	due := func(away time.Duration) bool { return away > 0 && away < within }
	for _, c := range d.conns {
		if due(c.read) {
			c.Conn.SetReadDeadline(now)
		}
		if due(c.write) {
			c.Conn.SetWriteDeadline(now)
		}
	}
}

// keepPassing calls pass again and again until the end of the test.
func (d *deadlines) keepPassing(t *testing.T, within time.Duration) {
	stop := make(chan struct{})
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			select {
			case <-time.After(10 * time.Millisecond):
				d.pass(within)
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		passing.Wait()
	})
}

func (c *deadlineConn) SetReadDeadline(t time.Time) error {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.read = away(t)
	return c.Conn.SetReadDeadline(pastOnly(t))
}

func (c *deadlineConn) SetWriteDeadline(t time.Time) error {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.write = away(t)
	return c.Conn.SetWriteDeadline(pastOnly(t))
}

func (c *deadlineConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// away returns how far away a deadline is, or 0 if there is none.
func away(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return time.Until(t)
}

func pastOnly(t time.Time) time.Time {
	if t.After(time.Now()) {
		return time.Time{}
	}
	return t
}
