package storetest

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

var readTests = []namedTest{
	{"TailGoesOnWithNewEntries", func(t *testing.T, o Opener) { tailGoesOn(t, o, false) }},
	{"TailSeesOtherHandles", func(t *testing.T, o Opener) { tailGoesOn(t, o, true) }},
	{"TailEndsWithItsContext", tailEndsWithItsContext},
	{"TailEndsWithTheLog", tailEndsWithTheLog},
	{"EntriesEndWhereTheyBegan", entriesEndWhereTheyBegan},
	{"EntriesTakeConstantMemory", entriesTakeConstantMemory},
	{"StatsCount", statsCount},
	{"AReadOnlyLogRefusesWrites", aReadOnlyLogRefusesWrites},
}

func tailGoesOn(t *testing.T, o Opener, other bool) {
	l := openLog(t, o, attestlog.Config{})
	writer := l
	if other {
		writer = openLog(t, o, attestlog.Config{})
	}
	testlog.Append(t, writer, testlog.Events(0, 10)...)

	deleted := testlog.Event(10)
	deleted.Action = "mail.delete"
	q := query.Not(query.Field("action", "mail.delete"))

	var got []uint64
	for e, err := range l.Tail(testwait.Context(t), 5, q) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Index)
		switch e.Index {
		case 9:
			testlog.Append(t, writer, deleted)
			testlog.Append(t, writer, testlog.Event(11))
		case 11:
			testlog.Append(t, writer, testlog.Events(12, 2500)...)
		}
		if e.Index == 2499 {
			break
		}
	}

	want := []uint64{5, 6, 7, 8, 9}
	for i := uint64(11); i < 2500; i++ {
		want = append(want, i)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("indexes of Tail(5) (-want +got):\n%s", diff)
	}
}

func tailEndsWithItsContext(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	testlog.Append(t, l, testlog.Event(0))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	n := 0
	for _, err := range l.Tail(ctx, 0, query.Query{}) {
		if err != nil {
			t.Errorf("Tail ended with %v, want no error", err)
		}
		n++
		cancel()
	}

	if n != 1 {
		t.Errorf("Tail gave %d entries, want 1", n)
	}
}

// tailEndsWithTheLog closes the log under tails that are reading and waiting.
func tailEndsWithTheLog(t *testing.T, o Opener) {
	for round := range 8 {
		l := openLog(t, o, attestlog.Config{})
		testlog.Append(t, l, testlog.Events(round*50, round*50+50)...)

		ended := make(chan error)
		const tails = 8
		started := make(chan struct{}, tails)
		for range tails {
			go func() {
				var last error
				first := true
				for _, err := range l.Tail(context.Background(), 0, query.Query{}) {
					last = err
					if first {
						started <- struct{}{}
					}
					first = false
				}
				ended <- last
			}()
		}
		for range tails {
			testwait.Receive(t, "a tail's first entry", started)
		}

		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}

		for range tails {
			if err := testwait.Receive(t, "the end of a tail", ended); !errors.Is(err, attestlog.ErrClosed) {
				t.Errorf("Tail of a log that was closed ended with %v, want ErrClosed", err)
			}
		}
	}
}

func entriesEndWhereTheyBegan(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	testlog.Append(t, l, testlog.Events(0, 30)...)

	for _, test := range []struct {
		query string
		want  []uint64
	}{
		{"index:3..6", []uint64{3, 4, 5, 6}},
		{"index:27..1000", []uint64{27, 28, 29}},
		{"index:50..", nil},
		{"target:mail/4 OR target:mail/20", []uint64{4, 20}},
		{"index:3..6 order:time", []uint64{6, 5, 4, 3}},
	} {
		q, err := query.Parse(test.query)
		if err != nil {
			t.Fatal(err)
		}

		var got []uint64
		for e, err := range l.Entries(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Index)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("Entries(%s) (-want +got):\n%s", test.query, diff)
		}
	}

	n := 0
	for _, err := range l.Entries(t.Context(), query.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			testlog.Append(t, l, testlog.Events(30, 40)...)
		}
		n++
	}

	if n != 30 {
		t.Errorf("Entries gave %d entries, want the 30 that were there when it began", n)
	}
}

