// Package attestlog keeps a tamper-evident audit log: who did what, to what,
// when, from where, with what outcome, and proof that no answer was changed,
// removed, reordered or invented since.
//
// Entries are RFC 8785 (JCS) JSON. They are the leaves of an RFC 6962 Merkle
// tree, whose heads are signed as c2sp.org/tlog-checkpoint notes and whose
// hashes are kept as c2sp.org/tlog-tiles; docs/format.md describes every byte.
// A leaf looks like this (line breaks added):
//
//	{"action":"mail.view","actor":{"id":"alice"},
//	 "id":"019a9f0c-2f5e-7cc1-9c1e-5d6f3a1b2c3d",
//	 "logged_time":"2026-11-22T10:00:00.000123Z","outcome":"success",
//	 "targets":[{"id":"123","type":"mail"}],
//	 "time":"2026-11-22T10:00:00.000100000Z","v":1}
//
// A Log is kept by a Store: package sqlite has one in a file, package postgres
// one in a schema. Append returns once its events are durable; Record queues an
// event and returns. After the commit a checkpoint is signed, and Followers such
// as package jsonl copy the entries elsewhere. Package query says what entries
// are wanted, package verify checks all of them.
//
// The files of this package are named for their subjects: event, leaf and entry
// are the format, checkpoint and proof what shows that it holds, store is what a
// log is built on, and log_ files are the log at work. An event goes from
// log_append.go through log_queue.go, log_intake.go and log_sequence.go into the
// store; log_publish.go, log_follow.go and the store's index take it from there.
package attestlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog/internal/retry"
	"github.com/attestlog/attestlog/internal/wake"
)

// Config configures a Log. The zero Config is useful.
type Config struct {
	// Origin names a new log in its checkpoints and keys: printable, without
	// spaces and plus signs. A log's origin never changes; opening it with
	// another is an error. Defaults to "attestlog/" and 16 random hex digits
	// for a new log, and to the log's own for any other.
	Origin string
	// Signer signs checkpoints. Defaults to the key kept with the store,
	// which is created with a new log.
	Signer note.Signer
	// Verifiers are the public keys of earlier Signers, whose checkpoints the
	// log may still be kept with. Defaults to those kept with the store.
	Verifiers []note.Verifier
	// Sealed lists RFC 6901 pointers of the fields whose values are kept
	// outside the leaves, so that they can be erased. "/original" is always
	// among them. Nil means DefaultSealed; an empty list seals nothing else.
	Sealed []string
	// Followers receive every entry, in order, after the commit. The Log closes
	// them.
	Followers []Follower
	// Outboxes are emptied into the log, in addition to the store's own. The Log
	// closes them.
	Outboxes []Outbox
	// OutboxInterval is how often an outbox is looked at: about how long an
	// event waits in it. Defaults to 100 ms.
	OutboxInterval time.Duration
	// Spool keeps recorded events on this machine while the store cannot take
	// them. The Log closes it. Defaults to none: they wait in the queue.
	Spool Spool
	// Policies say, for the actions of recorded events, what becomes of those
	// that the store cannot take; the first that covers an action counts.
	// Defaults to ToSpool with a Spool, and to Block without.
	Policies []ActionPolicy
	// Logger receives warnings: failed followers, recorded events that could not
	// be stored, a clock that jumps. Defaults to slog.Default().
	Logger *slog.Logger
	// Clock returns the current time. Defaults to time.Now.
	Clock func() time.Time
	// QueueEvents and QueueBytes bound what waits to be stored. Default to
	// 20,000 events and 64 MiB.
	QueueEvents int
	QueueBytes  int
	// MaxEvents bounds one Append call. Defaults to 10,000, which is also the
	// most it can be.
	MaxEvents int
	// ReadOnly opens the log for reading and verifying, even without keys.
	ReadOnly bool
	// AcceptRestore lets a log be written whose database is behind its kept
	// checkpoint, or on another history: an entry "attestlog.restore" says so,
	// and names the checkpoint that was given up.
	AcceptRestore bool
}

// Defaults and bounds of a Config.
const (
	defaultQueueEvents    = 20_000
	defaultQueueBytes     = 64 << 20
	defaultOutboxInterval = 100 * time.Millisecond
	maxCallEvents         = 10_000
)

// pollInterval is how often followers and tails look for entries that another
// process has stored.
const pollInterval = 100 * time.Millisecond

// A Log is an open log. Its methods are safe for concurrent use.
type Log struct {
	cfg      Config
	store    Store
	origin   string
	readOnly error // why, or nil

	reader    *reader
	erasures  *erasures
	encoder   *encoder
	queue     *queue
	appender  *appender
	intake    *intake
	sequencer *sequencer
	publisher *publisher
	outboxes  []*outboxWorker // the spool's among them
	followers []*followerWorker

	head     *head
	counters *counters
	failures *failures

	life    *lifecycle
	closing sync.Once
	workers sync.WaitGroup // all goroutines except for the sequencer's
	endErr  error          // of Close
}

