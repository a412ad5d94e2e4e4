package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/server"
)

const opaPolicy = `package shop
default authz := {"allow": false, "reason": "not the owner"}
authz := {"allow": true} if input.user == "user0"
`

// startOPA runs an agent that uploads its decisions to a URL, and returns its own.
// Ending it uploads what is left.
func startOPA(t testing.TB, upload, token string) (url string, end func()) {
	t.Helper()
	opa := program(t, "github.com/open-policy-agent/opa@v1.22.2")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.Command(opa, "run", "--server", "--addr", address, "--disable-telemetry", "--log-level", "error", "--shutdown-grace-period", "5",
		"--config-file", write("config.json", fmt.Sprintf(`{
			"services": {"attestlog": {"url": %q, "credentials": {"bearer": {"token": %q}}}},
			"decision_logs": {"service": "attestlog", "reporting": {"min_delay_seconds": 1, "max_delay_seconds": 1, "upload_size_limit_bytes": 4096}}
		}`, upload, token)), write("shop.rego", opaPolicy))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("opa: %v\n%s", err, &out)
		}
		if t.Failed() {
			t.Logf("opa:\n%s", &out)
		}
	}
	t.Cleanup(end)
	url = "http://" + address
	testwait.Until(t, "opa answers", func() bool {
		resp, err := http.Get(url + "/health")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true
	})
	return url, end
}

// The agent uploads what it decided in several bodies, again if it must, and the
// rest when it ends.
func TestOPAUploadsOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Config{})
	url, end := startOPA(t, s.URL+"/ingest/default/opa", s.token)
	s.fail(works, before, after, cut)
	type decision struct {
		user            string
		asked, answered time.Time
	}
	asked := map[string]decision{}
	ask := func(n int) {
		for range n {
			user := fmt.Sprintf("user%d", len(asked)%7)
			before := time.Now()
			resp, err := http.Post(url+"/v1/data/shop/authz", "application/json", strings.NewReader(fmt.Sprintf(`{"input":{"user":%q,"method":"GET","path":"/mail/é"}}`, user)))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			var answer struct {
				DecisionID string `json:"decision_id"`
			}
			if err := json.Unmarshal(body, &answer); err != nil || answer.DecisionID == "" {
				t.Fatalf("opa answers %s, %v", body, err)
			}
			asked[answer.DecisionID] = decision{user, before, time.Now()}
		}
	}
	ask(300)
	testwait.Until(t, "300 decisions have arrived", func() bool { return testlog.Size(t, s.log) >= 300 })
	ask(50)
	end()
	entries := s.entries(t)
	if len(entries) != len(asked) {
		t.Errorf("%d entries of %d decisions", len(entries), len(asked))
	}
	for _, e := range entries {
		d, ok := asked[e.Request.ID]
		delete(asked, e.Request.ID)
		want := attestlog.Failure
		if d.user == "user0" {
			want = attestlog.Success
		}
		inTime := !e.Time.Before(d.asked.Truncate(time.Second)) && !e.Time.After(d.answered)
		if !ok || e.Actor.ID != d.user || e.Action != "opa.shop.authz" || e.Outcome != want || !inTime {
			t.Fatalf("entry %d = %s, of %+v (known: %v)", e.Index, e.Original, d, ok)
		}
	}
	if len(asked) > 0 {
		t.Errorf("%d decisions are not in the log", len(asked))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.answered[len(s.answered)-1]; last.status != http.StatusOK || last.durable != uint64(len(entries)) || len(s.plan) > 0 {
		t.Errorf("the last answer was %d with %d entries durable; faults left: %v", last.status, last.durable, s.plan)
	}
}
