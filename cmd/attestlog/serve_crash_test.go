package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/google/uuid"
)

// A load is what clients do to a server that is killed again and again: they send
// what was not acknowledged once more, with the same ids.
type load struct {
	*servedProcess
	done  atomic.Bool   // no new work is begun
	ended atomic.Bool   // all of it is acknowledged
	acked chan struct{} // one for each acknowledgement

	mu   sync.Mutex
	ours map[string]uint64 // the index that was acknowledged for each id

	exported []byte         // whole lines, over all attempts
	tailed   []string       // ids, by index
	verified map[string]int // how often a verification ended in a state
}

// settle waits until a server listens again.
func (l *load) settle() {
	for !l.t.Failed() {
		if c, err := net.DialTimeout("tcp", l.address, time.Second); err == nil {
			c.Close()
			return
		}
	}
}

// store sends a body until it is acknowledged, and notes the receipts.
func (l *load) store(path, body string, status int, headers ...string) {
	for !l.t.Failed() {
		r, err := l.call("POST", path, body, headers...)
		if err != nil || r.status == http.StatusServiceUnavailable {
			l.settle()
			continue
		}
		var got struct {
			Receipts []struct {
				Index uint64
				ID    string
			}
			Refused []string
		}
		if err := json.Unmarshal(r.body, &got); err != nil || r.status != status || len(got.Receipts) == 0 || len(got.Refused) > 0 {
			l.t.Errorf("POST %s of %s = %d %s, %v", path, body, r.status, r.body, err)
			return
		}
		l.mu.Lock()
		for _, receipt := range got.Receipts {
			if was, ok := l.ours[receipt.ID]; ok {
				l.t.Errorf("%s was acknowledged at %d, and then at %d", receipt.ID, was, receipt.Index)
			}
			l.ours[receipt.ID] = receipt.Index
		}
		l.mu.Unlock()
		l.acked <- struct{}{}
		return
	}
}

func (l *load) append() {
	for !l.done.Load() {
		l.store("/api/v1/logs/default/entries", fmt.Sprintf(`{"id":%q,"action":"x","actor":{"id":"append"}}`, uuid.Must(uuid.NewV7())), http.StatusCreated)
	}
}

func (l *load) appendBatches() {
	body := strings.Repeat(`{"action":"x","actor":{"id":"batch"}}`+"\n", 50)
	for !l.done.Load() {
		l.store("/api/v1/logs/default/entries", body, http.StatusCreated, "Idempotency-Key", uuid.Must(uuid.NewV7()).String())
	}
}

