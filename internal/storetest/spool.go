package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/spool"
)

var spoolTests = []namedTest{
	{"RecordsOutliveAStoreThatIsDown", recordsOutliveAStoreThatIsDown},
	{"ARestartDeliversWhatWasSpooled", aRestartDeliversWhatWasSpooled},
	{"ALostAnswerStoresNothingTwice", aLostAnswerStoresNothingTwice},
	{"AFullSpoolHoldsCallersBack", aFullSpoolHoldsCallersBack},
	{"AStoreThatComesAndGoesKeepsTheOrder", aStoreThatComesAndGoesKeepsTheOrder},
	{"AConflictIsSetAside", aConflictIsSetAside},
	{"EachActionHasItsPolicy", eachActionHasItsPolicy},
	{"CloseEmptiesAFullSpool", closeEmptiesAFullSpool},
	{"ABrokenSpoolHoldsNothingUp", aBrokenSpoolHoldsNothingUp},
	{"AStoreThatHangsHoldsNoRecordInMemory", aStoreThatHangsHoldsNoRecordInMemory},
	{"AStoreThatHangsSendsRecordsToTheSpool", aStoreThatHangsSendsRecordsToTheSpool},
	{"AConflictLeavesTheLogReady", aConflictLeavesTheLogReady},
}

// A switched store fails its transactions while it is down. If persists is set,
// they are durable nevertheless.
type switched struct {
	attestlog.Store
	down     atomic.Bool
	persists bool
}

func (s *switched) Write(ctx context.Context, fn func(attestlog.Tx) error) error {
	if !s.down.Load() {
		return s.Store.Write(ctx, fn)
	}
	if s.persists {
		if err := s.Store.Write(ctx, fn); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: it is down", attestlog.ErrUnavailable)
}

// newSpool makes a spool in a file of its own.
func newSpool(t *testing.T, cfg spool.Config) *spool.Spool {
	t.Helper()
	return openSpool(t, filepath.Join(t.TempDir(), "audit.spool"), cfg)
}

func openSpool(t *testing.T, path string, cfg spool.Config) *spool.Spool {
	t.Helper()
	s, err := spool.Open(path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// holdsInOrder checks that the log has the first count events in their order,
// and nothing else.
func holdsInOrder(t *testing.T, l *attestlog.Log, count int) {
	t.Helper()
	n := 0
	for e, err := range l.Entries(t.Context(), query.Query{}) {
		if err != nil || e.ID != testlog.Event(n).ID {
			t.Fatalf("entry %d is %s, %v; want %s", e.Index, e.ID, err, testlog.Event(n).ID)
		}
		n++
	}

	if n != count {
		t.Errorf("the log has %d entries, want %d", n, count)
	}
	testlog.Verify(t, l)
}

func recordsOutliveAStoreThatIsDown(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{})}
	box := newSpool(t, spool.Config{})
	l := testlog.New(t, s, attestlog.Config{Spool: box, QueueEvents: 100})
	testlog.Append(t, l, testlog.Event(0))

	s.down.Store(true)
	const total = 3000 // many times the queue
	for n := 1; n < total; n++ {
		if err := l.Record(t.Context(), testlog.Event(n)); err != nil {
			t.Fatal(err)
		}
	}
	testwait.Until(t, "the spool has all", func() bool { return testlog.Stats(t, l).Spooled == total-1 })
	if st := testlog.Stats(t, l); st.Outboxes[len(st.Outboxes)-1].Events != total-1 || st.QueueEvents != 0 || st.Size != 1 {
		t.Errorf("Stats while the store is down = %+v; want %d events in the spool", st, total-1)
	}

	before := testlog.Stats(t, l).Retries
	began := time.Now()
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := l.Flush(short); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, attestlog.ErrUnavailable) {
		t.Errorf("Flush while the store is down = %v, want the context's error and the store's", err)
	}

	// There is a pause of at least 20 ms between tries.
	tries, waited := testlog.Stats(t, l).Retries-before, time.Since(began)
	if most := 5 + uint64(waited/(20*time.Millisecond)); tries > most {
		t.Errorf("%d transactions were tried during a Flush of %v, want at most %d", tries, waited, most)
	}

	var failed *attestlog.AppendError
	if _, err := l.Append(t.Context(), testlog.Event(9000)); !errors.As(err, &failed) || !errors.Is(err, attestlog.ErrUnavailable) {
		t.Errorf("Append while the store is down = %v, want an AppendError of ErrUnavailable", err)
	}

	s.down.Store(false)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, total)
	if st := testlog.Stats(t, l); st.Failed != 1 || st.Outboxes[len(st.Outboxes)-1].Moved != total-1 {
		t.Errorf("Stats = %+v; want one failed Append and %d moved", st, total-1)
	}
}

