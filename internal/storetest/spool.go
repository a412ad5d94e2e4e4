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

// A switched store fails its transactions while it is down, after they are
// durable if persists is set.
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

func openSpool(t *testing.T, path string, cfg spool.Config) *spool.Spool {
	t.Helper()
	s, err := spool.Open(path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// until waits for a condition that something else brings about.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func stats(t *testing.T, l *attestlog.Log) attestlog.Stats {
	t.Helper()
	st, err := l.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// holdsInOrder checks that the log is events from to to, and nothing else.
func holdsInOrder(t *testing.T, l *attestlog.Log, from, to int) {
	t.Helper()
	n := from
	for e, err := range l.Entries(t.Context(), query.Query{}) {
		if err != nil || e.ID != event(n).ID {
			t.Fatalf("entry %d is %s, %v; want %s", e.Index, e.ID, err, event(n).ID)
		}
		n++
	}
	if n != to {
		t.Errorf("the log has %d entries, want %d", n-from, to-from)
	}
	mustVerify(t, l)
}

func recordsOutliveAStoreThatIsDown(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{})}
	box := openSpool(t, filepath.Join(t.TempDir(), "audit.spool"), spool.Config{})
	l := openLog(t, s, attestlog.Config{Spool: box, QueueEvents: 100})
	mustAppend(t, l, event(0))
	s.down.Store(true)
	const total = 3000 // many times the queue
	for n := 1; n < total; n++ {
		if err := l.Record(t.Context(), event(n)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the spool has all", func() bool { return stats(t, l).Spooled == total-1 })
	if st := stats(t, l); st.Outboxes[len(st.Outboxes)-1].Events != total-1 || st.QueueEvents != 0 || st.Size != 1 {
		t.Errorf("Stats while the store is down = %+v; want %d events in the spool", st, total-1)
	}
	before := stats(t, l).Retries
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := l.Flush(short); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, attestlog.ErrUnavailable) {
		t.Errorf("Flush while the store is down = %v, want the context's error and the store's", err)
	}
	if tries := stats(t, l).Retries - before; tries > 20 {
		t.Errorf("%d transactions were tried during a Flush of 0.3 s", tries)
	}
	var failed *attestlog.AppendError
	if _, err := l.Append(t.Context(), event(9000)); !errors.As(err, &failed) || !errors.Is(err, attestlog.ErrUnavailable) {
		t.Errorf("Append while the store is down = %v, want an AppendError of ErrUnavailable", err)
	}
	s.down.Store(false)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, 0, total)
	if st := stats(t, l); st.Failed != 1 || st.Outboxes[len(st.Outboxes)-1].Moved != total-1 {
		t.Errorf("Stats = %+v; want one failed Append and %d moved", st, total-1)
	}
}

func aRestartDeliversWhatWasSpooled(t *testing.T, o Opener) {
	path := filepath.Join(t.TempDir(), "audit.spool")
	s := &switched{Store: openStore(t, o, Options{})}
	l := openLog(t, s, attestlog.Config{Spool: openSpool(t, path, spool.Config{})})
	s.down.Store(true)
	for n := range 1500 {
		if err := l.Record(t.Context(), event(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatalf("Close with a spool while the store is down = %v", err)
	}
	box := openSpool(t, path, spool.Config{})
	// A program that starts while the store is down has no Log yet.
	if err := box.Record(t.Context(), event(1500)); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, openStore(t, o, Options{}), attestlog.Config{Spool: box})
	for n := 1501; n < 1600; n++ { // behind those that wait
		if err := l.Record(t.Context(), event(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, 0, 1600)
}

func aLostAnswerStoresNothingTwice(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{}), persists: true}
	box := openSpool(t, filepath.Join(t.TempDir(), "audit.spool"), spool.Config{})
	l := openLog(t, s, attestlog.Config{Spool: box, Sealed: append(attestlog.DefaultSealed, "/message")})
	s.down.Store(true)
	for n := range 50 {
		e := event(n)
		e.Message, e.Original = "sealed", []byte{0xff, 0, byte(n)}
		e.Attributes = map[string]any{"n": n, "deep": map[string]any{"a": []any{1.5, nil, "x"}}}
		if n%2 == 0 {
			e.Time = time.Time{} // the log's
		}
		if err := l.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all are durable and in the spool", func() bool {
		st := stats(t, l)
		return st.Size == 50 && st.Spooled == 50
	})
	s.down.Store(false)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, 0, 50)
	if st := stats(t, l); st.Duplicates < 50 || st.Outboxes[len(st.Outboxes)-1].Refused != 0 {
		t.Errorf("Stats = %+v; want 50 duplicates and nothing refused", st)
	}
}

