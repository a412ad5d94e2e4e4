// Package pgtest runs throwaway PostgreSQL clusters for tests.
package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// BinEnv names the folder of PostgreSQL's programs. Without it the newest of
// /usr/lib/postgresql/*/bin is taken, and then PATH.
const BinEnv = "ATTESTLOG_PG_BIN"

// A Cluster is a running server. It listens on a socket in its folder only, and
// ends with the test's process.
type Cluster struct {
	Dir      string
	bin      string
	settings []string
	cred     *syscall.Credential
	mounts   []string

	mu     sync.Mutex
	server *exec.Cmd
	exited chan struct{}
	log    bytes.Buffer
}

// Bin returns the path of one of PostgreSQL's programs.
func Bin(name string) (string, error) {
	if dir := os.Getenv(BinEnv); dir != "" {
		return filepath.Join(dir, name), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return exec.LookPath(name)
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return n
	}
	return slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }), nil
}

// Start makes a cluster with further settings (name=value) and starts it.
func Start(settings ...string) (*Cluster, error) {
	return start(func(*Cluster) error { return nil }, settings)
}

// start is Start; prepare is called before there is a data directory.
func start(prepare func(*Cluster) error, settings []string) (*Cluster, error) {
	initdb, err := Bin("initdb")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL's server is needed (Debian: apt-get install postgresql), or its folder in %s: %w", BinEnv, err)
	}
	dir, err := os.MkdirTemp("", "attestlog-pg-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, bin: filepath.Dir(initdb), settings: settings}
	if err := c.dropRoot(); err != nil {
		return nil, err
	}
	if err := prepare(c); err != nil {
		c.clear()
		return nil, err
	}
	out, err := c.Command("initdb", "-D", filepath.Join(dir, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C", "--no-sync").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return c, c.Restart()
}

// dropRoot lets the cluster run as somebody else: PostgreSQL refuses root.
func (c *Cluster) dropRoot() error {
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		c.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return os.Chown(c.Dir, uid, gid)
	}
	return errors.New("no user postgres or nobody to run PostgreSQL as")
}

// Command returns a command that runs one of PostgreSQL's programs.
func (c *Cluster) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Restart starts the server, after Kill or Stop, and waits until it answers.
func (c *Cluster) Restart() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	args := []string{
		"-D", filepath.Join(c.Dir, "data"), "-k", c.Dir, "-c", "listen_addresses=", "-c", "max_connections=400",
		"-c", "shared_buffers=256MB", "-c", "logging_collector=off", "-c", "max_wal_size=4GB",
	}
	for _, s := range c.settings {
		args = append(args, "-c", s)
	}
	c.log.Reset()
	c.server = c.Command("postgres", args...)
	c.server.Stdout, c.server.Stderr = &c.log, &c.log
	server, started, exited := c.server, make(chan error), make(chan struct{})
	c.exited = exited
	go func() {
		defer close(exited)
		// Pdeathsig comes when the thread ends that started the server, so that it
		// must be nobody else's: a goroutine that ends locked takes its thread along.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := server.Start()
		started <- err
		if err == nil {
			server.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	for range 600 {
		if c.Command("pg_isready", "-q", "-h", c.Dir, "-U", "postgres").Run() == nil {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("postgres ended: %s", c.log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return errors.New("postgres does not answer")
}

// Kill ends the server and its children as a crash does.
func (c *Cluster) Kill() { c.signal(syscall.SIGKILL) }

// Stop ends the server; open connections are closed.
func (c *Cluster) Stop() { c.signal(syscall.SIGINT) }

func (c *Cluster) signal(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server.Process.Signal(sig)
	<-c.exited
}

// Pid returns the server's process id.
func (c *Cluster) Pid() int { return c.server.Process.Pid }

// Remove ends the server and deletes the cluster.
func (c *Cluster) Remove() {
	c.Kill()
	c.clear()
}

func (c *Cluster) clear() {
	c.unmount()
	os.RemoveAll(c.Dir)
}

// DSN returns the URL of a database of the cluster; params are name=value.
func (c *Cluster) DSN(database string, params ...string) string {
	q := url.Values{"host": {c.Dir}, "user": {"postgres"}}
	for _, p := range params {
		name, value, _ := strings.Cut(p, "=")
		q.Set(name, value)
	}
	return "postgres:///" + database + "?" + q.Encode()
}