func aRestartDeliversWhatWasSpooled(t *testing.T, o Opener) {
	path := filepath.Join(t.TempDir(), "audit.spool")
	s := &switched{Store: openStore(t, o, Options{})}
	l := testlog.New(t, s, attestlog.Config{Spool: openSpool(t, path, spool.Config{})})

	s.down.Store(true)
	for n := range 1500 {
		if err := l.Record(t.Context(), testlog.Event(n)); err != nil {
			t.Fatal(err)
		}
	}

	if err := l.Close(t.Context()); err != nil {
		t.Fatalf("Close with a spool while the store is down = %v", err)
	}
	box := openSpool(t, path, spool.Config{})
	// A program that starts while the store is down has no Log yet.
	if err := box.Record(t.Context(), testlog.Event(1500)); err != nil {
		t.Fatal(err)
	}

	l = openLog(t, o, attestlog.Config{Spool: box})
	for n := 1501; n < 1600; n++ { // after those that wait
		if err := l.Record(t.Context(), testlog.Event(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, 1600)
}

func aLostAnswerStoresNothingTwice(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{}), persists: true}
	box := newSpool(t, spool.Config{})
	l := testlog.New(t, s, attestlog.Config{Spool: box, Sealed: append(attestlog.DefaultSealed, "/message")})

	s.down.Store(true)
	for n := range 50 {
		e := testlog.Event(n)
		e.Message, e.Original = "sealed", []byte{0xff, 0, byte(n)}
		e.Attributes = map[string]any{"n": n, "deep": map[string]any{"a": []any{1.5, nil, "x"}}}
		if n%2 == 0 {
			e.Time = time.Time{} // the log's
		}
		if err := l.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}

	testwait.Until(t, "all are durable and in the spool", func() bool {
		st := testlog.Stats(t, l)
		return st.Size == 50 && st.Spooled == 50
	})

	s.down.Store(false)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, 50)
	if st := testlog.Stats(t, l); st.Duplicates < 50 || st.Outboxes[len(st.Outboxes)-1].Refused != 0 {
		t.Errorf("Stats = %+v; want 50 duplicates and nothing refused", st)
	}
}

