package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

var recordTests = []namedTest{
	{"TheOrderIsThatOfTheCalls", theOrderIsThatOfTheCalls},
	{"AFullQueueHoldsCallersBack", aFullQueueHoldsCallersBack},
	{"NothingIsLostThroughATinyQueue", nothingIsLostThroughATinyQueue},
	{"CloseStoresWhatIsQueued", closeStoresWhatIsQueued},
	{"CloseThatGivesUpNamesTheLost", closeThatGivesUpNamesTheLost},
	{"AClosedLogRefuses", aClosedLogRefuses},
}

// A gate is a store whose transactions wait until it is opened.
type gate struct {
	attestlog.Store
	open    chan struct{}
	waiting atomic.Int64
}

func (g *gate) Write(ctx context.Context, fn func(attestlog.Tx) error) error {
	g.waiting.Add(1)
	select {
	case <-g.open:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", attestlog.ErrUnavailable, ctx.Err())
	}
	return g.Store.Write(ctx, fn)
}

func theOrderIsThatOfTheCalls(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	const total = 3000
	for n := range total {
		if err := l.Record(t.Context(), testlog.Event(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	next := 0
	for e, err := range l.Entries(t.Context(), query.Query{}) {
		if err != nil || e.ID != testlog.Event(next).ID || e.Index != uint64(next) {
			t.Fatalf("entry %d is %s, %v; want %s", e.Index, e.ID, err, testlog.Event(next).ID)
		}
		next++
	}

	if next != total {
		t.Errorf("log has %d entries, want %d", next, total)
	}
}

func aFullQueueHoldsCallersBack(t *testing.T, o Opener) {
	g := &gate{Store: openStore(t, o, Options{}), open: make(chan struct{})}
	l := testlog.New(t, g, attestlog.Config{QueueEvents: 3})

	for n := range 3 {
		if err := l.Record(t.Context(), testlog.Event(n)); err != nil {
			t.Fatal(err)
		}
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Record(ended, testlog.Event(3)); !errors.Is(err, attestlog.ErrQueueFull) || !errors.Is(err, context.Canceled) {
		t.Errorf("Record into a full queue = %v, want ErrQueueFull and the context's error", err)
	}
	var failed *attestlog.AppendError
	if _, err := l.Append(ended, testlog.Event(4)); !errors.Is(err, attestlog.ErrQueueFull) || !errors.As(err, &failed) {
		t.Errorf("Append into a full queue = %v, want an AppendError of ErrQueueFull", err)
	}
	if st, err := l.Stats(t.Context()); err != nil || st.QueueEvents != 3 || st.Queued != 3 || st.QueueBytes == 0 {
		t.Errorf("Stats = %+v, %v; want 3 events queued", st, err)
	}

	// A caller that waits gets in once there is room.
	done := make(chan error)
	go func() { done <- l.Record(t.Context(), testlog.Event(5)) }()
	testwait.Blocked(t, "Record into a full queue", done)
	close(g.open)
	if err := testwait.Receive(t, "the end of Record", done); err != nil {
		t.Errorf("Record that waited = %v", err)
	}

	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n, in := range []bool{true, true, true, false, false, true} {
		if _, err := l.EntryByID(t.Context(), testlog.Event(n).ID); (err == nil) != in {
			t.Errorf("EntryByID of event %d = %v; is it in: want %v", n, err, in)
		}
	}

	if st, err := l.Stats(t.Context()); err != nil || st.QueueEvents != 0 || st.QueueBytes != 0 {
		t.Errorf("Stats = %+v, %v; want an empty queue", st, err)
	}
}

func nothingIsLostThroughATinyQueue(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{QueueEvents: 4, QueueBytes: 2000})

	const writers, each = 8, 60
	var accepted, full atomic.Int64
	var in sync.Map
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				e := testlog.Event(w*each + i)

				var err error
				if i%5 == 4 {
					_, err = l.Append(t.Context(), e) // which waits as long as it must
				} else {
					// Impatient callers meet a full queue.
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%3)*time.Millisecond)
					err = l.Record(ctx, e)
					cancel()
					if errors.Is(err, attestlog.ErrQueueFull) {
						full.Add(1)
						continue
					}
				}

				if err != nil {
					t.Errorf("event %d: %v", w*each+i, err)
				}
				accepted.Add(1)
				in.Store(e.ID, true)
			}
		})
	}
	wg.Wait()
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	n := int64(0)
	for e, err := range l.Entries(t.Context(), query.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := in.Load(e.ID); !ok {
			t.Errorf("entry %d is of an event that was refused", e.Index)
		}
		n++
	}

	if n != accepted.Load() {
		t.Errorf("log has %d entries, %d events were accepted and %d refused", n, accepted.Load(), full.Load())
	}
}

func closeStoresWhatIsQueued(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	for n := range 2000 {
		if err := l.Record(t.Context(), testlog.Event(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	l = testlog.New(t, openStore(t, o, Options{ReadOnly: true}), attestlog.Config{ReadOnly: true})
	r, err := verify.Log(t.Context(), l, verify.Options{Index: true})
	if err != nil || r.Size != 2000 || r.Signed != 2000 {
		t.Errorf("Verify = %+v, %v; want 2,000 entries, all signed", r, err)
	}
}

func closeThatGivesUpNamesTheLost(t *testing.T, o Opener) {
	g := &gate{Store: openStore(t, o, Options{}), open: make(chan struct{})}
	l := testlog.New(t, g, attestlog.Config{})
	for n := range 2 {
		if err := l.Record(t.Context(), testlog.Event(n)); err != nil {
			t.Fatal(err)
		}
	}

	appended := make(chan error)
	go func() {
		_, err := l.Append(t.Context(), testlog.Event(2))
		appended <- err
	}()
	testwait.Until(t, "the transaction waits", func() bool { return g.waiting.Load() > 0 })

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var failed *attestlog.AppendError
	if err := l.Close(ended); !errors.As(err, &failed) || !errors.Is(err, attestlog.ErrClosed) {
		t.Errorf("Close = %v, want an AppendError of ErrClosed", err)
	}
	if err := testwait.Receive(t, "the end of Append", appended); err == nil {
		t.Error("Append during a Close that gave up succeeded")
	}
}

func aClosedLogRefuses(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	testlog.Append(t, l, testlog.Event(0))
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	if _, err := l.Append(t.Context(), testlog.Event(1)); !errors.Is(err, attestlog.ErrClosed) {
		t.Errorf("Append = %v, want ErrClosed", err)
	}
	if err := l.Record(t.Context(), testlog.Event(1)); !errors.Is(err, attestlog.ErrClosed) {
		t.Errorf("Record = %v, want ErrClosed", err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Errorf("second Close = %v, want the first's nil", err)
	}

	if _, err := l.Query(t.Context(), query.Query{}, attestlog.PageOptions{}); err == nil {
		t.Error("Query of a closed log succeeded")
	}
	var last error
	for _, err := range l.Tail(t.Context(), 0, query.Query{}) {
		last = err
	}
	if !errors.Is(last, attestlog.ErrClosed) {
		t.Errorf("Tail of a closed log ended with %v, want ErrClosed", last)
	}
}
