package postgres_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/postgres"
)

// A namespace is a network of its own, which a wire leads to.
type namespace struct {
	wire string // the end of the wire inside
	run  chan func()
}

// newNamespace skips the test where a namespace or a wire is not permitted.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	n := &namespace{wire: fmt.Sprintf("al%dt", os.Getpid()%100_000), run: make(chan func())}
	outside := fmt.Sprintf("al%dh", os.Getpid()%100_000)
	go n.serve()
	t.Cleanup(func() { close(n.run) })
	if err := n.do(func() error { return syscall.Unshare(syscall.CLONE_NEWNET) }); err != nil {
		t.Skipf("a network namespace is not permitted: %v", err)
	}

	err := n.do(func() error {
		return ip("link", "add", n.wire, "type", "veth", "peer", "name", outside, "netns", fmt.Sprint(os.Getpid()))
	})
	if err != nil {
		t.Skipf("a wire into a network namespace is not permitted: %v", err)
	}

	t.Cleanup(func() { ip("link", "delete", outside) })
	for _, err := range []error{
		n.do(func() error { return ip("addr", "add", "198.51.100.2/30", "dev", n.wire) }),
		n.do(func() error { return ip("link", "set", n.wire, "up") }),
		ip("addr", "add", "198.51.100.1/30", "dev", outside),
		ip("link", "set", outside, "up"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// serve runs the functions that do is given, on one thread, which ends with it.
// That is not the process's main thread, whose namespace is the process's.
func (n *namespace) serve() {
	runtime.LockOSThread() // and never unlocked
	if syscall.Gettid() == os.Getpid() {
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		go func() {
			n.serve()
			close(done)
		}()
		<-done // keeps the main thread from the other goroutine
		return
	}
	for fn := range n.run {
		fn()
	}
}

// do runs fn in the namespace.
func (n *namespace) do(fn func() error) error {
	done := make(chan error)
	n.run <- func() { done <- fn() }
	return <-done
}

func (n *namespace) listen() (listener net.Listener, err error) {
	err = n.do(func() (err error) {
		listener, err = net.Listen("tcp", "198.51.100.2:5432")
		return err
	})
	return listener, err
}

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %v: %w\n%s", args, err, out)
	}
	return nil
}

// The wire to the server is cut, and nothing tells either side. A question
// without a deadline ends nevertheless, whether the server has acknowledged it or
// not, and the log goes on over the mended wire.
func TestACutWireIsNoticed(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	listener, err := n.listen()
	if err != nil {
		t.Fatal(err)
	}
	o := newLog(t)
	p := newProxyAt(t, cluster, listener)
	cfg := postgres.Config{Log: o.log, Home: o.home, LockTimeout: lockTimeout, Timeout: hangTimeout(), NoIndex: true}
	l := openWith(t, p.dsn(), cfg, attestlog.Config{})
	var g ledger
	g.append(t, l, testlog.Events(0, 300)...)

	holder := o.connect(t)
	execute(t, holder, "BEGIN", "LOCK TABLE tree IN ACCESS EXCLUSIVE MODE")
	ended := make(chan error, 2)
	size := func() {
		_, err := l.Size(context.Background())
		ended <- err
	}

	go size()
	testwait.Until(t, "the question is with the server", func() bool {
		return one[int](t, holder, "SELECT count(*) FROM pg_locks WHERE relation = 'tree'::regclass AND NOT granted") > 0
	})
	if err := n.do(func() error { return ip("link", "set", n.wire, "down") }); err != nil {
		t.Fatal(err)
	}
	go size()
	for range 2 {
		if err := testwait.Receive(t, "the end of a question over a cut wire", ended); err == nil {
			t.Error("a question was answered over a cut wire")
		}
	}

	execute(t, holder, "ROLLBACK")
	if err := n.do(func() error { return ip("link", "set", n.wire, "up") }); err != nil {
		t.Fatal(err)
	}
	g.append(t, l, testlog.Events(300, 310)...)
	testlog.Close(t, l)
	l = o.openLog(t, postgres.Config{})
	defer testlog.Close(t, l)
	g.check(t, l)
}
