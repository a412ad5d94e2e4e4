package server

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditpolicy"
)

// A fickleLog takes events unless it is told to fail.
type fickleLog struct {
	eventList
	err error
}

func (l *fickleLog) Record(ctx context.Context, e attestlog.Event) error {
	if l.err != nil {
		return l.err
	}
	return l.eventList.Record(ctx, e)
}

func (l *fickleLog) ReadOnly() error { return nil }

// An actor whose fetch of bundles could not be recorded is not let in as one
// whose fetch was.
func TestBundlesAreGivenOutOnlyAfterARecord(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	log := &fickleLog{err: attestlog.ErrUnavailable}
	recorder, err := auditpolicy.New(log, auditpolicy.Config{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	looks := &looks{
		writable: log, recorder: recorder, clock: time.Now, logger: logger,
		bundles: map[string]time.Time{},
	}
	s := &Server{cfg: Config{Logger: logger}}
	v := &visit{hosted: &hosted{looks: looks}, token: &Token{}, actor: attestlog.Actor{ID: "token/x"}}
	req := &request{http: httptest.NewRequest("GET", "/tile/entries/000", nil)}
	ctx := context.WithValue(t.Context(), requestKey{}, req)

	for range 2 {
		err := s.recordBundles(ctx, v)
		if err == nil {
			t.Fatal("bundles are given out although the log takes no record")
		}
	}
	log.err = nil
	for range 2 {
		err := s.recordBundles(ctx, v)
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := len(log.events); n != 1 {
		t.Errorf("%d records within the hour, want 1", n)
	}
}
