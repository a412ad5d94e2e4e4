// Package examples has complete small programs; this test builds and runs them.
package examples

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
)

// build compiles a program.
func build(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", path, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// start runs a server until end is called, and returns its URL.
func start(t *testing.T, path string, args ...string) (url string, end func()) {
	t.Helper()
	cmd := exec.Command(path, append(args, "-addr", "127.0.0.1:0")...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if _, scanErr := fmt.Sscanf(line, "listening on %s", &url); scanErr != nil {
		t.Fatalf("it said %q, %v", line, err)
	}
	return url, func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	}
}

func send(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User", "alice")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// entries opens a log and returns what fn says of each entry.
func entries(t *testing.T, store attestlog.Store, fn func(attestlog.Entry) string) (out []string) {
	t.Helper()
	log := testlog.New(t, store, attestlog.Config{ReadOnly: true})
	if _, err := verify.Log(t.Context(), log, verify.Options{}); err != nil {
		t.Errorf("Verify = %v", err)
	}
	for e, err := range log.Entries(t.Context(), query.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fn(e))
	}
	return out
}

func openFile(t *testing.T, dir string) attestlog.Store {
	t.Helper()
	return sqlitetest.Store(t, filepath.Join(dir, "audit.db"), sqlite.Config{ReadOnly: true})
}

func TestHTTP(t *testing.T) {
	dir := t.TempDir()
	url, end := start(t, build(t, "http"), "-dir", dir)
	send(t, "PUT", url+"/notes/1", "milk")
	send(t, "PUT", url+"/notes/1", "bread")
	if _, text := send(t, "GET", url+"/notes/1", ""); text != "bread" {
		t.Errorf("the note is %q", text)
	}
	// The entries are stored after the requests were answered.
	testwait.Until(t, "both changes are on the audit page", func() bool {
		status, text := send(t, "GET", url+"/admin/audit?q=actor:alice", "")
		return status == 200 && strings.Contains(text, `"entries":[{"index":1`)
	})
	end()
	got := entries(t, openFile(t, dir), func(e attestlog.Entry) string {
		return fmt.Sprintf("%s %s %s %v %s->%s", e.Actor.ID, e.Request.Route, e.Outcome, e.Targets, e.Changes[0].Old, e.Changes[0].New)
	})
	want := []string{"alice PUT /notes/{id} success [{1 note }] ->milk", "alice PUT /notes/{id} success [{1 note }] milk->bread"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestWorker(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(build(t, "worker"), "-dir", dir, "-jobs", "4")
	text, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(text), "job begins") != 4 || strings.Contains(string(text), "job.run") {
		t.Fatalf("%v: %s", err, text)
	}
	got := entries(t, openFile(t, dir), func(e attestlog.Entry) string {
		return fmt.Sprintf("%s %s %s %v", e.Action, e.Outcome, e.Targets[0].ID, e.Attributes["coalesced"] != nil)
	})
	want := []string{
		"job.run  a false", "job.retry failure mail false", "job.run  b false", "job.retry failure mail false", "job.run  c false",
		"job.run  d false", "job.retry failure mail true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestChi(t *testing.T) {
	cluster := pgtest.New(t, "fsync=off").DSN("postgres")
	home := filepath.Join(t.TempDir(), "home")
	path := build(t, "chi")
	first, endFirst := start(t, path, "-dsn", cluster, "-home", home)
	second, endSecond := start(t, path, "-dsn", cluster, "-home", home)
	for i, want := range []int{201, 201, 409} { // the last is there already
		url := []string{first, second}[i%2]
		if status, text := send(t, "POST", fmt.Sprint(url, "/orders/", i%2), ""); status != want {
			t.Errorf("order %d: %d %s, want %d", i, status, text, want)
		}
	}
	store, err := postgres.Open(t.Context(), cluster, postgres.Config{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	log := testlog.New(t, store, attestlog.Config{})
	endFirst()
	endSecond()
	testlog.Flush(t, log)
	orders, requests := map[string]int{}, map[string]int{}
	for e, err := range log.Entries(t.Context(), query.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Action == "order.create" {
			orders[e.Targets[0].ID]++
		} else {
			requests[fmt.Sprint(e.Request.Route, " ", e.Request.Status)]++
		}
	}
	if diff := cmp.Diff(map[string]int{"0": 1, "1": 1}, orders); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"/orders/{id} 201": 2, "/orders/{id} 409": 1}, requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	testlog.Close(t, log)
}
