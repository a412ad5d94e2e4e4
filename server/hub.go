package server

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/wake"
	"github.com/attestlog/attestlog/query"
)

// heartbeatEvery is how often a subscriber that gets no entries is called all the
// same, and so how soon a token that is no longer valid ends its tail.
const heartbeatEvery = 15 * time.Second

// A followedLog is a log, as a hub needs it: *attestlog.Log.
type followedLog interface {
	Size(ctx context.Context) (uint64, error)
	Entries(ctx context.Context, q query.Query) iter.Seq2[attestlog.Entry, error]
	Tail(ctx context.Context, from uint64, q query.Query) iter.Seq2[attestlog.Entry, error]
}

// A hub follows a log once for all its subscribers, as long as there are any.
type hub struct {
	log       followedLog
	life      *lifecycle
	heartbeat time.Duration

	mu          sync.Mutex
	feed        *feed // nil while nobody subscribes
	subscribers int   // of feed
}

// A feed follows a log, from when somebody subscribes until nobody does any more.
type feed struct {
	cancel  context.CancelFunc
	changed wake.Signal // fired when ring or err changes

	mu   sync.Mutex
	ring ring
	err  error // why there will be no more entries, or nil
}

// A sharedEntry is encoded as JSON once, for all subscribers that want JSON.
type sharedEntry struct {
	attestlog.Entry
	once sync.Once
	text []byte
	err  error
}

func newHub(log followedLog, life *lifecycle) *hub {
	return &hub{log: log, life: life, heartbeat: heartbeatEvery}
}

// tail calls fn with each entry from an index on that q selects, oldest first,
// and with nil if there was none for a heartbeat. It returns fn's error, or why
// there are no more entries: errStopping if the server stops.
func (h *hub) tail(ctx context.Context, from uint64, q query.Query, fn func(*sharedEntry) error) error {
	feed, err := h.subscribe(ctx)
	if err != nil {
		return err
	}
	defer h.unsubscribe(feed)

	q = q.OrderBy(query.ByIndex)
	timer := time.NewTimer(h.heartbeat)
	defer timer.Stop()

	for {
		changed := feed.changed.Next()
		entries, next, inRing, err := feed.since(from)
		if err != nil {
			return err
		}
		if !inRing {
			err := h.catchUp(ctx, query.And(q, query.Indexes(from, next)), fn)
			if err != nil {
				return err
			}
			from = next
			continue
		}

		for _, e := range entries {
			if e.Err == nil && !q.Match(&e.Entry) {
				continue
			}
			err := fn(e)
			if err != nil {
				return err
			}
			timer.Reset(h.heartbeat)
		}
		from = next

		// Also if there were entries: else a tail of a busy log that selects none of
		// them would get no heartbeats, and would not end with the server.
		select {
		case <-changed:
		case <-timer.C:
			err := fn(nil)
			if err != nil {
				return err
			}
			timer.Reset(h.heartbeat)
		case <-ctx.Done():
			return ctx.Err()
		case <-h.life.untilStop.Done():
			return errStopping
		}
	}
}

// catchUp calls fn with the entries that q selects, read from the log.
func (h *hub) catchUp(ctx context.Context, q query.Query, fn func(*sharedEntry) error) error {
	for e, err := range h.log.Entries(ctx, q) {
		if err != nil {
			return err
		}
		if h.life.stopping() {
			return errStopping
		}
		err := fn(&sharedEntry{Entry: e})
		if err != nil {
			return err
		}
	}
	return nil
}

// subscribe returns the feed of the log, and starts it for the first subscriber.
// Each call is followed by one of unsubscribe.
func (h *hub) subscribe(ctx context.Context) (*feed, error) {
	h.mu.Lock()
	defer h.mu.Unlock()

	if h.feed == nil || h.feed.ended() {
		size, err := h.log.Size(ctx)
		if err != nil {
			return nil, err
		}
		h.feed = h.startFeed(size)
		h.subscribers = 0
	}

	h.subscribers++
	return h.feed, nil
}

