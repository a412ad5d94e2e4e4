package server_test

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/servertest"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/witness"
)

// A watched service has a log whose checkpoints a real witness cosigns, and a
// webhook.
type watched struct {
	url      string
	log      *attestlog.Log
	verifier *witness.Verifier
	away     atomic.Bool // the witness is
	alarms   chan string
	token    string
	disk     atomic.Uint64 // free bytes
}

func watch(t *testing.T, require bool) *watched {
	t.Helper()
	store := sqlitetest.Store(t, sqlitetest.Path(t), sqlite.Config{})
	w := &watched{alarms: make(chan string, 100), log: testlog.New(t, store, attestlog.Config{})}
	w.disk.Store(100 << 30)
	key, err := attestlog.VerifierKey(store.Home())
	if err != nil {
		t.Fatal(err)
	}
	logKey, err := note.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	secret, public, err := witness.GenerateKey(rand.Reader, "w.example.com")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := witness.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	if w.verifier, err = witness.NewVerifier(public); err != nil {
		t.Fatal(err)
	}
	other, err := witness.New(witness.Config{
		Signer: signer, Logs: map[string][]note.Verifier{w.log.Origin(): {logKey}},
		Dir: filepath.Join(t.TempDir(), "witness"), Create: true, Logger: testlog.Quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	at := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.away.Load() {
			panic(http.ErrAbortHandler)
		}
		other.ServeHTTP(rw, r)
	}))
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		w.alarms <- string(text)
	}))
	t.Cleanup(func() {
		testlog.Close(t, w.log)
		at.Close()
		hook.Close()
	})
	w.url = servertest.Start(t, server.Config{
		Logs: []server.Log{{
			Name: "default", Log: w.log, Tokens: store, Disk: func() (uint64, uint64, error) { return w.disk.Load(), 200 << 30, nil },
			Witnesses: &server.Witnesses{Require: require, Quorum: witness.Quorum{
				Need: 1, Witnesses: []*witness.Client{{URL: at.URL, Verifier: w.verifier}},
			}},
		}},
		Public: true, Webhook: hook.URL,
	}, nil)
	w.token = servertest.Token(t, store, server.Token{Scopes: []string{server.ScopeRead}})
	return w
}

// published returns the checkpoint that anybody gets, and its size; -1 if none.
func (w *watched) published(t *testing.T) (text string, size int64) {
	t.Helper()
	resp, err := http.Get(w.url + "/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		return string(body), -1
	}
	c, err := attestlog.ParseCheckpoint(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), int64(c.Size)
}

func (w *watched) append(t *testing.T) {
	t.Helper()
	if _, err := w.log.Append(t.Context(), attestlog.Event{Action: "a", Actor: attestlog.Actor{ID: "b"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.log.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyWhatWitnessesCosignedIsPublished(t *testing.T) {
	t.Parallel()
	w := watch(t, true)
	if text, size := w.published(t); size != -1 || !strings.Contains(text, "witnesses have not cosigned") {
		t.Errorf("before there is a cosignature: %d %s", size, text)
	}
	w.append(t)
	var text string
	testwait.Until(t, "the first entry is published", func() bool {
		var size int64
		text, size = w.published(t)
		return size == 1
	})
	opened, err := note.Open([]byte(text), note.VerifierList(w.verifier))
	if err != nil || len(opened.Sigs) != 1 {
		t.Errorf("the published checkpoint is not cosigned: %v\n%s", err, text)
	}
	w.away.Store(true)
	w.append(t)
	if _, size := w.published(t); size != 1 {
		t.Errorf("without the witness %d entries are published, want 1", size)
	}
	for _, call := range []struct{ method, path string }{{"GET", "/checkpoint"}, {"GET", "/proofs/0"}, {"GET", "/export"}, {"GET", ""}} {
		r, err := http.NewRequestWithContext(t.Context(), call.method, w.url+"/api/v1/logs/default"+call.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+w.token)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		cosigned := strings.Contains(string(text), "w.example.com") || strings.Contains(string(text), `"checkpoint_size":1,`)
		if err != nil || resp.StatusCode != http.StatusOK || !cosigned || strings.Contains(string(text), w.log.Origin()+"\\n2") {
			t.Errorf("%s %s: %d %v: %s", call.method, call.path, resp.StatusCode, err, text)
		}
	}
	if n, err := w.log.Size(t.Context()); err != nil || n < 2 {
		t.Errorf("the receipt waited: %d, %v", n, err)
	}
	w.away.Store(false)
	testwait.Until(t, "the second entry is published", func() bool {
		_, size := w.published(t)
		return size >= 2
	})
}

func TestAMissingWitnessHoldsNothingUpUnlessRequired(t *testing.T) {
	t.Parallel()
	w := watch(t, false)
	w.away.Store(true)
	w.append(t)
	if _, size := w.published(t); size != 1 {
		t.Errorf("%d entries are published, want 1", size)
	}
	w.away.Store(false)
	testwait.Until(t, "the checkpoint is cosigned", func() bool {
		text, _ := w.published(t)
		return strings.Count(text, "\n— ") == 2
	})
}

func TestAFullDiskIsAnAlarm(t *testing.T) {
	t.Parallel()
	w := watch(t, false)
	w.disk.Store(1 << 20)
	if got := <-w.alarms; !strings.Contains(got, `"alarm":"disk"`) || !strings.Contains(got, "1 of 204800 MiB are free") || !strings.Contains(got, `"over":false`) {
		t.Errorf("the webhook gets %s", got)
	}
	w.disk.Store(100 << 30)
	if got := <-w.alarms; !strings.Contains(got, `"alarm":"disk"`) || !strings.Contains(got, `"over":true`) {
		t.Errorf("the webhook gets %s", got)
	}
	testwait.Until(t, "both are in the log", func() bool {
		n, err := w.log.Count(t.Context(), query.And(query.Field("action", "server.alarm"), query.Field("target", "alarm/disk")), 0)
		return err == nil && n == 2
	})
}
