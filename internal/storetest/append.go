package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
)

var appendTests = []namedTest{
	{"ReceiptsTellWhereEntriesAre", receiptsTellWhereEntriesAre},
	{"AbsentIDAndTimeAreMade", absentIDAndTimeAreMade},
	{"ConcurrentCallsStayWholeAndContiguous", concurrentCallsStayWhole},
	{"ACallIsAllOrNothing", aCallIsAllOrNothing},
	{"EntriesAreFoundByIndexAndID", entriesAreFound},
	{"AReopenedLogGoesOn", aReopenedLogGoesOn},
	{"TwoHandlesWriteOneOrder", twoHandlesWriteOneOrder},
	{"ANewLogCanBeOpenedBeforeItsFirstCheckpoint", aNewLogCanBeOpenedAgain},
	{"AnAcknowledgedEntryIsSeenWhole", anAcknowledgedEntryIsSeenWhole},
	{"WritingAfterCloseIsUnavailable", writingAfterCloseIsUnavailable},
	{"AppendEndsWithItsContext", appendEndsWithItsContext},
}

func receiptsTellWhereEntriesAre(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	var receipts []attestlog.Receipt
	want := testlog.Events(0, 306)
	for _, part := range [][]attestlog.Event{want[:1], want[1:6], want[6:]} {
		got, err := l.Append(t.Context(), part...)
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, got...)
	}

	for i, r := range receipts {
		e, err := l.Entry(t.Context(), uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[i], e.Event); diff != "" {
			t.Fatalf("entry %d (-want +got):\n%s", i, diff)
		}
		wantReceipt := attestlog.Receipt{Index: uint64(i), ID: want[i].ID, LeafHash: tlog.RecordHash(e.Leaf), LoggedTime: e.LoggedTime}
		if diff := cmp.Diff(wantReceipt, r); diff != "" {
			t.Fatalf("receipt %d (-want +got):\n%s", i, diff)
		}
		if leaf, err := attestlog.ParseLeaf(e.Leaf); err != nil || !leaf.LoggedTime.Equal(r.LoggedTime) {
			t.Fatalf("ParseLeaf of entry %d = %v, %v; want logged time %v", i, leaf.LoggedTime, err, r.LoggedTime)
		}
	}
}