func aStoreThatComesAndGoesKeepsTheOrder(t *testing.T, o Opener) {
	s := &switched{Store: openStore(t, o, Options{}), persists: true}
	box := openSpool(t, filepath.Join(t.TempDir(), "audit.spool"), spool.Config{MaxBytes: 60_000})
	l := openLog(t, s, attestlog.Config{Spool: box, QueueEvents: 40, OutboxInterval: time.Millisecond})
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
				if err := l.Record(t.Context(), event(w*each+i)); err != nil {
					t.Errorf("Record = %v", err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	flips.Wait()
	until(t, "the queue is empty", func() bool { return stats(t, l).QueueEvents == 0 })
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
	mustVerify(t, l)
}

func aConflictIsSetAside(t *testing.T, o Opener) {
	var logged lockedBuffer
	s := &switched{Store: openStore(t, o, Options{})}
	box := openSpool(t, filepath.Join(t.TempDir(), "audit.spool"), spool.Config{})
	l := openLog(t, s, attestlog.Config{Spool: box, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	mustAppend(t, l, events(0, 2)...)
	s.down.Store(true)
	other := event(1)
	other.Message = "other content"
	for _, e := range []attestlog.Event{event(2), other, event(3), event(0)} {
		if err := l.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the spool has all", func() bool { return stats(t, l).Spooled == 4 })
	s.down.Store(false)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	holdsInOrder(t, l, 0, 4)
	if st := stats(t, l); st.Failed != 1 || st.Outboxes[len(st.Outboxes)-1].Refused != 1 {
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
	box := openSpool(t, filepath.Join(t.TempDir(), "audit.spool"), spool.Config{})
	l := openLog(t, s, attestlog.Config{Spool: box, Policies: []attestlog.ActionPolicy{
		{Action: "pay.*", Policy: attestlog.Fail}, {Action: "mail.view", Policy: attestlog.Block}, {Action: "*", Policy: attestlog.ToSpool},
	}})
	record := func(n int, action string) error {
		e := event(n)
		e.Action = action
		return l.Record(t.Context(), e)
	}
	s.down.Store(true)
	if err := errors.Join(record(0, "mail.view"), record(1, "mail.viewer")); err != nil {
		t.Fatal(err)
	}
	until(t, "one is in the spool", func() bool { return stats(t, l).Spooled == 1 })
	until(t, "the other is known to wait", func() bool { return stats(t, l).Retries > 1 })
	if err := record(2, "pay.out"); !errors.Is(err, attestlog.ErrUnavailable) {
		t.Errorf("Record under Fail while events wait = %v, want ErrUnavailable", err)
	}
	if err := record(3, "payment"); err != nil { // another name than pay.*
		t.Error(err)
	}
	until(t, "two are in the spool", func() bool { return stats(t, l).Spooled == 2 })
	until(t, "only the event under Block is in the queue", func() bool { return stats(t, l).QueueEvents == 1 })
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
		if _, err := l.EntryByID(t.Context(), event(n).ID); (err == nil) != in {
			t.Errorf("EntryByID of event %d = %v; is it in: want %v", n, err, in)
		}
	}
	mustVerify(t, l)
}
