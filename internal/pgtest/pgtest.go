// Package pgtest runs throwaway PostgreSQL servers for tests.
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
	"testing"
	"time"

	"github.com/attestlog/attestlog/internal/testwait"
)

// BinEnv names an environment variable with the folder of PostgreSQL's
// programs. Without it the newest of /usr/lib/postgresql/*/bin is used, or
// else PATH.
const BinEnv = "ATTESTLOG_PG_BIN"

// A Cluster is a PostgreSQL server with its data. It listens only on a socket
// in its folder, and ends with the test's process.
type Cluster struct {
	Dir      string
	bin      string // folder of the programs
	settings []string
	cred     *syscall.Credential // whom the server runs as, nil for the test's own user
	mounts   []string

	mu     sync.Mutex // guards what follows
	server *exec.Cmd
	exited chan struct{} // closed when server has ended
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

// New starts a server of the test's own with the given settings (name=value),
// which the end of the test removes.
func New(t testing.TB, settings ...string) *Cluster {
	t.Helper()
	c, err := Start(settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Remove)
	return c
}

// Start is New for a TestMain, which calls Remove itself.
func Start(settings ...string) (*Cluster, error) {
	return start(func(*Cluster) error { return nil }, settings)
}

// start makes a cluster and starts it. prepare is called before there is a data
// directory.
func start(prepare func(*Cluster) error, settings []string) (*Cluster, error) {
	initdb, err := Bin("initdb")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL's server is needed (Debian: apt-get install postgresql), or its folder in %s: %w", BinEnv, err)
	}
	c := &Cluster{bin: filepath.Dir(initdb), settings: settings}
	if err := c.makeDir(); err != nil {
		return nil, err
	}

	err = prepare(c)
	if err == nil {
		err = c.run("initdb", "-D", c.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C", "--no-sync")
	}
	if err == nil {
		err = c.restart()
	}
	if err != nil {
		c.Remove()
		return nil, err
	}
	return c, nil
}

// makeDir makes the cluster's folder. PostgreSQL refuses to run as root, so
// root gives the folder to another user, as whom the programs then run.
func (c *Cluster) makeDir() error {
	dir, err := os.MkdirTemp("", "attestlog-pg-")
	if err != nil {
		return err
	}
	c.Dir = dir
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
		return os.Chown(dir, uid, gid)
	}
	return errors.New("no user postgres or nobody to run PostgreSQL as")
}

func (c *Cluster) data() string { return filepath.Join(c.Dir, "data") }

// Socket returns the path of the server's socket.
func (c *Cluster) Socket() string { return filepath.Join(c.Dir, ".s.PGSQL.5432") }

// Command returns a command that runs one of PostgreSQL's programs.
func (c *Cluster) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs one of PostgreSQL's programs to its end.
func (c *Cluster) run(name string, args ...string) error {
	out, err := c.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// Restart starts the server, after it has ended, and waits until it takes
// connections.
func (c *Cluster) Restart(t testing.TB) {
	t.Helper()
	if err := c.restart(); err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) restart() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	args := []string{
		"-D", c.data(), "-k", c.Dir,
		"-c", "listen_addresses=", "-c", "max_connections=400", "-c", "shared_buffers=256MB",
		"-c", "logging_collector=off", "-c", "max_wal_size=4GB",
	}
	for _, s := range c.settings {
		args = append(args, "-c", s)
	}
	c.log.Reset()
	c.server = c.Command("postgres", args...)
	c.server.Stdout = &c.log
	c.server.Stderr = &c.log
	if err := c.launch(); err != nil {
		return err
	}

	for deadline := testwait.Deadline(); time.Now().Before(deadline); {
		if c.Command("pg_isready", "-q", "-h", c.Dir, "-U", "postgres").Run() == nil {
			return nil
		}
		select {
		case <-c.exited:
			return fmt.Errorf("postgres ended: %s", c.log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("postgres takes no connections after %v", testwait.Patience())
}

// launch starts the server's process, and has exited closed when it ends.
func (c *Cluster) launch() error {
	server, started, exited := c.server, make(chan error), make(chan struct{})
	c.exited = exited
	go func() {
		defer close(exited)
		// The server gets Pdeathsig when the thread ends that started it, and Go
		// ends threads that it does not need: this one stays until the server
		// has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := server.Start()
		started <- err
		if err == nil {
			server.Wait()
		}
	}()
	return <-started
}

// Running reports whether the server's process has not ended.
func (c *Cluster) Running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

// Kill ends the server and its children as a crash does.
func (c *Cluster) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil || c.server.Process == nil {
		return
	}
	c.server.Process.Signal(syscall.SIGKILL)
	<-c.exited
}

// Remove ends the server and deletes its data.
func (c *Cluster) Remove() {
	c.Kill()
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
