package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
)

var faultTests = []namedTest{
	{"FailedBeforeCommit", func(t *testing.T, o Opener) { transactionFails(t, o, false) }},
	{"FailedButPersisted", func(t *testing.T, o Opener) { transactionFails(t, o, true) }},
	{"ManyFaultsLoseNothing", manyFaultsLoseNothing},
	{"ATriedAgainBatchFollowsOthers", aTriedAgainBatchFollowsOthers},
	{"APanicStoresNothing", aPanicStoresNothing},
}

// A flaky store fails transactions, before or after they are durable, as fail
// says of the n-th.
type flaky struct {
	attestlog.Store
	mu   sync.Mutex
	fail func(n int) (before, after bool)
	n    int
}

func (f *flaky) Write(ctx context.Context, fn func(attestlog.Tx) error) error {
	f.mu.Lock()
	before, after := f.fail(f.n)
	f.n++
	f.mu.Unlock()
	if before {
		return fmt.Errorf("%w: fault before", attestlog.ErrUnavailable)
	}

	err := f.Store.Write(ctx, fn)
	if err == nil && after {
		err = fmt.Errorf("%w: fault after", attestlog.ErrUnavailable)
	}
	return err
}

func transactionFails(t *testing.T, o Opener, persisted bool) {
	failing := false
	var mu sync.Mutex
	f := &flaky{Store: openStore(t, o, Options{}), fail: func(int) (bool, bool) {
		mu.Lock()
		defer mu.Unlock()
		was := failing
		failing = false
		return was && !persisted, was && persisted
	}}

	arm := func() {
		mu.Lock()
		defer mu.Unlock()
		failing = true
	}

	l := testlog.New(t, f, attestlog.Config{})
	testlog.Append(t, l, testlog.Event(0))
	// After this the next transaction is that of the append.
	if _, err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}

	arm()
	_, err := l.Append(t.Context(), testlog.Events(1, 3)...)
	var failed *attestlog.AppendError
	if !errors.Is(err, attestlog.ErrUnavailable) || !errors.As(err, &failed) || len(failed.IDs) != 2 {
		t.Fatalf("Append over a fault = %v, want an AppendError of ErrUnavailable with two ids", err)
	}

	size, err := l.Size(t.Context())
	if want := map[bool]uint64{false: 1, true: 3}[persisted]; err != nil || size != want {
		t.Fatalf("Size after the fault = %d, %v; want %d", size, err, want)
	}

	if r := testlog.Append(t, l, testlog.Events(1, 3)...); r[0].Index != 1 || r[1].Index != 2 {
		t.Errorf("retry got indexes %d and %d, want 1 and 2", r[0].Index, r[1].Index)
	}

	if _, err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	arm()
	if err := l.Record(t.Context(), testlog.Event(3)); err != nil {
		t.Fatal(err)
	}
	for range 100 { // a Flush that meets the fault gets its error
		if err = l.Flush(t.Context()); err == nil {
			break
		}
	}
	if e, entryErr := l.Entry(t.Context(), 3); err != nil || entryErr != nil || e.ID != testlog.Event(3).ID {
		t.Errorf("after Flush = %v, entry 3 is %q, %v; want the recorded %q", err, e.ID, entryErr, testlog.Event(3).ID)
	}
	if st, err := l.Stats(t.Context()); err != nil || st.Retries != 2 || st.Size != 4 {
		t.Errorf("Stats = %+v, %v; want 2 retries and 4 entries", st, err)
	}
	testlog.Verify(t, l)
}

func manyFaultsLoseNothing(t *testing.T, o Opener) {
	var mended atomic.Bool
	f := &flaky{Store: openStore(t, o, Options{}), fail: func(n int) (bool, bool) {
		return !mended.Load() && n%5 == 1, !mended.Load() && n%5 == 3
	}}
	l := testlog.New(t, f, attestlog.Config{})

	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for i := range 15 {
				e := testlog.Event(w*100 + i)
				if i%3 == 0 {
					if err := l.Record(t.Context(), e); err != nil {
						t.Errorf("Record = %v", err)
					}
					continue
				}
				for {
					_, err := l.Append(t.Context(), e)
					if err == nil {
						break
					}
					if !errors.Is(err, attestlog.ErrUnavailable) {
						t.Errorf("Append = %v, want ErrUnavailable", err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	for range 100 {
		if l.Flush(t.Context()) == nil {
			break
		}
	}
	mended.Store(true)

	for w := range 6 {
		for i := range 15 {
			if _, err := l.EntryByID(t.Context(), testlog.Event(w*100+i).ID); err != nil {
				t.Errorf("EntryByID of event %d of writer %d: %v", i, w, err)
			}
		}
	}
	if size, err := l.Size(t.Context()); size != 90 || err != nil {
		t.Errorf("Size = %d, %v; want 90", size, err)
	}
	testlog.Verify(t, l)
}

// A rerun store abandons its next transaction when the batch is put, calls
// between, and runs the transaction again, as a store may do that has lost its
// connection.
type rerun struct {
	attestlog.Store
	between func()
}

var errGivenUp = errors.New("given up")

type noPut struct{ attestlog.Tx }

func (noPut) Put(*attestlog.Batch) error { return errGivenUp }

func (r *rerun) Write(ctx context.Context, fn func(attestlog.Tx) error) error {
	between := r.between
	r.between = nil
	if between == nil {
		return r.Store.Write(ctx, fn)
	}

	runs := 0
	err := r.Store.Write(ctx, func(tx attestlog.Tx) error {
		runs++
		return fn(noPut{tx})
	})
	if runs == 0 || !errors.Is(err, errGivenUp) { // a store may run it twice
		return fmt.Errorf("%d runs, %w; want one that reaches Put", runs, err)
	}
	between()
	return r.Store.Write(ctx, fn)
}

// aTriedAgainBatchFollowsOthers has another handle append as many entries as
// the abandoned batch had.
func aTriedAgainBatchFollowsOthers(t *testing.T, o Opener) {
	r := &rerun{Store: openStore(t, o, Options{})}
	l := testlog.New(t, r, attestlog.Config{})
	testlog.Append(t, l, testlog.Event(0))
	other := openLog(t, o, attestlog.Config{})
	if _, err := l.Publish(t.Context()); err != nil { // the next transaction is the append's
		t.Fatal(err)
	}

	r.between = func() { testlog.Append(t, other, testlog.Event(1)) }
	if got := testlog.Append(t, l, testlog.Event(2)); got[0].Index != 2 {
		t.Errorf("the batch that was tried again has index %d, want 2", got[0].Index)
	}
	testlog.Verify(t, l)
}

func aPanicStoresNothing(t *testing.T, o Opener) {
	s := openStore(t, o, Options{})
	defer s.Close()
	put := func(size uint64, after func()) error {
		return s.Write(t.Context(), func(tx attestlog.Tx) error {
			err := tx.PutCheckpoint(size, time.Now(), []byte("note"))
			after()
			return err
		})
	}

	func() {
		defer func() {
			if recover() == nil {
				t.Error("Write swallowed a panic")
			}
		}()
		put(1, func() { panic("a bug") })
	}()
	if err := put(2, func() {}); err != nil {
		t.Fatalf("Write after a panic = %v", err)
	}

	var sizes []uint64
	err := s.Checkpoints(t.Context(), func(size uint64, _ []byte) error {
		sizes = append(sizes, size)
		return nil
	})
	if err != nil || !slices.Equal(sizes, []uint64{2}) {
		t.Errorf("checkpoints of sizes %v are stored, %v; want [2]", sizes, err)
	}
}
