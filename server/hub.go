package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// The newest entries are kept for those who follow the log: so many, and fewer
// where they are large. Who is further behind reads from the log.
const (
	ringSize  = 1024
	ringBytes = 16 << 20
)

// A hub follows a log once for all its subscribers, as long as there are any.
type hub struct {
	s *Server
	h *hosted

	mu          sync.Mutex
	subscribers int
	run         *following // nil while nobody follows
}

// following is one time of having subscribers.
type following struct {
	cancel context.CancelFunc

	mu    sync.Mutex
	ring  [ringSize]*followed // of index at index modulo its size
	bytes int                 // of the entries in the ring, about
	first uint64              // the oldest entry in the ring
	next  uint64              // behind the newest
	more  chan struct{}       // closed when next or err changes
	err   error               // why there will be no more
}

// A followed entry is written as JSON once, for whoever wants it.
type followed struct {
	attestlog.Entry
	once sync.Once
	text []byte
	err  error
}

func (f *followed) size() int {
	n := len(f.Leaf)
	for i := range f.Disclosures {
		n += len(f.Disclosures[i].Value)
	}
	return n
}

func (f *followed) json() ([]byte, error) {
	f.once.Do(func() { f.text, f.err = f.Entry.MarshalJSON() })
	return f.text, f.err
}

func newHub(s *Server, h *hosted) *hub { return &hub{s: s, h: h} }

// join returns what follows the log, and what ends it for this subscriber.
func (b *hub) join(ctx context.Context) (*following, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.run == nil || b.run.ended() {
		size, err := b.h.log.Size(ctx)
		if err != nil {
			return nil, nil, err
		}
		runCtx, cancel := context.WithCancel(b.s.ctx)
		run := &following{cancel: cancel, first: size, next: size, more: make(chan struct{})}
		b.s.open.Go(func() { run.follow(runCtx, b.h.log) })
		b.run, b.subscribers = run, 0
	}
	run := b.run
	b.subscribers++
	return run, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.run != run {
			return
		}
		if b.subscribers--; b.subscribers == 0 {
			run.cancel()
			b.run = nil
		}
	}, nil
}

func (f *following) ended() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err != nil
}

func (f *following) follow(ctx context.Context, log *attestlog.Log) {
	var last error
	for e, err := range log.Tail(ctx, f.next, query.Query{}) {
		if err != nil {
			last = err
			break
		}
		f.mu.Lock()
		f.keep(&followed{Entry: e})
		f.wake()
		f.mu.Unlock()
	}
	if last == nil {
		last = attestlog.ErrClosed // the last subscriber has left, or the server ends
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = last
	f.wake()
}

// keep puts the next entry into the ring, and takes old ones out. f.mu is held.
func (f *following) keep(e *followed) {
	for f.first < e.Index && (e.Index-f.first >= ringSize || f.bytes+e.size() > ringBytes) {
		old := &f.ring[f.first%ringSize]
		f.bytes -= (*old).size()
		*old = nil
		f.first++
	}
	f.ring[e.Index%ringSize] = e
	f.bytes += e.size()
	f.next = e.Index + 1
}

// wake tells all who wait. f.mu is held.
func (f *following) wake() {
	close(f.more)
	f.more = make(chan struct{})
}

// since returns the entries from an index on that are in the ring, and, if there
// are none, what is closed when there are more. behind is set if the ring begins
// later: the entries before next have to be read from the log.
func (f *following) since(from uint64) (entries []*followed, next uint64, behind bool, more <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if from < f.first {
		return nil, f.next, true, nil, nil
	}
	for i := from; i < f.next; i++ {
		entries = append(entries, f.ring[i%ringSize])
	}
	if len(entries) == 0 {
		err = f.err
	}
	return entries, max(f.next, from), false, f.more, err
}

// beat is how often a subscriber that gets no entries hears that the connection
// lives, and how soon a token that has ended ends its tail.
const beat = 15 * time.Second

var errStopping = errors.New("the server stops")

// tail calls fn with each entry from an index on that q selects, oldest first,
// and with nil when there was none for a while. It returns fn's error, or why
// there are no more entries.
func (b *hub) tail(ctx context.Context, from uint64, q query.Query, fn func(*followed) error) error {
	run, leave, err := b.join(ctx)
	if err != nil {
		return err
	}
	defer leave()
	q = q.OrderBy(query.ByIndex)
	timer := time.NewTimer(b.s.beat)
	defer timer.Stop()
	for {
		entries, next, behind, more, err := run.since(from)
		switch {
		case err != nil:
			return err
		case behind:
			if err := b.read(ctx, query.And(q, query.Indexes(from, next)), fn); err != nil {
				return err
			}
			from = next
			continue
		}
		for _, e := range entries {
			if q.Match(&e.Entry) {
				if err := fn(e); err != nil {
					return err
				}
				timer.Reset(b.s.beat)
			}
		}
		from = next
		select { // also where there were entries, or a busy log would keep all else out
		case <-more:
		case <-timer.C:
			if err := fn(nil); err != nil {
				return err
			}
			timer.Reset(b.s.beat)
		case <-ctx.Done():
			return ctx.Err()
		case <-b.s.stopping:
			return errStopping
		}
	}
}

// read calls fn with the entries of the log that q selects, until the server stops.
func (b *hub) read(ctx context.Context, q query.Query, fn func(*followed) error) error {
	for e, err := range b.h.log.Entries(ctx, q) {
		if err != nil {
			return err
		}
		select {
		case <-b.s.stopping:
			return errStopping
		default:
		}
		if err := fn(&followed{Entry: e}); err != nil {
			return err
		}
	}
	return nil
}