func entriesTakeConstantMemory(t *testing.T, o Opener) {
	if testing.Short() || raceEnabled {
		t.Skip("a heap of a certain size")
	}

	l := testlog.New(t, openStore(t, o, Options{NoIndex: true}), attestlog.Config{Sealed: []string{}})
	large := testlog.Events(0, 12_000)
	for i := range large {
		large[i].Attributes = map[string]any{"filling": string(make([]byte, 1000))} // 6,000 bytes as JSON
	}
	testlog.Append(t, l, large...)
	large = nil

	for _, text := range []string{"", "index:10..11900", "action:mail.*"} {
		q, err := query.Parse(text)
		if err != nil {
			t.Fatal(err)
		}

		var before, now runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)

		n, peak := 0, uint64(0)
		for _, err := range l.Entries(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			n++
			if n%2000 == 0 {
				runtime.GC()
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
			}
		}

		if peak > 24<<20 { // all of them are over 72 MB
			t.Errorf("Entries(%q) held %d bytes", text, peak)
		}
	}
}

func statsCount(t *testing.T, o Opener) {
	began := time.Now()
	l := openLog(t, o, attestlog.Config{})
	testlog.Append(t, l, testlog.Events(0, 10)...)
	testlog.Append(t, l, testlog.Events(5, 12)...) // five of them are there

	for n := 10; n < 20; n++ {
		if err := l.Record(t.Context(), testlog.Event(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	bad := testlog.Event(0)
	bad.Reason = "other"
	if _, err := l.Append(t.Context(), testlog.Event(50), bad); !errors.Is(err, attestlog.ErrConflict) {
		t.Fatal(err)
	}
	if _, err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}

	st, err := l.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Store.Bytes == 0 || st.CheckpointAge < 0 || st.CheckpointAge > time.Since(began) {
		t.Errorf("Stats = %+v; want bytes on disk and a checkpoint of this test", st)
	}

	st.Store, st.CheckpointAge, st.Outboxes = attestlog.StoreStats{}, 0, nil
	want := attestlog.Stats{Size: 20, Queued: 29, Appended: 20, Duplicates: 7, Failed: 2, CheckpointSize: 20}
	if diff := cmp.Diff(want, st); diff != "" {
		t.Errorf("Stats (-want +got):\n%s", diff)
	}

	testlog.Indexed(t, l)
}

func aReadOnlyLogRefusesWrites(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	testlog.Append(t, l, testlog.Events(0, 10)...)
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	for _, opts := range []Options{{ReadOnly: true}, {}} {
		l := testlog.New(t, openStore(t, o, opts), attestlog.Config{ReadOnly: true})
		if err := l.ReadOnly(); !errors.Is(err, attestlog.ErrReadOnly) {
			t.Errorf("ReadOnly() = %v, want ErrReadOnly", err)
		}
		if _, err := l.Append(t.Context(), testlog.Event(11)); !errors.Is(err, attestlog.ErrReadOnly) {
			t.Errorf("Append = %v, want ErrReadOnly", err)
		}
		if err := l.Record(t.Context(), testlog.Event(11)); !errors.Is(err, attestlog.ErrReadOnly) {
			t.Errorf("Record = %v, want ErrReadOnly", err)
		}
		if _, err := l.Publish(t.Context()); !errors.Is(err, attestlog.ErrReadOnly) {
			t.Errorf("Publish = %v, want ErrReadOnly", err)
		}
		if _, err := l.RotateKey(t.Context()); !errors.Is(err, attestlog.ErrReadOnly) {
			t.Errorf("RotateKey = %v, want ErrReadOnly", err)
		}

		page, err := l.Query(t.Context(), query.Field("target", "mail/3"), attestlog.PageOptions{})
		if err != nil || len(page.Entries) != 1 || page.Entries[0].Index != 3 {
			t.Errorf("Query = %v, %v; want entry 3", page, err)
		}
		if r, err := verify.Log(t.Context(), l, verify.Options{Index: true}); err != nil || r.Signed != 10 {
			t.Errorf("Verify = %+v, %v; want 10 signed entries", r, err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}

	s := openStore(t, o, Options{ReadOnly: true})
	defer s.Close()
	if err := s.Write(t.Context(), func(attestlog.Tx) error { return nil }); !errors.Is(err, attestlog.ErrReadOnly) {
		t.Errorf("Write to a store that was opened for reading = %v, want ErrReadOnly", err)
	}
}
