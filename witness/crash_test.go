package witness

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// processEnv tells the test's own program to be a witness.
const processEnv = "ATTESTLOG_WITNESS_PROCESS"

// settings are what such a process is told.
type settings struct {
	Dir, Signer, Origin, LogKey string
	// Seed, if not 0, makes the names of the process's temporary files known;
	// see temporary.
	Seed uint64
}

// TestProcess is not a test but the witness that start runs.
func TestProcess(t *testing.T) {
	told := os.Getenv(processEnv)
	if told == "" {
		return
	}
	var s settings
	if err := json.Unmarshal([]byte(told), &s); err != nil {
		t.Fatal(err)
	}
	if s.Seed != 0 {
		cryptotest.SetGlobalRandom(t, s.Seed)
	}
	fmt.Fprintln(os.Stderr, beWitness(s))
	os.Exit(2)
}

// beWitness prints its address and serves until it is killed or its standard
// input ends.
func beWitness(s settings) error {
	signer, err := NewSigner(s.Signer)
	if err != nil {
		return err
	}
	key, err := note.NewVerifier(s.LogKey)
	if err != nil {
		return err
	}
	w, err := New(Config{
		Signer: signer, Dir: s.Dir, Logs: map[string][]note.Verifier{s.Origin: {key}},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println("http://" + l.Addr().String())
	return http.Serve(l, w)
}

// A process is a witness that can be killed.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	url   string
}

// start runs the witness that settings describe, under the command in front.
func start(t *testing.T, s settings, front ...string) *process {
	t.Helper()
	told, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	args := append(front, os.Args[0], "-test.run=^TestProcess$")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), processEnv+"="+string(told))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, stdin: in}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: no address: %v", cmd, err)
	}
	p.url = strings.TrimSpace(line)
	return p
}

// kill kills the process at once; of no use once it has ended.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.end()
}

// end ends the process by its standard input, which also reaches one that
// strace runs.
func (p *process) end() {
	p.stdin.Close()
	p.cmd.Wait() // reports a kill
}

// newProcess returns what a process needs to be a witness of a log, with an
// empty state.
func newProcess(t *testing.T, size uint64) (settings, *testLog, *Verifier) {
	t.Helper()
	logKey, vkey, err := note.GenerateKey(rand.NewChaCha8([32]byte{}), origin)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{}
	if l.signer, err = note.NewSigner(logKey); err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	l.keys = []note.Verifier{v}
	l.grow(t, size, "main")
	skey, _, err := GenerateKey(rand.NewChaCha8([32]byte{1}), "witness.example/w1")
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t, l)
	if cfg.Signer, err = NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	open(t, cfg)
	return settings{Dir: cfg.Dir, Signer: skey, Origin: origin, LogKey: vkey}, l, cfg.Signer.Verifier()
}

// TestKilledWhileCosigning kills a witness that several clients ask, again and
// again. What it cosigned it must know afterwards: a fork of that is refused,
// and the log's next checkpoint is not.
func TestKilledWhileCosigning(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	const clients, step = 4, 400
	s, l, v := newProcess(t, uint64(rounds*step+10))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	cosigned := uint64(0) // the largest that a client was given
	// On a slow machine many rounds may end before anything is cosigned.
	for round := 0; round < rounds || cosigned == 0 && round < 20*rounds; round++ {
		p := start(t, s)
		time.AfterFunc(time.Duration(rnd.IntN(60))*time.Millisecond, func() { p.cmd.Process.Kill() })
		var mu sync.Mutex
		var wg sync.WaitGroup
		next := cosigned
		for range clients {
			c := &Client{URL: p.url, Verifier: v}
			wg.Go(func() {
				for {
					mu.Lock()
					next = min(next+1, uint64(len(l.stored)/2))
					size := next
					mu.Unlock()
					_, err := c.Cosign(t.Context(), l.checkpoint(t, size), l.prove)
					switch {
					case err == nil:
						mu.Lock()
						cosigned = max(cosigned, size)
						mu.Unlock()
					case errors.Is(err, ErrUnavailable):
						return // it was killed, or this client was never the first
					case !errors.Is(err, ErrRolledBack): // another client was faster
						t.Errorf("round %d, size %d: %v", round, size, err)
						return
					}
				}
			})
		}
		wg.Wait()
		p.kill()
		checkAfterCrash(t, s, l, v, cosigned)
	}
	t.Logf("%d entries were cosigned", cosigned)
	if cosigned == 0 {
		t.Error("nothing was cosigned")
	}
}

// checkAfterCrash starts the witness again. It must know at least the tree of
// size cosigned, refuse forks of it, and go on.
func checkAfterCrash(t *testing.T, s settings, l *testLog, v *Verifier, cosigned uint64) {
	t.Helper()
	p := start(t, s)
	defer p.kill()
	if cosigned > 0 {
		fork := l.fork(t, cosigned-1, cosigned+20, "fork")
		for _, size := range []uint64{cosigned, cosigned + 5, cosigned + 20} {
			for _, old := range []uint64{0, cosigned - 1, cosigned} {
				if status, _, _ := post(t, p.url, fork.request(t, old, size).marshal()); status == 200 {
					t.Errorf("%d entries were cosigned, and after a crash a fork of %d from %d", cosigned, size, old)
				}
			}
			c := &Client{URL: p.url, Verifier: v}
			if _, err := c.Cosign(t.Context(), fork.checkpoint(t, size), fork.prove); !errors.Is(err, ErrForked) && !errors.Is(err, ErrRolledBack) {
				t.Errorf("%d entries were cosigned, a fork of %d: %v", cosigned, size, err)
			}
		}
	}
	c := &Client{URL: p.url, Verifier: v}
	size := cosigned
	for { // a checkpoint may have been kept and its cosignature not given
		_, err := c.Cosign(t.Context(), l.checkpoint(t, size), l.prove)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrRolledBack) || size > cosigned+20 {
			t.Fatalf("%d entries were cosigned, the log's %d after a crash: %v", cosigned, size, err)
		}
		size++
	}
}
