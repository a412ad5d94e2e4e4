package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/auditpolicy"
)

// Sealed are the fields of the events that a server records about looks into a
// log that should be among the log's attestlog.Config.Sealed: a query can name
// people.
var Sealed = []string{"/attributes/query"}

const (
	// A look into a log is recorded as an entry, up to lookMost of one kind by one
	// token within lookWindow; of the rest one entry says how many there were.
	lookWindow = time.Minute
	lookMost   = 20

	// lookWait bounds how long a look waits to be recorded.
	lookWait = 5 * time.Second

	// bundleWindow is how often it is recorded that somebody fetches bundles of
	// entries. A follower fetches one for each new entry, so a record of each fetch
	// would cause the next.
	bundleWindow = time.Hour

	// maxBundleReaders bounds the actors that are remembered for that.
	maxBundleReaders = 10_000
)

// looks records in a log that somebody looked into it: reading an audit log is an
// audit event too.
type looks struct {
	log      string
	writable interface{ ReadOnly() error }
	recorder *auditpolicy.Filter // of the log, summing up floods
	clock    func() time.Time
	logger   *slog.Logger

	mu      sync.Mutex
	bundles map[string]time.Time // when it was last recorded that an actor fetches them, by its id
}

func newLooks(name string, log *attestlog.Log, clock func() time.Time, logger *slog.Logger) (*looks, error) {
	recorder, err := auditpolicy.New(log, auditpolicy.Config{
		Floods: []auditpolicy.Flood{{Window: lookWindow, Most: lookMost}},
		Logger: logger,
		Clock:  clock,
	})
	if err != nil {
		return nil, err
	}
	return &looks{
		log: name, writable: log, recorder: recorder, clock: clock, logger: logger,
		bundles: map[string]time.Time{},
	}, nil
}

// record records a look. A log that can only be read is looked into without a
// record in it.
func (l *looks) record(ctx context.Context, v *visit, action, operation string, attributes map[string]any) error {
	if l.writable.ReadOnly() != nil {
		l.logger.Warn("server: a look into a log that cannot be written is not recorded in it",
			"log", l.log, "action", action, "token", v.token.ID, "request", v.id)
		return nil
	}

	return l.recorder.Record(ctx, attestlog.Event{
		Tenant:     v.token.Tenant,
		Service:    "attestlog",
		Module:     "server",
		Action:     action,
		Operation:  operation,
		Outcome:    attestlog.Success,
		Actor:      v.actor,
		Source:     v.from,
		Request:    attestlog.Request{ID: v.id},
		Attributes: attributes,
	})
}

// knowsBundles reports whether it was recorded within bundleWindow that an actor
// fetches bundles.
func (l *looks) knowsBundles(actor string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()

	last, known := l.bundles[actor]
	return known && l.clock().Sub(last) < bundleWindow
}

// noteBundles remembers that it was recorded now that an actor fetches bundles.
func (l *looks) noteBundles(actor string) {
	l.mu.Lock()
	defer l.mu.Unlock()

	if len(l.bundles) >= maxBundleReaders {
		clear(l.bundles)
	}
	l.bundles[actor] = l.clock()
}

// recordLook records that a log is looked into, or returns a problem. Call it
// before the answer is written, and answer with the problem: then nobody sees
// entries without a record of that.
func (s *Server) recordLook(ctx context.Context, v *visit, action, operation string, attributes map[string]any) error {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()

	err := v.hosted.looks.record(ctx, v, action, operation, attributes)
	if err != nil {
		return s.problemOf(ctx, err)
	}
	return nil
}

// recordBundles records that somebody fetches bundles of entries, now and then.
func (s *Server) recordBundles(ctx context.Context, v *visit) error {
	looks := v.hosted.looks
	if looks.knowsBundles(v.actor.ID) {
		return nil
	}

	err := s.recordLook(ctx, v, "audit.follow", "export", map[string]any{"hours": int(bundleWindow.Hours())})
	if err != nil {
		return err
	}
	// Only now: a look that could not be recorded must not hide the next ones.
	looks.noteBundles(v.actor.ID)
	return nil
}
