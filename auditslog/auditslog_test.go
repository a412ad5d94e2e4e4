package auditslog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditslog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
)

// events returns what the log has, oldest first.
func events(t *testing.T, l *attestlog.Log) []attestlog.Event {
	t.Helper()
	var out []attestlog.Event
	for _, e := range testlog.Entries(t, l, query.Query{}) {
		out = append(out, e.Event)
	}
	return out
}

type login struct{ user string }

// LogValue stands for what an application gives its own types.
func (l login) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", l.user), slog.String("type", "user"))
}

func TestMarkedRecordsBecomeEvents(t *testing.T) {
	for _, test := range []struct {
		name string
		log  func(*slog.Logger)
		want attestlog.Event
	}{
		{"by level", func(l *slog.Logger) {
			l.Log(context.Background(), auditslog.Level, "mail.view", "actor", "alice", "target", "mail/7", "outcome", "success", "rows", 7)
		}, attestlog.Event{Action: "mail.view", Actor: attestlog.Actor{ID: "alice"}, Targets: []attestlog.Target{{Type: "mail", ID: "7"}}, Outcome: attestlog.Success, Attributes: map[string]any{"rows": 7.0}}},
		{"by a group that is opened", func(l *slog.Logger) {
			l.With("build", "b1").WithGroup("audit").With("tenant", "acme").Debug("mail.view", "actor", login{"alice"})
		}, attestlog.Event{Action: "mail.view", Tenant: "acme", Actor: attestlog.Actor{ID: "alice", Type: "user"}, Attributes: map[string]any{"build": "b1"}}},
		{"by a group in the record", func(l *slog.Logger) {
			l.Info("viewed it", slog.Group("audit", "action", "mail.view", "actor", "alice"), "rows", 7)
		}, attestlog.Event{Action: "mail.view", Message: "viewed it", Actor: attestlog.Actor{ID: "alice"}, Attributes: map[string]any{"rows": 7.0}}},
		{"groups within", func(l *slog.Logger) {
			l.WithGroup("audit").Info("x", "actor", "alice", slog.Group("source", "ip", "192.0.2.7", "port", 25), slog.Group("request", "method", "GET", "status", 404, "duration_us", uint64(12)),
				slog.Group("trace", "trace_id", "4bf9"), slog.Group("", "inline", true), slog.Group("empty"), slog.Attr{}, "targets", []string{"mail/1", "2"})
		}, attestlog.Event{
			Action: "x", Actor: attestlog.Actor{ID: "alice"}, Source: attestlog.Source{IP: "192.0.2.7"}, Request: attestlog.Request{Method: "GET", Status: 404, DurationUS: 12},
			Trace: attestlog.Trace{TraceID: "4bf9"}, Targets: []attestlog.Target{{Type: "mail", ID: "1"}, {ID: "2"}},
			Attributes: map[string]any{"source": map[string]any{"port": 25.0}, "inline": true},
		}},
		{"an error", func(l *slog.Logger) {
			l.WithGroup("audit").Info("x", "actor", "alice", "err", errors.New(`it "broke"`), "cause", fmt.Errorf("a \x00 %w", errors.New("b")))
		}, attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "alice"}, Outcome: attestlog.Failure, Reason: `it "broke"`, Attributes: map[string]any{"cause": "a \x00 b"}}},
		{"fields of another kind", func(l *slog.Logger) {
			l.WithGroup("audit").Info("x", "actor", "alice", "tenant", 7, "outcome", "maybe", "target", 1.5, "took", time.Second, "at", time.Unix(0, 0).UTC(), "big", uint64(math.MaxUint64), "nan", math.NaN())
		}, attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "alice"}, Attributes: map[string]any{
			"tenant": 7.0, "outcome": "maybe", "target": 1.5, "took": "1s", "at": "1970-01-01T00:00:00Z", "big": "18446744073709551615", "nan": "NaN",
		}}},
		{"the library's own types", func(l *slog.Logger) {
			l.WithGroup("audit").Info("x", "actor", attestlog.Actor{ID: "alice", Type: "user"}, "outcome", attestlog.Failure, "target", attestlog.Target{ID: "7"})
		}, attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "alice", Type: "user"}, Outcome: attestlog.Failure, Targets: []attestlog.Target{{ID: "7"}}}},
		{"a group in parts", func(l *slog.Logger) {
			l.With("audit", true).With(slog.Group("audit", "actor", "alice")).With(slog.Group("audit", "tenant", "acme")).Info("m", slog.Group("audit", "action", "x"))
		}, attestlog.Event{Action: "x", Message: "m", Tenant: "acme", Actor: attestlog.Actor{ID: "alice"}, Attributes: map[string]any{"audit": true}}},
		{"a group after an attribute of its name", func(l *slog.Logger) {
			l.With("audit", true).WithGroup("audit").Info("x", "actor", "alice")
		}, attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "alice"}, Attributes: map[string]any{"audit": true}}},
		{"nil receivers", func(l *slog.Logger) {
			var u *url.URL
			var e *fs.PathError
			l.WithGroup("audit").Info("x", "actor", "alice", "u", u, "cause", error(e))
		}, attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "alice"}, Attributes: map[string]any{
			"u": "!PANIC: runtime error: invalid memory address or nil pointer dereference", "cause": "!PANIC: runtime error: invalid memory address or nil pointer dereference",
		}}},
		{"a name that comes again", func(l *slog.Logger) {
			l.With("n", 1).WithGroup("audit").Info("x", "actor", "alice", "n", 2, "n", 3)
		}, attestlog.Event{Action: "x", Actor: attestlog.Actor{ID: "alice"}, Attributes: map[string]any{"n": 1.0, "n#2": 2.0, "n#2#2": 3.0}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := sqlitetest.Log(t, attestlog.Config{})
			before := time.Now()
			var rest bytes.Buffer
			test.log(slog.New(auditslog.New(slog.NewTextHandler(&rest, nil), l, auditslog.Config{})))
			all := events(t, l)
			if len(all) != 1 || rest.Len() > 0 {
				t.Fatalf("%d events, and %q passed on; want one event", len(all), rest.String())
			}
			got := all[0]
			if got.Time.Before(before.Truncate(0)) || got.Time.After(time.Now()) {
				t.Errorf("the time is %v, want that of the call", got.Time)
			}
			got.ID, got.Time = "", time.Time{}
			if attrs, ok := got.Attributes["convert"]; ok {
				t.Logf("notes: %v", attrs)
			}
			for name := range got.Attributes {
				if _, wanted := test.want.Attributes[name]; !wanted && strings.Contains(name, "attestlog") {
					delete(got.Attributes, name) // what Bound noted
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOtherRecordsArePassedOn(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	var rest bytes.Buffer
	h := auditslog.New(slog.NewTextHandler(&rest, &slog.HandlerOptions{Level: slog.LevelWarn}), l, auditslog.Config{})
	logger := slog.New(h)
	logger.Info("hidden", "actor", "alice")
	logger.Warn("shown", "audit", "not a group")
	logger.WithGroup("other").WithGroup("audit").Error("shown too", "actor", "alice")
	if all := events(t, l); len(all) != 0 {
		t.Errorf("events %v", all)
	}
	if text := rest.String(); strings.Contains(text, "hidden") || !strings.Contains(text, `msg=shown audit="not a group"`) || !strings.Contains(text, "other.audit.actor=alice") {
		t.Errorf("passed on: %s", text)
	}
}

func TestAHandlerKeepsSlogsRules(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	var buf bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		buf.Reset()
		return auditslog.New(slog.NewJSONHandler(&buf, nil), l, auditslog.Config{})
	}, func(t *testing.T) map[string]any {
		m := map[string]any{}
		if err := json.Unmarshal(buf.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		return m
	})
}

type full struct{}

func (full) Record(context.Context, attestlog.Event) error { return attestlog.ErrQueueFull }

func TestWhatCannotBeRecordedIsPassedOn(t *testing.T) {
	var rest bytes.Buffer
	logger := slog.New(auditslog.New(slog.NewTextHandler(&rest, &slog.HandlerOptions{Level: slog.LevelError}), full{}, auditslog.Config{}))
	logger.WithGroup("audit").Info("mail.view", "actor", "alice", "password", "hunter2")
	if text := rest.String(); !strings.Contains(text, "mail.view") || !strings.Contains(text, "actor=alice") || !strings.Contains(text, "queue is full") || strings.Contains(text, "hunter2") {
		t.Errorf("passed on: %q; want who did what and the error, without the content", text)
	}
}

func TestNoRecordIsLostForItsContent(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	logger := slog.New(auditslog.New(slog.DiscardHandler, l, auditslog.Config{Complete: func(ctx context.Context, e *attestlog.Event) {
		e.Tenant, _ = ctx.Value(tenantKey{}).(string)
	}}))
	ctx := context.WithValue(t.Context(), tenantKey{}, "acme")
	logger.Log(ctx, auditslog.Level, "", "chan", make(chan int), "bytes", "\xff", "long", strings.Repeat("x", 100_000))
	logger.Log(ctx, auditslog.Level, "attestlog.erase", "actor", "", "nil", nil)
	all := events(t, l)
	if len(all) != 2 || all[0].Actor.ID == "" || all[0].Action == "" || all[1].Action == "attestlog.erase" || all[0].Tenant != "acme" {
		t.Errorf("events %+v", all)
	}
}

func TestACallersMapIsLeftAlone(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	logger := slog.New(auditslog.New(slog.DiscardHandler, l, auditslog.Config{})).WithGroup("audit")
	actor := map[string]any{"id": "alice", "more": map[string]any{"x": 1}}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { logger.Info("x", "actor", actor) })
	}
	wg.Wait()
	for _, e := range events(t, l) {
		if e.Actor.ID != "alice" || len(actor) != 2 {
			t.Errorf("actor %+v, and the map is %v", e.Actor, actor)
		}
	}
}

type tenantKey struct{}

func TestHandlersMayBeSharedByGoroutines(t *testing.T) {
	l := sqlitetest.Log(t, attestlog.Config{})
	base := slog.New(auditslog.New(slog.DiscardHandler, l, auditslog.Config{})).WithGroup("audit").With("actor", "alice")
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			mine := base.With("worker", n)
			for range 20 {
				mine.Info("job.run")
			}
		})
	}
	wg.Wait()
	perWorker := map[any]int{}
	for _, e := range events(t, l) {
		perWorker[e.Attributes["worker"]]++
	}
	if len(perWorker) != 8 || perWorker[3.0] != 20 {
		t.Errorf("events by worker: %v", perWorker)
	}
}