func aStoreThatComesAndGoesKeepsTheOrder(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{}), persists: true}
	box := newSpool(t, spool.Config{MaxBytes: 60_000})
	l := testlog.New(t, s, attestlog.Config{Spool: box, QueueEvents: 40, OutboxInterval: time.Millisecond})

	const writers, each = 3, 400
	stop := make(chan struct{})
	var flips sync.WaitGroup
	flips.Go(func() {
		for {
			select {
			case <-stop:
				s.down.Store(false)
				return
			case <-time.After(15 * time.Millisecond):
				s.down.Store(!s.down.Load())
			}
		}
	})

	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := l.Record(t.Context(), testlog.Event(w*each+i)); err != nil {
					t.Errorf("Record = %v", err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	flips.Wait()

	testwait.Until(t, "the queue is empty", func() bool { return testlog.Stats(t, l).QueueEvents == 0 })
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := [writers]int{}
	for e, err := range l.Entries(t.Context(), query.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		var n int
		fmt.Sscanf(e.ID[strings.LastIndex(e.ID, "-")+1:], "%x", &n)
		if w := n / each; next[w] != n%each {
			t.Fatalf("entry %d is record %d of writer %d, want its record %d", e.Index, n%each, w, next[w])
		}
		next[n/each]++
	}
	if next != [writers]int{each, each, each} {
		t.Errorf("%v records of the writers are in the log, want %d of each", next, each)
	}
	testlog.Verify(t, l)
}

func aConflictIsSetAside(t *testing.T, o Opener) {
	var logged lockedBuffer
	s := &switched{Store: openStore(t, o, Options{})}
	box := newSpool(t, spool.Config{})
	l := testlog.New(t, s, attestlog.Config{Spool: box, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	testlog.Append(t, l, testlog.Events(0, 2)...)

	s.down.Store(true)
	other := testlog.Event(1)
	other.Message = "other content"
	for _, e := range []attestlog.Event{testlog.Event(2), other, testlog.Event(3), testlog.Event(0)} {
		if err := l.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}

	testwait.Until(t, "the spool has all", func() bool { return testlog.Stats(t, l).Spooled == 4 })

	s.down.Store(false)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, 4)
	if st := testlog.Stats(t, l); st.Failed != 1 || st.Outboxes[len(st.Outboxes)-1].Refused != 1 {
		t.Errorf("Stats = %+v; want one event refused", st)
	}
	if !strings.Contains(logged.String(), "entry 1") {
		t.Errorf("logged %s; want why an event was refused, without its content", logged.String())
	}

	for _, want := range []int{1, 0} {
		n := 0
		err := box.Refused(func(reason string, p attestlog.Prepared) (bool, error) {
			n++
			e, err := attestlog.ParseEvent(p.Event)
			if e.Message != other.Message || !strings.Contains(reason, "entry 1") {
				t.Errorf("refused is %s: %s", p.Event, reason)
			}
			return true, err
		})
		if err != nil || n != want {
			t.Errorf("Refused showed %d events, %v; want %d", n, err, want)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func eachActionHasItsPolicy(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{})}
	box := newSpool(t, spool.Config{})
	l := testlog.New(t, s, attestlog.Config{Spool: box, Policies: []attestlog.ActionPolicy{
		{Action: "pay.*", Policy: attestlog.Fail}, {Action: "mail.view", Policy: attestlog.Block}, {Action: "*", Policy: attestlog.ToSpool},
	}})

	record := func(n int, action string) error {
		e := testlog.Event(n)
		e.Action = action
		return l.Record(t.Context(), e)
	}

	s.down.Store(true)
	if err := errors.Join(record(0, "mail.view"), record(1, "mail.viewer")); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "one is in the spool", func() bool { return testlog.Stats(t, l).Spooled == 1 })
	testwait.Until(t, "the other is known to wait", func() bool { return testlog.Stats(t, l).Retries > 1 })

	if err := record(2, "pay.out"); !errors.Is(err, attestlog.ErrUnavailable) {
		t.Errorf("Record under Fail while events wait = %v, want ErrUnavailable", err)
	}
	if err := record(3, "payment"); err != nil { // another name than pay.*
		t.Error(err)
	}
	testwait.Until(t, "two are in the spool", func() bool { return testlog.Stats(t, l).Spooled == 2 })
	testwait.Until(t, "only the event under Block is in the queue", func() bool { return testlog.Stats(t, l).QueueEvents == 1 })

	s.down.Store(false)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := record(4, "pay.out"); err != nil {
		t.Errorf("Record under Fail while the store is up = %v", err)
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	for n, in := range []bool{true, true, false, true, true} {
		if _, err := l.EntryByID(t.Context(), testlog.Event(n).ID); (err == nil) != in {
			t.Errorf("EntryByID of event %d = %v; is it in: want %v", n, err, in)
		}
	}
	testlog.Verify(t, l)
}

// recordUntilFull records events from a number on until both the spool and the queue
// are full, and returns the number of the first that was not accepted.
func recordUntilFull(t *testing.T, l *attestlog.Log, from int) int {
	t.Helper()
	testwait.Until(t, "Record fails because the spool is full", func() bool {
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			err := l.Record(ctx, testlog.Event(from))
			cancel()
			if err == nil {
				from++
				continue
			}
			if !errors.Is(err, attestlog.ErrQueueFull) {
				t.Fatalf("Record with a full spool and a full queue = %v, want ErrQueueFull and ErrSpoolFull", err)
			}
			return errors.Is(err, attestlog.ErrSpoolFull)
		}
	})
	return from
}

func aFullSpoolHoldsCallersBack(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{})}
	box := newSpool(t, spool.Config{MaxBytes: 20_000})
	l := testlog.New(t, s, attestlog.Config{Spool: box, QueueEvents: 50})

	// While the worker tries what is in the spool again, that is queued as well, and
	// leaves less room. There may be more of it afterwards.
	s.down.Store(true)
	accepted := 0
	testwait.Until(t, "50 events are queued, and the others spooled", func() bool {
		accepted = recordUntilFull(t, l, accepted)
		st := testlog.Stats(t, l)
		return st.SpoolFull > 0 && st.QueueEvents == 50 && int(st.Spooled)+50 == accepted
	})

	s.down.Store(false)
	testwait.Until(t, "the queue is empty", func() bool { return testlog.Stats(t, l).QueueEvents == 0 })
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, accepted)
}

