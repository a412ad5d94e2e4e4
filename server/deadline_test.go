package server_test

import (
	"net"
	"sync"
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
	read, write time.Time // when the server wants them to be
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

// pass has those deadlines come that are less than a time away.
func (d *deadlines) pass(within time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	due := func(t time.Time) bool { return !t.IsZero() && t.Sub(now) < within }
	for _, c := range d.conns {
		if due(c.read) {
			c.Conn.SetReadDeadline(now)
		}
		if due(c.write) {
			c.Conn.SetWriteDeadline(now)
		}
	}
}

func (c *deadlineConn) SetReadDeadline(t time.Time) error {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.read = t
	return c.Conn.SetReadDeadline(pastOnly(t))
}

func (c *deadlineConn) SetWriteDeadline(t time.Time) error {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.write = t
	return c.Conn.SetWriteDeadline(pastOnly(t))
}

func (c *deadlineConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func pastOnly(t time.Time) time.Time {
	if t.After(time.Now()) {
		return time.Time{}
	}
	return t
}
