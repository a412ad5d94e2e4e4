package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/client"
	"github.com/attestlog/attestlog/server"
	"github.com/attestlog/attestlog/spool"
)

func TestRecordsSurviveAServerThatIsAway(t *testing.T) {
	s := serve(t)
	path := filepath.Join(t.TempDir(), "spool.db")
	open := func() *client.Client {
		sp, err := spool.Open(path, spool.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return s.dial(t, client.Config{Spool: sp, SpoolAfter: 100 * time.Millisecond, QueueEvents: 1000})
	}
	c := open()
	record := func(c *client.Client, from, to int) {
		for i := from; i < to; i++ {
			if err := c.Record(t.Context(), event(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	record(c, 0, 1500)
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) { // stored, and never answered
		next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	})
	record(c, 1500, 1600)
	s.set(away)
	record(c, 1600, 4000)
	if st := c.Stats(); st.Spooled == 0 {
		t.Errorf("Stats = %+v: the queue has no room for what was recorded, and the spool has none of it", st)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Fatalf("Close with a spool = %v", err)
	}
	c = open() // another process, as it were
	record(c, 4000, 4100)
	s.set(nil)
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(numbers(4100), s.messages(t)); diff != "" {
		t.Errorf("the log, in order and each once (-want +got):\n%s", diff)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCloseTellsWhatIsLost(t *testing.T) {
	s := serve(t)
	s.set(away)
	c := s.dial(t, client.Config{})
	for i := range 3 {
		if err := c.Record(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var failed *attestlog.AppendError
	if err := c.Close(ctx); !errors.As(err, &failed) || len(failed.IDs) != 3 || !errors.Is(err, attestlog.ErrUnavailable) {
		t.Errorf("Close = %v, want the ids of three records", err)
	}
	if err := c.Record(t.Context(), event(4)); !errors.Is(err, attestlog.ErrClosed) {
		t.Errorf("Record after Close = %v, want ErrClosed", err)
	}
}

func TestAFullQueueIsBackPressure(t *testing.T) {
	s := serve(t)
	s.set(away)
	c := s.dial(t, client.Config{QueueEvents: 10})
	for i := range 10 {
		if err := c.Record(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Record(ctx, event(10)); !errors.Is(err, attestlog.ErrQueueFull) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Record into a full queue = %v, want ErrQueueFull", err)
	}
	s.set(nil)
	if err := errors.Join(c.Record(t.Context(), event(10)), c.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(numbers(11), s.messages(t)); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
}

func TestARefusedRecordHoldsNothingUp(t *testing.T) {
	s := serve(t)
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	taken := attestlog.Event{ID: "x", Time: at, Action: "a", Actor: attestlog.Actor{ID: "b"}}
	if _, err := s.log.Append(t.Context(), taken); err != nil {
		t.Fatal(err)
	}
	taken.Message = "other"
	s.set(away) // so that all are in one batch
	c := s.dial(t, client.Config{})
	for i := range 100 {
		e := event(i)
		if i == 42 {
			e = taken
		}
		if err := c.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	s.set(nil)
	if err := c.Flush(t.Context()); !errors.Is(err, attestlog.ErrConflict) {
		t.Errorf("Flush = %v, want ErrConflict", err)
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Errorf("the second Flush = %v", err)
	}
	if got := len(s.messages(t)); got != 99 {
		t.Errorf("%d records stored, want 99", got)
	}
	if st := c.Stats(); st.Failed != 1 || st.Stored != 99 || st.Waiting != 0 {
		t.Errorf("Stats = %+v", st)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Records go to the spool also when the server is reached and does not answer.
func TestRecordsGoToTheSpoolWhenAServerHangs(t *testing.T) {
	s := serve(t)
	hang := make(chan struct{})
	s.set(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	})
	sp, err := spool.Open(filepath.Join(t.TempDir(), "spool.db"), spool.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c := s.dial(t, client.Config{Spool: sp, SpoolAfter: time.Millisecond, Timeout: 500 * time.Millisecond, QueueEvents: 10})
	for i := range 30 { // the queue has no room for them
		if err := c.Record(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
	if st := c.Stats(); st.Spooled == 0 {
		t.Errorf("Stats = %+v, want some in the spool", st)
	}
	s.set(nil)
	close(hang)
	if err := errors.Join(c.Flush(t.Context()), c.Close(t.Context()), c.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(numbers(30), s.messages(t)); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
}

// An event that the token may not write is refused. It does not hold up those
// after it, whether they are sent at once or out of the spool.
func TestAnEventOfAnotherTenantHoldsNothingUp(t *testing.T) {
	for _, spooled := range []bool{false, true} {
		s := serve(t)
		token, err := server.CreateToken(t.Context(), s.tokens, &server.Token{Scopes: []string{server.ScopeAppend}, Tenant: "acme"})
		if err != nil {
			t.Fatal(err)
		}
		cfg := client.Config{Token: token}
		if spooled {
			if cfg.Spool, err = spool.Open(filepath.Join(t.TempDir(), "spool.db"), spool.Config{}); err != nil {
				t.Fatal(err)
			}
			cfg.SpoolAfter, cfg.QueueEvents = time.Millisecond, 2
		}
		s.set(away)
		c := s.dial(t, cfg)
		for i := range 8 {
			e := event(i)
			e.Tenant = "acme"
			if i == 3 {
				e.Tenant = "other"
			}
			if err := c.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		s.set(nil)
		var field *attestlog.FieldError
		if err := c.Flush(t.Context()); !errors.As(err, &field) || field.Field != "tenant" {
			t.Errorf("spool %t: Flush = %v, want the tenant", spooled, err)
		}
		if got := s.messages(t); len(got) != 7 {
			t.Errorf("spool %t: the log has %v", spooled, got)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestARedirectIsNoAnswer(t *testing.T) {
	s := serve(t)
	c := s.dial(t, client.Config{})
	defer c.Close(t.Context())
	var asked []string
	s.set(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
	})
	if _, err := c.Append(t.Context(), event(0)); err == nil || errors.Is(err, attestlog.ErrUnavailable) {
		t.Errorf("Append after a redirect = %v", err)
	}
	if diff := cmp.Diff([]string{"POST /api/v1/logs/mail/entries"}, asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