func closeEmptiesAFullSpool(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{})}
	path := filepath.Join(t.TempDir(), "audit.spool")
	l := testlog.New(t, s, attestlog.Config{Spool: openSpool(t, path, spool.Config{MaxBytes: 5_000}), QueueEvents: 40})

	s.down.Store(true)
	accepted := recordUntilFull(t, l, 0)
	if err := l.Ready(t.Context()); err == nil {
		t.Error("Ready while spool and queue are full = nil")
	}

	s.down.Store(false)
	if err := l.Close(testwait.Context(t)); err != nil {
		t.Fatalf("Close with a full spool and a store that is back = %v", err)
	}

	l = openLog(t, o, attestlog.Config{Spool: openSpool(t, path, spool.Config{})})
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, accepted)
}

// A broken spool is on a disk that cannot be written.
type broken struct{ *spool.Spool }

func (broken) Put(context.Context, []attestlog.Prepared) (int, error) {
	return 0, errors.New("input/output error")
}

func aBrokenSpoolHoldsNothingUp(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{})}
	l := testlog.New(t, s, attestlog.Config{Spool: broken{newSpool(t, spool.Config{})}})

	s.down.Store(true)
	for n := range 10 {
		if err := l.Record(t.Context(), testlog.Event(n)); err != nil {
			t.Fatal(err)
		}
	}
	testwait.Until(t, "the spool was tried", func() bool { return testlog.Stats(t, l).SpoolFull > 0 })

	s.down.Store(false)
	for n := 10; n < 20; n++ {
		if err := l.Record(t.Context(), testlog.Event(n)); err != nil {
			t.Fatal(err)
		}
	}

	testwait.Until(t, "all are in the log", func() bool { return testlog.Stats(t, l).Size == 20 })
	holdsInOrder(t, l, 20)
	if err := l.Ready(t.Context()); err != nil {
		t.Errorf("Ready afterwards = %v", err)
	}
}

func aStoreThatHangsHoldsNoRecordInMemory(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{})}
	g := &gate{Store: s, open: make(chan struct{})}
	path := filepath.Join(t.TempDir(), "audit.spool")
	box := openSpool(t, path, spool.Config{})
	if err := box.Record(t.Context(), testlog.Event(0)); err != nil { // left by another process
		t.Fatal(err)
	}

	l := testlog.New(t, g, attestlog.Config{Spool: box})
	testwait.Until(t, "the store hangs over the first", func() bool { return g.waiting.Load() > 0 })

	for n := 1; n < 100; n++ {
		if err := l.Record(t.Context(), testlog.Event(n)); err != nil {
			t.Fatal(err)
		}
	}
	testwait.Until(t, "the others are in the spool", func() bool { return testlog.Stats(t, l).Spooled == 99 })

	if err := l.Ready(t.Context()); !errors.Is(err, attestlog.ErrUnavailable) {
		t.Errorf("Ready while events wait = %v, want ErrUnavailable", err)
	}

	close(g.open)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, 100)
}

func aConflictLeavesTheLogReady(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{})}
	l := testlog.New(t, s, attestlog.Config{})
	testlog.Append(t, l, testlog.Event(0))

	s.down.Store(true)
	other := testlog.Event(0)
	other.Message = "other content"
	if err := l.Record(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "the record waits", func() bool { return errors.Is(l.Ready(t.Context()), attestlog.ErrUnavailable) })

	s.down.Store(false)
	testwait.Until(t, "the record was refused", func() bool { return testlog.Stats(t, l).Failed == 1 })
	testwait.Until(t, "the log is ready", func() bool { return l.Ready(t.Context()) == nil })
}

// aStoreThatHangsSendsRecordsToTheSpool begins with an empty spool, unlike
// aStoreThatHangsHoldsNoRecordInMemory. It takes as long as a log waits for a
// store before it spools.
func aStoreThatHangsSendsRecordsToTheSpool(t *testing.T, o Opener) {
	g := &gate{Store: openStore(t, o, Options{}), open: make(chan struct{})}
	l := testlog.New(t, g, attestlog.Config{Spool: newSpool(t, spool.Config{})})

	for n := range 50 {
		if err := l.Record(t.Context(), testlog.Event(n)); err != nil {
			t.Fatal(err)
		}
	}
	testwait.Until(t, "all are in the spool", func() bool { return testlog.Stats(t, l).Spooled == 50 })

	close(g.open)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, 50)
}