// New opens the log that store keeps, or starts it if the store is empty and
// nothing was kept for it. A log whose database does not agree with its kept
// checkpoint, or whose keys are missing, is opened for reading only: Append then
// returns an error that matches ErrReadOnly and gives the reason. New takes over
// the store: Close closes it.
func New(ctx context.Context, store Store, cfg Config) (*Log, error) {
	err := cfg.setDefaults()
	if err != nil {
		return nil, fmt.Errorf("attestlog: %w", err)
	}
	seals, err := newSealSet(cfg.Sealed)
	if err != nil {
		return nil, fmt.Errorf("attestlog: %w", err)
	}

	l := assemble(store, cfg, seals)
	err = errors.Join(l.open(ctx), l.checkSpool(ctx))
	if err != nil {
		l.life.gaveUp.reach()
		return nil, fmt.Errorf("attestlog: %w", err)
	}

	if l.readOnly != nil {
		l.life.drained.reach()
		return l, nil
	}
	l.start()
	return l, nil
}

// assemble makes the parts of a log, none of which is at work yet.
func assemble(store Store, cfg Config, seals sealSet) *Log {
	l := &Log{
		cfg:      cfg,
		store:    store,
		reader:   newReader(store, cfg.Logger),
		encoder:  &encoder{seals},
		queue:    newQueue(cfg.QueueEvents, cfg.QueueBytes),
		head:     &head{},
		counters: &counters{},
		life:     newLifecycle(),
	}
	l.erasures = &erasures{reader: l.reader}

	// Each part gets what it needs and no more, and none of them the Log: who owns
	// what can be read here.
	l.failures = &failures{counters: l.counters, logger: cfg.Logger}
	l.appender = &appender{
		encoder:   l.encoder,
		queue:     l.queue,
		clock:     cfg.Clock,
		counters:  l.counters,
		maxEvents: cfg.MaxEvents,
	}
	l.makeOutboxWorkers()

	l.intake = &intake{
		queue:    l.queue,
		spool:    cfg.Spool,
		backoff:  retry.Backoff{First: retryFirst, Longest: retryLongest},
		life:     l.life,
		failures: l.failures,
		counters: l.counters,
		logger:   cfg.Logger,
	}
	if cfg.Spool != nil {
		l.intake.spoolWorker = l.outboxes[len(l.outboxes)-1]
	}

	l.sequencer = &sequencer{
		store:    store,
		intake:   l.intake,
		head:     l.head,
		life:     l.life,
		failures: l.failures,
		counters: l.counters,
		clock:    cfg.Clock,
		logger:   cfg.Logger,
	}
	l.publisher = &publisher{
		store:     store,
		source:    l.reader.source,
		head:      l.head,
		life:      l.life,
		verifiers: cfg.Verifiers,
		clock:     cfg.Clock,
		logger:    cfg.Logger,
	}
	return l
}

// makeOutboxWorkers makes a worker for each outbox, the spool's last. Those of a
// log that is open for reading only do not run.
func (l *Log) makeOutboxWorkers() {
	var boxes []Outbox
	box := l.store.Outbox()
	if box != nil {
		boxes = append(boxes, box)
	}
	boxes = append(boxes, l.cfg.Outboxes...)
	if l.cfg.Spool != nil {
		boxes = append(boxes, l.cfg.Spool)
	}

	for _, box := range boxes {
		l.outboxes = append(l.outboxes, &outboxWorker{
			box:      box,
			appender: l.appender,
			interval: l.cfg.OutboxInterval,
			life:     l.life,
			counters: l.counters,
			logger:   l.cfg.Logger,
			tryNow:   wake.NewBell(),
		})
	}
}

// start starts the goroutines, which Close ends.
func (l *Log) start() {
	go l.sequencer.run()
	l.workers.Go(l.publisher.run)

	for _, w := range l.outboxes {
		until := l.life.until(l.life.closing)
		if w == l.intake.spoolWorker {
			// The sequencer may wait for room in the spool until the queue is
			// empty.
			until = l.life.until(l.life.drained)
		}
		l.workers.Go(func() { w.run(until) })
	}

	for _, f := range l.cfg.Followers {
		w := &followerWorker{
			follower:  f,
			reader:    l.reader,
			publisher: l.publisher,
			head:      l.head,
			life:      l.life,
			logger:    l.cfg.Logger,
		}
		l.followers = append(l.followers, w)
		l.workers.Go(w.run)
	}
}

// setDefaults fills in what the configuration leaves open.
func (c *Config) setDefaults() error {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Sealed == nil {
		c.Sealed = DefaultSealed
	}
	if c.OutboxInterval <= 0 {
		c.OutboxInterval = defaultOutboxInterval
	}
	c.QueueEvents = orDefault(c.QueueEvents, defaultQueueEvents)
	c.QueueBytes = orDefault(c.QueueBytes, defaultQueueBytes)
	c.MaxEvents = min(orDefault(c.MaxEvents, maxCallEvents), maxCallEvents)

	return c.checkPolicies()
}

func orDefault(n, value int) int {
	if n <= 0 {
		return value
	}
	return n
}

// Origin returns the log's name, as its checkpoints have it.
func (l *Log) Origin() string { return l.origin }

// ReadOnly returns why the log cannot be written, or nil if it can.
func (l *Log) ReadOnly() error { return l.readOnly }

// Reader returns what reads the log's store, and checks nothing: it is for a verifier.
func (l *Log) Reader() Reader { return l.reader.Reader }
