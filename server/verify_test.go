package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/server"
)

type verification struct {
	ID          string
	State       string
	Done, Total uint64
	Began       time.Time
	Ended       time.Time
	Error       string
	BadIndex    *uint64 `json:"bad_index"`
	Report      *struct {
		Size, Signed uint64
		Root         string
		Checkpoints  int
		Keys         []string
		KeysBeside   bool `json:"keys_beside"`
	}
}

// verified starts a verification and asks for it until it has ended.
func (s *service) verified(params, token string) verification {
	s.t.Helper()
	var v verification
	a := s.post(api+"/verifications"+params, token, "")
	a.into(s.t, http.StatusAccepted, &v)
	path := a.Header.Get("Location")
	if path != api+"/verifications/"+v.ID {
		s.t.Fatalf("Location %q of %s", path, v.ID)
	}
	testwait.Until(s.t, "the verification ends", func() bool {
		s.get(path, token).into(s.t, http.StatusOK, &v)
		return v.State != "running"
	})
	return v
}

func TestAVerificationReportsWhatWasVerified(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeVerify, server.ScopeRead)
	s.append(events(0, 1000)...)
	s.checkpoint(s.post(api+"/checkpoint", token, ""))
	for _, params := range []string{"", "?index=true"} {
		v := s.verified(params, token)
		if v.State != "verified" || v.Done < 1000 || v.Done != v.Total || v.Error != "" || v.BadIndex != nil || v.Ended.Before(v.Began) {
			t.Errorf("verification%s = %+v", params, v)
		}
		if r := v.Report; r == nil || r.Size != v.Total || r.Signed < 1000 || r.Checkpoints == 0 || len(r.Keys) != 1 || !strings.HasPrefix(r.Keys[0], "example.com/log+") || !r.KeysBeside {
			t.Errorf("report%s = %+v", params, r)
		}
	}
}

func TestAVerificationFindsATamperedDatabase(t *testing.T) {
	told := make(chan server.Alarm, 10)
	webhook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var a server.Alarm
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			t.Error(err)
		}
		told <- a
	}))
	defer webhook.Close()
	s := serve(t, func(s *service) { s.config.Webhook = webhook.URL })
	token := s.token(server.ScopeAdmin)
	s.append(events(0, 600)...)
	s.checkpoint(s.post(api+"/checkpoint", token, ""))
	conn, err := zombiezen.OpenConn(s.path, zombiezen.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetBlockOnBusy()
	// Whoever can write the file can drop its triggers, and put them back.
	trigger, err := sqlitex.ResultText(conn.Prep("SELECT sql FROM sqlite_master WHERE name = 'entries_update'"))
	if err != nil {
		t.Fatal(err)
	}
	err = sqlitex.ExecuteScript(conn, `DROP TRIGGER entries_update;
		UPDATE entries SET leaves = CAST(replace(CAST(leaves AS TEXT), 'event 517', 'event 718') AS BLOB);
		`+trigger, nil)
	if err != nil {
		t.Fatal(err)
	}
	v := s.verified("", token)
	if v.State != "tampered" || v.BadIndex == nil || *v.BadIndex != 517 || !strings.Contains(v.Error, "517") {
		t.Errorf("verification = %+v, want entry 517", v)
	}
	if a := <-told; a.Log != "default" || a.Alarm != server.AlarmTampered || !strings.Contains(a.Text, "517") {
		t.Errorf("alarm %+v, want one about entry 517 of default", a)
	}
	if err := sqlitex.ExecuteScript(conn, `DROP TRIGGER entries_update; UPDATE entries SET leaves = CAST(replace(CAST(leaves AS TEXT), '"event 400"', 'xx') AS BLOB);`, nil); err != nil {
		t.Fatal(err)
	}
	if a := s.get(api+"/entries/400", token); a.StatusCode != http.StatusInternalServerError || !strings.Contains(string(a.body), "tampered") {
		t.Errorf("an entry that was changed is answered with %d: %s", a.StatusCode, a.body)
	}
	if a := s.get("/metrics", token); !strings.Contains(string(a.body), `attestlog_alarms_total{alarm="tampered",log="default"} 1`) {
		t.Errorf("no alarm among the figures")
	}
}

// A gate holds whoever scans for a verification until it is opened.
type gate struct {
	attestlog.Store
	shut    chan struct{}
	waiting chan struct{}
}

func (g *gate) Rows(size uint64) attestlog.RowCheck { return gatedRows{g.Store.Rows(size), g} }

type gatedRows struct {
	attestlog.RowCheck
	gate *gate
}

func (r gatedRows) Scan(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	select {
	case r.gate.waiting <- struct{}{}:
	default:
	}
	select {
	case <-r.gate.shut:
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.RowCheck.Scan(ctx, from, to, fn)
}

func gated(t *testing.T) (*service, *gate) {
	g := &gate{shut: make(chan struct{}), waiting: make(chan struct{}, 1)}
	s := serve(t, func(s *service) {
		s.wrap = func(store attestlog.Store) attestlog.Store {
			g.Store = store
			return g
		}
	})
	return s, g
}

func TestOneVerificationRunsAtATime(t *testing.T) {
	s, g := gated(t)
	token := s.token(server.ScopeVerify)
	s.append(events(0, 10)...)
	var first, second verification
	s.post(api+"/verifications", token, "").into(t, 202, &first)
	s.post(api+"/verifications", token, "").into(t, 202, &second)
	if first.ID != second.ID || first.State != "running" {
		t.Errorf("%+v, then %+v; want the same that runs", first, second)
	}
	wantProblem(t, s.post(api+"/verifications?index=true", token, ""), http.StatusConflict, first.ID)
	close(g.shut)
	for first.State == "running" {
		s.get(api+"/verifications/"+first.ID, token).into(t, 200, &first)
	}
	if v := s.verified("?index=true", token); v.ID == first.ID {
		t.Errorf("the verification of before was joined: %+v", v)
	}
}

func TestAStopEndsAVerification(t *testing.T) {
	s, g := gated(t)
	token := s.token(server.ScopeVerify)
	s.append(events(0, 10)...)
	var v verification
	a := s.post(api+"/verifications", token, "")
	a.into(t, 202, &v)
	<-g.waiting
	s.srv.Stop()
	for v.State == "running" {
		s.get(a.Header.Get("Location"), token).into(t, 200, &v)
	}
	if v.State != "unable" || v.Error == "" {
		t.Errorf("after a stop: %+v, want unable", v)
	}
	close(g.shut) // what else is read while the log closes
}

func TestTheLastVerificationsAreRemembered(t *testing.T) {
	s := serve(t)
	token := s.token(server.ScopeVerify)
	first := s.verified("", token)
	for range 20 {
		s.verified("", token)
	}
	wantProblem(t, s.get(api+"/verifications/"+first.ID, token), http.StatusNotFound, "")
}