func (l *load) ingest() {
	for n := 0; !l.done.Load(); n++ {
		body := fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"test","type":"x","authid":"ingest","time":"2026-01-01T00:00:00Z"}`, n)
		l.store("/ingest/default/cloudevents", body, http.StatusOK, "Content-Type", "application/cloudevents+json")
	}
}

// export goes on behind the last whole line of what it has.
func (l *load) export() {
	for from := uint64(0); !l.t.Failed(); {
		last := l.ended.Load()
		r, err := l.call("GET", "/api/v1/logs/default/export?from="+strconv.FormatUint(from, 10), "")
		if err != nil && r.status == 0 {
			l.settle()
			continue
		}
		if r.status != http.StatusOK && r.status != http.StatusServiceUnavailable {
			l.t.Errorf("export = %d %s", r.status, r.body)
		}
		if r.status != http.StatusOK {
			continue
		}
		whole := r.body[:bytes.LastIndexByte(r.body, '\n')+1]
		for line := range bytes.Lines(whole) {
			if entry := l.parse(line); entry.Index != nil {
				from = *entry.Index + 1
			}
		}
		l.exported = append(l.exported, whole...)
		if whole := err == nil && r.trailer.Get("Attestlog-Size") != ""; whole && last {
			return
		}
	}
}

// exported is a line of an export, or an event of a tail.
type exported struct {
	Index *uint64
	ID    string
	Leaf  struct{ ID string }
}

func (l *load) parse(line []byte) (e exported) {
	if err := json.Unmarshal(line, &e); err != nil {
		l.t.Errorf("%v in %.200s", err, line)
	}
	return e
}

// tail connects again behind the last entry that it has, until it has the last of all.
func (l *load) tail() {
	for !l.t.Failed() {
		r, _ := http.NewRequestWithContext(l.t.Context(), "GET", "http://"+l.address+"/api/v1/logs/default/tail?from=0", nil)
		r.Header.Set("Authorization", "Bearer "+l.token)
		if n := len(l.tailed); n > 0 {
			r.Header.Set("Last-Event-ID", strconv.Itoa(n-1))
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			l.settle()
			continue
		}
		last := l.follow(resp.Body)
		resp.Body.Close()
		if last {
			return
		}
	}
}

// follow reads a tail to its end, and reports whether that was the last entry.
func (l *load) follow(body io.Reader) bool {
	for in := bufio.NewReader(body); ; {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return false // what was not read to its end comes again
		}
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue
		}
		entry := l.parse(data)
		if entry.Index == nil || *entry.Index != uint64(len(l.tailed)) {
			l.t.Errorf("the tail has %.200s, want entry %d", data, len(l.tailed))
			return true
		}
		if l.tailed = append(l.tailed, entry.ID); entry.ID == endID {
			return true
		}
	}
}

// endID is that of the last event.
const endID = "019a9f0c-2f5e-7cc1-9c1e-ffffffffffff"

func (l *load) verify() {
	for !l.done.Load() {
		r, err := l.call("POST", "/api/v1/logs/default/verifications", "")
		var job struct{ ID, State, Error string }
		if err != nil || json.Unmarshal(r.body, &job) != nil || job.ID == "" {
			l.settle()
			continue
		}
		for job.State == "running" {
			r, err := l.call("GET", "/api/v1/logs/default/verifications/"+job.ID, "")
			if err != nil || r.status != http.StatusOK || json.Unmarshal(r.body, &job) != nil {
				job.State = "lost with its server"
			}
		}
		if job.State == "tampered" {
			l.t.Errorf("a verification found %s", job.Error)
		}
		l.verified[job.State]++
	}
}

// TestServeEndsInTheMiddleOfEverything ends the program with a signal, again and
// again, while clients append, ingest, export, follow and verify.
func TestServeEndsInTheMiddleOfEverything(t *testing.T) {
	for _, test := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGKILL, -1}, {syscall.SIGTERM, 0}} {
		t.Run(test.signal.String(), func(t *testing.T) {
			l := &load{servedProcess: &servedProcess{t: t, path: filepath.Join(t.TempDir(), "log.db")}, acked: make(chan struct{}, 100), ours: map[string]uint64{}, verified: map[string]int{}}
			l.start()
			var work, reading sync.WaitGroup
			for _, f := range []func(){l.append, l.append, l.append, l.appendBatches, l.ingest, l.verify} {
				work.Go(f)
			}
			reading.Go(l.export)
			reading.Go(l.tail)
			for round := range 8 {
				l.await(40 + 13*round) // so that it is in the middle
				if code := l.end(test.signal); code != test.code {
					t.Errorf("round %d: exit code %d, want %d: %s", round, code, test.code, l.stderr)
				}
				l.start()
			}
			l.done.Store(true)
			go func() {
				for range l.acked { // of what is under way
				}
			}()
			work.Wait()
			l.store("/api/v1/logs/default/entries", `{"id":"`+endID+`","action":"x","actor":{"id":"append"}}`, http.StatusCreated)
			close(l.acked)
			l.ended.Store(true)
			reading.Wait()
			l.check()
		})
	}
}

// await waits for n acknowledgements.
func (l *load) await(n int) {
	l.t.Helper()
	for range n {
		testwait.Receive(l.t, "an acknowledgement", l.acked)
	}
}

// check compares what was acknowledged with what is there.
func (l *load) check() {
	t := l.t
	t.Helper()
	there := map[string][]uint64{}
	for line := range bytes.Lines(l.exported) {
		if entry := l.parse(line); entry.Index != nil {
			there[entry.Leaf.ID] = append(there[entry.Leaf.ID], *entry.Index)
		}
	}
	tailed := map[string][]uint64{}
	for index, id := range l.tailed {
		tailed[id] = append(tailed[id], uint64(index))
	}
	for id, index := range l.ours {
		for where, got := range map[string][]uint64{"export": there[id], "tail": tailed[id]} {
			if len(got) != 1 || got[0] != index {
				t.Errorf("%s was acknowledged at %d; the %s has it at %d", id, index, where, got)
			}
		}
	}
	t.Logf("%d events acknowledged, %d entries followed; verifications %v", len(l.ours), len(l.tailed), l.verified)
	if code := l.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d: %s", code, l.stderr)
	}
	file := filepath.Join(t.TempDir(), "export.jsonl")
	if err := os.WriteFile(file, l.exported, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", "--index"}, {"verify", "--jsonl", file, "--key", l.path + ".pub"}} {
		if out, err := exec.Command("attestlog", append([]string{"--log", "sqlite:" + l.path}, args...)...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}