// startFeed starts a feed of the entries from an index on.
func (h *hub) startFeed(from uint64) *feed {
	ctx, cancel := context.WithCancel(h.life.untilClose)
	f := &feed{cancel: cancel, ring: ring{first: from, next: from}}
	h.life.start(func(context.Context) { f.follow(ctx, h.log, from) })
	return f
}

// unsubscribe ends a feed with its last subscriber.
func (h *hub) unsubscribe(f *feed) {
	h.mu.Lock()
	defer h.mu.Unlock()

	// A feed that failed was replaced, and its subscribers are not counted any more.
	if h.feed != f {
		return
	}

	h.subscribers--
	if h.subscribers == 0 {
		f.cancel()
		h.feed = nil
	}
}

// follow puts the entries of a log into the ring until ctx ends or the log fails.
func (f *feed) follow(ctx context.Context, log followedLog, from uint64) {
	defer f.cancel()

	for e, err := range log.Tail(ctx, from, query.Query{}) {
		if err != nil {
			f.end(err)
			return
		}
		f.add(&sharedEntry{Entry: e})
	}

	// The last subscriber has left, or the server closes.
	f.end(attestlog.ErrClosed)
}

func (f *feed) add(e *sharedEntry) {
	f.mu.Lock()
	f.ring.add(e)
	f.mu.Unlock()

	f.changed.Fire()
}

func (f *feed) end(err error) {
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()

	f.changed.Fire()
}

func (f *feed) ended() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err != nil
}

// since returns the entries from an index on, and the index after them. If
// inRing is false, the entries before next have to be read from the log. err is
// why there will be no more, once all entries were returned.
func (f *feed) since(from uint64) (entries []*sharedEntry, next uint64, inRing bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	entries, next, inRing = f.ring.since(from)
	if inRing && len(entries) == 0 {
		err = f.err
	}
	return entries, next, inRing, err
}

// json returns the entry as MarshalJSON writes it.
func (e *sharedEntry) json() ([]byte, error) {
	e.once.Do(func() { e.text, e.err = e.Entry.MarshalJSON() })
	return e.text, e.err
}

// size is about what the entry takes in memory, in bytes.
func (e *sharedEntry) size() int {
	n := len(e.Leaf)
	for i := range e.Disclosures {
		n += len(e.Disclosures[i].Value)
	}
	return n
}

const (
	ringSize  = 1024
	ringBytes = 16 << 20
)

// A ring has the newest entries of a log: ringSize of them, or fewer if they have
// more than ringBytes together, but always the newest one. A subscriber that
// wants older ones reads them from the log.
type ring struct {
	entries [ringSize]*sharedEntry // the one with index i at i modulo ringSize
	bytes   int                    // of the entries together
	first   uint64                 // the oldest entry's index
	next    uint64                 // the index after the newest
}

// add puts the entry with index next into the ring, and takes old ones out.
func (r *ring) add(e *sharedEntry) {
	size := e.size()
	for r.first < e.Index && (e.Index-r.first >= ringSize || r.bytes+size > ringBytes) {
		r.dropFirst()
	}

	r.entries[e.Index%ringSize] = e
	r.bytes += size
	r.next = e.Index + 1
}

func (r *ring) dropFirst() {
	i := r.first % ringSize
	r.bytes -= r.entries[i].size()
	r.entries[i] = nil
	r.first++
}

// since returns the entries from an index on, and the index after them; if ok is
// false the ring begins later, at the latest with next.
func (r *ring) since(from uint64) (entries []*sharedEntry, next uint64, ok bool) {
	if from < r.first {
		return nil, r.next, false
	}
	for i := from; i < r.next; i++ {
		entries = append(entries, r.entries[i%ringSize])
	}
	return entries, max(r.next, from), true
}