func absentIDAndTimeAreMade(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	before := time.Now()
	r := testlog.Append(t, l, attestlog.Event{Action: "login", Actor: attestlog.Actor{ID: "bob"}})
	after := time.Now()

	e, err := l.EntryByID(t.Context(), r[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if e.Time.Before(before.Truncate(0)) || e.Time.After(after) || e.ID == "" || e.ID != r[0].ID {
		t.Errorf("entry has id %q and time %v; want the receipt's %q, and a time from %v to %v", e.ID, e.Time, r[0].ID, before, after)
	}
}

func concurrentCallsStayWhole(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})

	const writers, calls = 8, 25
	var mu sync.Mutex
	ids := map[uint64]string{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for c := range calls {
				from := (w*calls + c) * 4
				call := testlog.Events(from, from+1+c%4)
				receipts, err := l.Append(t.Context(), call...)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for i, r := range receipts {
					if r.ID != call[i].ID || r.Index != receipts[0].Index+uint64(i) {
						t.Errorf("receipt %d of a call is index %d, id %s; want index %d, id %s",
							i, r.Index, r.ID, receipts[0].Index+uint64(i), call[i].ID)
					}
					ids[r.Index] = r.ID
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()

	next := uint64(0)
	for e, err := range l.Entries(t.Context(), query.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Index != next || e.ID != ids[next] {
			t.Fatalf("entry %d has index %d and id %s, its receipt said %s", next, e.Index, e.ID, ids[next])
		}
		next++
	}

	if next != uint64(len(ids)) {
		t.Errorf("log has %d entries, receipts were given for %d", next, len(ids))
	}
	testlog.Verify(t, l)
}

func aCallIsAllOrNothing(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	testlog.Append(t, l, testlog.Event(0))

	bad := testlog.Events(1, 4)
	bad[2].Action = ""
	var field *attestlog.FieldError
	if _, err := l.Append(t.Context(), bad...); !errors.As(err, &field) || field.Event != 2 || field.Field != "action" {
		t.Errorf("Append with a bad third event = %v, want a FieldError of event 2, action", err)
	}

	taken := testlog.Events(1, 4)
	taken[1] = testlog.Event(0)
	taken[1].Action = "mail.delete"
	if _, err := l.Append(t.Context(), taken...); !errors.Is(err, attestlog.ErrConflict) {
		t.Errorf("Append with a taken id = %v, want ErrConflict", err)
	}

	if size, err := l.Size(t.Context()); size != 1 || err != nil {
		t.Errorf("Size = %d, %v; want 1", size, err)
	}
	for _, e := range testlog.Events(1, 4) {
		if _, err := l.EntryByID(t.Context(), e.ID); !errors.Is(err, attestlog.ErrNotFound) {
			t.Errorf("EntryByID(%s) = %v, want ErrNotFound", e.ID, err)
		}
	}

	if r := testlog.Append(t, l, testlog.Events(1, 4)...); r[0].Index != 1 || r[2].Index != 3 {
		t.Errorf("the same ids afterwards got indexes %d to %d, want 1 to 3", r[0].Index, r[2].Index)
	}
	testlog.Verify(t, l)
}

func entriesAreFound(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	own := testlog.Event(7)
	own.ID = "order-7"
	testlog.Append(t, l, testlog.Event(0), own)

	for id, index := range map[string]uint64{testlog.Event(0).ID: 0, "order-7": 1} {
		e, err := l.EntryByID(t.Context(), id)
		if err != nil || e.Index != index || e.ID != id {
			t.Errorf("EntryByID(%s) = entry %d, id %s, %v; want entry %d", id, e.Index, e.ID, err, index)
		}
	}

	for _, id := range []string{testlog.Event(1).ID, "order-8", ""} {
		if _, err := l.EntryByID(t.Context(), id); err == nil || id != "" && !errors.Is(err, attestlog.ErrNotFound) {
			t.Errorf("EntryByID(%q) = %v, want ErrNotFound", id, err)
		}
	}

	for _, index := range []uint64{2, 1 << 40, 1<<62 - 1} {
		if _, err := l.Entry(t.Context(), index); !errors.Is(err, attestlog.ErrNotFound) {
			t.Errorf("Entry(%d) = %v, want ErrNotFound", index, err)
		}
	}
}

func aReopenedLogGoesOn(t *testing.T, o Opener) {
	var origin string
	for round := range 4 {
		l := openLog(t, o, attestlog.Config{})
		if round == 0 {
			origin = l.Origin()
		}
		if l.Origin() != origin || l.ReadOnly() != nil {
			t.Fatalf("reopened: origin %q, read-only: %v; want %q and writable", l.Origin(), l.ReadOnly(), origin)
		}
		r := testlog.Append(t, l, testlog.Events(round*300, (round+1)*300)...)
		if r[0].Index != uint64(round*300) {
			t.Fatalf("first index after opening is %d, want %d", r[0].Index, round*300)
		}
		testlog.Verify(t, l)
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	s := openStore(t, o, Options{})
	if _, err := attestlog.New(t.Context(), s, attestlog.Config{Origin: "example.com/other"}); err == nil {
		t.Error("New with another origin succeeded")
	}
	s.Close()
}

func twoHandlesWriteOneOrder(t *testing.T, o Opener) {
	a := openLog(t, o, attestlog.Config{})
	b := openLog(t, o, attestlog.Config{})
	if a.Origin() != b.Origin() {
		t.Fatalf("origins %q and %q", a.Origin(), b.Origin())
	}

	var mu sync.Mutex
	var indexes []uint64
	var wg sync.WaitGroup
	for h, l := range []*attestlog.Log{a, b} {
		wg.Go(func() {
			for c := range 40 {
				from := h*1000 + c*10
				receipts, err := l.Append(t.Context(), testlog.Events(from, from+10)...)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, r := range receipts {
					indexes = append(indexes, r.Index)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()

	slices.Sort(indexes)
	for i, index := range indexes {
		if index != uint64(i) {
			t.Fatalf("indexes are not 0 to 799: %d is at place %d", index, i)
		}
	}

	for _, l := range []*attestlog.Log{a, b} {
		if r := testlog.Verify(t, l); r.Size != 800 || r.Signed != 800 {
			t.Errorf("Verify = %+v, want 800 entries, all signed", r)
		}
	}
}

// aNewLogCanBeOpenedAgain opens a log whose first entry is durable but not
// signed yet, as a second process does, or any process after a crash.
func aNewLogCanBeOpenedAgain(t *testing.T, o Opener) {
	a := openLog(t, o, attestlog.Config{})
	testlog.Append(t, a, testlog.Event(0))

	b := openLog(t, o, attestlog.Config{})
	if err := b.ReadOnly(); err != nil {
		t.Fatalf("ReadOnly() = %v, want a log that can be written", err)
	}
	testlog.Append(t, b, testlog.Event(1))
	testlog.Verify(t, b)
}

// anAcknowledgedEntryIsSeenWhole reads entries the moment they appear. Their
// sealed values must be there too: a missing one would look like an erased one.
func anAcknowledgedEntryIsSeenWhole(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})

	const total = 1500
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for next := uint64(0); next < total; {
				e, err := l.Entry(t.Context(), next)
				if errors.Is(err, attestlog.ErrNotFound) {
					continue
				}
				if err != nil {
					t.Errorf("Entry(%d) = %v", next, err)
					return
				}
				if len(e.Erased) > 0 {
					t.Errorf("Entry(%d) as it appeared lists %q as erased", next, e.Erased)
					return
				}
				next++
			}
		})
	}

	for n := range total {
		if _, err := l.Append(t.Context(), testlog.Event(n)); err != nil {
			t.Error(err)
			break
		}
	}
	wg.Wait()
}

func writingAfterCloseIsUnavailable(t *testing.T, o Opener) {
	s := openStore(t, o, Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	write := func() error {
		return s.Write(t.Context(), func(tx attestlog.Tx) error {
			_, err := tx.Tree()
			return err
		})
	}
	putToken := func() error { return s.(tokens).PutToken(t.Context(), "id", []byte("{}")) }
	for name, call := range map[string]func() error{"Write": write, "PutToken": putToken} {
		err := call()
		if !errors.Is(err, attestlog.ErrUnavailable) || !errors.Is(err, attestlog.ErrClosed) {
			t.Errorf("%s = %v, want %v and %v", name, err, attestlog.ErrUnavailable, attestlog.ErrClosed)
		}
	}
}

// appendEndsWithItsContext has a store that hangs for as long as the call lasts.
func appendEndsWithItsContext(t *testing.T, o Opener) {
	g := &gate{Store: openStore(t, o, Options{}), open: make(chan struct{})}
	l := testlog.New(t, g, attestlog.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() {
		_, err := l.Append(ctx, testlog.Events(0, 2)...)
		ended <- err
	}()
	testwait.Until(t, "the transaction waits", func() bool { return g.waiting.Load() > 0 })

	cancel()
	err := testwait.Receive(t, "the end of Append", ended)
	var failed *attestlog.AppendError
	if !errors.Is(err, context.Canceled) || !errors.As(err, &failed) || len(failed.IDs) != 2 {
		t.Errorf("Append = %v, want an *AppendError of the context's error with two ids", err)
	}

	// The transaction goes on without the caller, who may ask again.
	close(g.open)
	if r := testlog.Append(t, l, testlog.Events(0, 2)...); r[0].Index != 0 || r[1].Index != 1 {
		t.Errorf("asked again, indexes %d and %d, want 0 and 1", r[0].Index, r[1].Index)
	}
	testlog.Verify(t, l)
}
