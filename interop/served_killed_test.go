package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	sdklog "go.opentelemetry.io/otel/sdk/log"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/verify"
)

// A process is `attestlog serve`, which can be killed and started again.
type process struct {
	t             testing.TB
	program, file string
	address       string
	token         string
	cmd           *exec.Cmd
	errors        bytes.Buffer
	starts        int
}

var tokenLine = regexp.MustCompile(`al_\S+`)

// start starts the server, and returns once its log says so: a process that was
// killed before has done nothing.
func (p *process) start() {
	p.t.Helper()
	p.starts++
	p.cmd = exec.Command(p.program, "--log", "sqlite:"+p.file, "serve", "--listen", p.address)
	p.cmd.Stderr = &p.errors
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for p.token == "" && lines.Scan() {
		p.token = tokenLine.FindString(lines.Text())
	}
	if p.token == "" {
		p.t.Fatalf("attestlog serve shows no token:\n%s", &p.errors)
	}
	testwait.Until(p.t, "the log says that the server has started", func() bool { return p.logged("server.start") == p.starts })
}

// logged returns how many entries with an action the server counts, or -1 if it
// does not answer.
func (p *process) logged(action string) int {
	r, err := http.NewRequest(http.MethodGet, "http://"+p.address+"/api/v1/logs/default/count?q=action:"+action, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	var counted struct{ Count int }
	if err := json.NewDecoder(resp.Body).Decode(&counted); err != nil || resp.StatusCode != http.StatusOK {
		return -1
	}
	return counted.Count
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// Clients that send until they are answered lose nothing by a server that is
// killed, and nothing arrives twice.
func TestKilledServerLosesAndRepeatsNothing(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, program: filepath.Join(dir, "attestlog"), file: filepath.Join(dir, "audit.db"), address: l.Addr().String()}
	l.Close()
	run(t, "go", "build", "-C", "..", "-o", p.program, "./cmd/attestlog")
	p.start()
	defer func() { p.kill() }()

	const batches, size = 100, 5
	sent := make(chan struct{}, 2*batches) // one for each batch that was answered
	var clients sync.WaitGroup
	service := newOTelService(t, "http://"+p.address+"/v1/logs", p.token, func(e sdklog.Exporter) sdklog.Exporter { return persistent{e} })
	clients.Go(func() {
		for i := range batches {
			if err := service.log(i*size, size); err != nil {
				t.Errorf("ForceFlush = %v", err)
			}
			sent <- struct{}{}
		}
	})
	client := newCloudEventsClient(t, "http://"+p.address, p.token)
	clients.Go(func() {
		for i := range batches {
			for _, e := range mailViewed(t, i*size, size) {
				for !ce.IsACK(client.Send(binding.WithForceBinary(context.Background()), e)) {
					time.Sleep(10 * time.Millisecond)
				}
			}
			sent <- struct{}{}
		}
	})
	for range 3 {
		for range batches / 3 {
			<-sent
		}
		p.kill()
		p.start()
	}
	clients.Wait()
	p.kill()

	log := sqlitetest.LogAt(t, p.file, attestlog.Config{})
	entries := map[string][]attestlog.Entry{}
	for _, e := range entriesOf(t, log) {
		entries[e.Action] = append(entries[e.Action], e)
	}
	checkOTelEntries(t, entries["mail.view"], batches*size)
	checkCloudEvents(t, entries["mail.viewed"], batches*size)
	if n := len(entries["server.start"]); n != 4 {
		t.Errorf("%d starts are in the log, want 4", n)
	}
	if r, err := verify.Log(t.Context(), log, verify.Options{}); err != nil {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}
