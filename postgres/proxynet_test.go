package postgres_test

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestlog/attestlog/internal/pgtest"
)

// A proxy is the network between a store and a server: it may be slow, lose
// everything, or cut connections.
type proxy struct {
	listener net.Listener
	server   string // its socket

	delay atomic.Int64 // nanoseconds, of each chunk
	// toServer and toClient, where set, are asked about each chunk before it is
	// passed on.
	toServer, toClient atomic.Pointer[func(chunk []byte) fate]

	mu    sync.Mutex
	hole  bool
	links map[*link]bool
	wg    sync.WaitGroup
}

// A fate is what becomes of a chunk and its connection.
type fate int

const (
	pass fate = iota
	cut       // the chunk is lost and the connection reset
	lose      // from the chunk on, nothing of the connection arrives
	tear      // half of the chunk arrives, and then nothing any more
)

// A link is one connection. What goes into a lost one is read and dropped, and
// it stays so: the network has forgotten it.
type link struct {
	client, server net.Conn
	lost           atomic.Bool
}

func newProxy(t *testing.T, c *pgtest.Cluster) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newProxyAt(t, c, listener)
}

func newProxyAt(t *testing.T, c *pgtest.Cluster, listener net.Listener) *proxy {
	p := &proxy{listener: listener, server: c.Socket(), links: map[*link]bool{}}
	accepting := make(chan struct{})
	go func() {
		p.accept()
		close(accepting)
	}()
	t.Cleanup(func() {
		listener.Close()
		<-accepting
		p.cutAll()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) dsn() string {
	addr := p.listener.Addr().(*net.TCPAddr)
	return fmt.Sprintf("postgres://postgres@%v/postgres?sslmode=disable", addr)
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.server)
		if err != nil {
			client.Close()
			continue
		}
		l := &link{client: client, server: server}
		p.mu.Lock()
		p.links[l] = true
		l.lost.Store(p.hole)
		p.mu.Unlock()
		p.wg.Go(func() { p.carry(l, server, client, &p.toServer) })
		p.wg.Go(func() { p.carry(l, client, server, &p.toClient) })
	}
}

// carry passes on what comes from one side until the connection ends.
func (p *proxy) carry(l *link, to, from net.Conn, ask *atomic.Pointer[func([]byte) fate]) {
	defer p.cut(l)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if d := time.Duration(p.delay.Load()); d > 0 {
			time.Sleep(d)
		}

		verdict := pass
		if fn := ask.Load(); fn != nil {
			verdict = (*fn)(buf[:n])
		}

		switch {
		case verdict == cut:
			return
		case verdict == lose:
			l.lost.Store(true)
		case verdict == tear:
			to.Write(buf[:n/2])
			l.lost.Store(true)
		case !l.lost.Load():
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
}

// cut resets a connection on both sides. On a lost one neither side learns of
// the other's end.
func (p *proxy) cut(l *link) {
	if l.lost.Load() {
		return
	}
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
	l.client.(*net.TCPConn).SetLinger(0)
	l.client.Close()
	l.server.Close()
}

// cutAll resets all connections, the lost ones too.
func (p *proxy) cutAll() {
	p.mu.Lock()
	links := p.links
	p.links = map[*link]bool{}
	p.mu.Unlock()
	for l := range links {
		l.lost.Store(false)
		p.cut(l)
	}
}

// cutLost resets the lost connections, as a network does with a packet of a
// connection that it does not know.
func (p *proxy) cutLost() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.lost.Load() {
			l.client.(*net.TCPConn).SetLinger(0)
			l.client.Close()
			l.server.Close()
			delete(p.links, l)
		}
	}
}

// loseAll makes the network a black hole, for connections that are open and
// for new ones. They stay lost when it no longer is one.
func (p *proxy) loseAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = true
	for l := range p.links {
		l.lost.Store(true)
	}
}

// restore lets new connections through.
func (p *proxy) restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = false
}

// committed reports whether a server's chunk has the answer to a COMMIT, or to
// INSERTs that were a transaction of their own (CommandComplete, ReadyForQuery;
// PostgreSQL manual, "Message Formats").
func committed(chunk []byte) bool {
	isCommit := bytes.Contains(chunk, []byte("C\x00\x00\x00\x0bCOMMIT\x00"))
	isInsert := bytes.Contains(chunk, []byte("INSERT 0 ")) && bytes.Contains(chunk, []byte("Z\x00\x00\x00\x05I"))
	return isCommit || isInsert
}
