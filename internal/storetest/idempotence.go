package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
)

var idempotenceTests = []namedTest{
	{"SameHandle", func(t *testing.T, o Opener) { retry(t, o, sameHandle) }},
	{"OneCall", func(t *testing.T, o Opener) { retry(t, o, oneCall) }},
	{"Reopened", func(t *testing.T, o Opener) { retry(t, o, reopened) }},
	{"SecondHandle", func(t *testing.T, o Opener) { retry(t, o, secondHandle) }},
	{"AConflictRejectsOnlyItsOwnCall", aConflictRejectsOnlyItsOwnCall},
	{"ErasedValuesCountAsEqual", erasedValuesCountAsEqual},
	{"OwnIDsAreUniqueByTenantServiceAndTime", ownIDsAreUnique},
	{"OtherSealsAreTheSameContent", otherSealsAreTheSameContent},
}

// retries are first and second tries of one event: what is changed in each, and
// whether the log takes them as the same content.
var retries = []struct {
	name   string
	change func(first, second *attestlog.Event)
	same   bool
}{
	{"identical", func(_, _ *attestlog.Event) {}, true},
	{"without time", func(_, b *attestlog.Event) { b.Time = time.Time{} }, true},
	{"neither with time", func(a, b *attestlog.Event) { a.Time, b.Time = time.Time{}, time.Time{} }, true},
	{"other time", func(_, b *attestlog.Event) { b.Time = b.Time.Add(1) }, false},
	{"other zone", func(_, b *attestlog.Event) { b.Time = b.Time.In(time.FixedZone("", 3600)) }, true},
	{"sealed values", func(a, b *attestlog.Event) { a.Source.UserAgent, b.Source.UserAgent = "curl", "curl" }, true},
	{"other sealed value", func(_, b *attestlog.Event) { b.Source.IP = "192.0.2.8" }, false},
	{"other sealed name", func(_, b *attestlog.Event) { b.Actor.Name = "Alice" }, false},
	{"sealed value missing", func(_, b *attestlog.Event) { b.Source.IP = "" }, false},
	{"sealed value added", func(_, b *attestlog.Event) { b.Source.UserAgent = "curl" }, false},
	{"address spelled otherwise", func(a, b *attestlog.Event) { a.Source.IP, b.Source.IP = "2001:db8::1", "2001:DB8:0::1" }, true},
	{"original", func(a, b *attestlog.Event) { a.Original, b.Original = []byte("a\xff"), []byte("a\xff") }, true},
	{"other original", func(a, b *attestlog.Event) { a.Original, b.Original = []byte("a\xff"), []byte("a\xfe") }, false},
	{"other action", func(_, b *attestlog.Event) { b.Action = "mail.delete" }, false},
	{"other actor", func(_, b *attestlog.Event) { b.Actor.ID = "bob" }, false},
	{"other tenant", func(_, b *attestlog.Event) { b.Tenant = "acme" }, false},
	{"other target", func(_, b *attestlog.Event) { b.Targets = append(b.Targets, attestlog.Target{ID: "x"}) }, false},
	{"attributes spelled otherwise", func(a, b *attestlog.Event) {
		a.Attributes = map[string]any{"n": 1, "list": []any{1.5, "x", nil}}
		b.Attributes = map[string]any{"list": json.RawMessage(`[15e-1, "\u0078", null]`), "n": 1.0}
	}, true},
	{"other attribute", func(a, b *attestlog.Event) {
		a.Attributes, b.Attributes = map[string]any{"n": 1}, map[string]any{"n": "1"}
	}, false},
	{"null is not absent", func(a, b *attestlog.Event) { a.Attributes = map[string]any{"n": nil} }, false},
	{"changes", func(a, b *attestlog.Event) {
		a.Changes = []attestlog.Change{{Path: "/x", Old: 1, New: map[string]any{"a": true}}}
		b.Changes = []attestlog.Change{{Path: "/x", Old: 1.0, New: json.RawMessage(`{"a":true}`)}}
	}, true},
	{"other change", func(a, b *attestlog.Event) {
		a.Changes, b.Changes = []attestlog.Change{{Path: "/x", Old: 1}}, []attestlog.Change{{Path: "/x", New: 1}}
	}, false},
}

const (
	sameHandle = iota
	oneCall
	reopened
	secondHandle
)

func retry(t *testing.T, o Opener, how int) {
	l := openLog(t, o, attestlog.Config{})
	firsts := make([]attestlog.Receipt, len(retries))
	pairs := make([][2]attestlog.Event, len(retries))
	for i, test := range retries {
		pairs[i] = [2]attestlog.Event{testlog.Event(i), testlog.Event(i)}
		test.change(&pairs[i][0], &pairs[i][1])
		if how != oneCall {
			firsts[i] = testlog.Append(t, l, pairs[i][0])[0]
		}
	}

	switch how {
	case reopened:
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		l = openLog(t, o, attestlog.Config{})
	case secondHandle:
		if _, err := l.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		l = openLog(t, o, attestlog.Config{})
	}

	size, err := l.Size(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	for i, test := range retries {
		call := []attestlog.Event{pairs[i][1]}
		if how == oneCall {
			call = []attestlog.Event{pairs[i][0], pairs[i][1]}
		}
		receipts, err := l.Append(t.Context(), call...)

		switch {
		case !test.same:
			var failed *attestlog.AppendError
			if !errors.Is(err, attestlog.ErrConflict) || !errors.As(err, &failed) || failed.IDs[0] != pairs[i][0].ID {
				t.Errorf("%s: Append = %v, %v; want an AppendError of ErrConflict with the id", test.name, receipts, err)
			}
			if how == oneCall {
				if _, err := l.EntryByID(t.Context(), pairs[i][0].ID); !errors.Is(err, attestlog.ErrNotFound) {
					t.Errorf("%s: the call's first event is in the log (%v)", test.name, err)
				}
				continue
			}
		case err != nil:
			t.Errorf("%s: Append = %v, want the first receipt", test.name, err)
			continue
		case how == oneCall:
			size++
			firsts[i] = receipts[0]
		}

		if test.same {
			if diff := cmp.Diff(firsts[i], receipts[len(receipts)-1]); diff != "" {
				t.Errorf("%s: receipt (-first +second):\n%s", test.name, diff)
			}
		}

		e, err := l.Entry(t.Context(), firsts[i].Index)
		if err != nil || e.LeafHash != firsts[i].LeafHash {
			t.Errorf("%s: the first entry did not stay: hash %v, %v; want %v", test.name, e.LeafHash, err, firsts[i].LeafHash)
		}
	}

	if got, err := l.Size(t.Context()); got != size || err != nil {
		t.Errorf("Size = %d, %v; want %d", got, err, size)
	}
	testlog.Verify(t, l)
}

func aConflictRejectsOnlyItsOwnCall(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	first := testlog.Append(t, l, testlog.Events(0, 5)...)
	var wg sync.WaitGroup
	for n := range 60 {
		wg.Go(func() {
			if n%6 > 0 {
				if _, err := l.Append(t.Context(), testlog.Event(100+n)); err != nil {
					t.Errorf("Append of event %d = %v", n, err)
				}
				return
			}
			bad := testlog.Event(n / 12)
			bad.Reason = "other"
			if _, err := l.Append(t.Context(), testlog.Event(1000+n), bad); !errors.Is(err, attestlog.ErrConflict) {
				t.Errorf("Append of a taken id = %v, want ErrConflict", err)
			}
		})
		if n%6 == 3 {
			if err := l.Record(t.Context(), testlog.Event(2000+n)); err != nil {
				t.Error(err)
			}
		}
	}
	bad := testlog.Event(4)
	bad.Reason = "recorded"
	if err := l.Record(t.Context(), bad); err != nil {
		t.Error(err)
	}
	wg.Wait()

	if err := l.Flush(t.Context()); !errors.Is(err, attestlog.ErrConflict) {
		t.Errorf("Flush = %v, want the recorded event's ErrConflict", err)
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Errorf("second Flush = %v, want nil", err)
	}

	if size, err := l.Size(t.Context()); size != 5+50+10 || err != nil {
		t.Errorf("Size = %d, %v; want 65", size, err)
	}
	for _, r := range first {
		if e, err := l.EntryByID(t.Context(), r.ID); err != nil || e.Index != r.Index || e.LeafHash != r.LeafHash {
			t.Errorf("EntryByID(%s) = entry %d, %v; want the first, %d", r.ID, e.Index, err, r.Index)
		}
	}
	if st, err := l.Stats(t.Context()); err != nil || st.Failed != 21 {
		t.Errorf("Stats().Failed = %d, %v; want 21: ten calls of two events, and a record", st.Failed, err)
	}
	testlog.Verify(t, l)
}

func erasedValuesCountAsEqual(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	r := testlog.Append(t, l, testlog.Event(0))
	if err := o.Erase(t.Context(), 0, "/source/ip"); err != nil {
		t.Fatal(err)
	}

	// No entry says that it was erased, which is for readers to see.
	_, err := l.Entry(t.Context(), 0)
	var corrupt *attestlog.CorruptError
	if !errors.As(err, &corrupt) || corrupt.Where != "disclosure /source/ip" {
		t.Fatalf("Entry = %v, want that /source/ip is missing", err)
	}

	for _, ip := range []string{"192.0.2.7", "192.0.2.8"} {
		again := testlog.Event(0)
		again.Source.IP = ip
		got, err := l.Append(t.Context(), again)
		if err != nil || got[0] != r[0] {
			t.Errorf("Append with ip %s = %v, %v; want the first receipt", ip, got, err)
		}
	}

	other := testlog.Event(0)
	other.Actor.Name = "Somebody else"
	if _, err := l.Append(t.Context(), other); !errors.Is(err, attestlog.ErrConflict) {
		t.Errorf("Append with another name = %v, want ErrConflict", err)
	}
}

func ownIDsAreUnique(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	base := testlog.Event(0)
	base.ID, base.Tenant, base.Service = "order", "ab", "c"

	for i, change := range []func(e *attestlog.Event){
		func(*attestlog.Event) {},
		func(e *attestlog.Event) { e.Tenant, e.Service = "a", "bc" },
		func(e *attestlog.Event) { e.Time = e.Time.Add(time.Millisecond) },
		func(e *attestlog.Event) { e.ID = "order2" },
		func(e *attestlog.Event) { e.Time = time.Date(1901, 1, 1, 0, 0, 0, 1, time.UTC) },
	} {
		e := base
		change(&e)
		for range 2 {
			if r := testlog.Append(t, l, e); r[0].Index != uint64(i) || r[0].ID != e.ID {
				t.Errorf("event %d got index %d and id %s, want %d and %s", i, r[0].Index, r[0].ID, i, e.ID)
			}
		}
	}

	base.Time = base.Time.Add(time.Microsecond)
	if _, err := l.Append(t.Context(), base); !errors.Is(err, attestlog.ErrConflict) {
		t.Errorf("Append of the id in the same millisecond = %v, want ErrConflict", err)
	}

	base.Time = time.Time{}
	var field *attestlog.FieldError
	if _, err := l.Append(t.Context(), base); !errors.As(err, &field) || field.Field != "time" {
		t.Errorf("Append of the id without a time = %v, want a FieldError of time", err)
	}
}

// otherSealsAreTheSameContent retries an event after the log was configured to
// seal other fields.
func otherSealsAreTheSameContent(t *testing.T, o Opener) {
	first := map[int]attestlog.Receipt{}
	for round, sealed := range [][]string{nil, {}, {"/actor/id", "/attributes/k", "/message"}} {
		l := openLog(t, o, attestlog.Config{Sealed: sealed})
		for n := range 3 {
			e := testlog.Event(n)
			e.Message, e.Attributes = "hello", map[string]any{"k": fmt.Sprint(n), "l": 1}
			if n > round {
				continue
			}
			r := testlog.Append(t, l, e)[0]
			if n < round && r != first[n] {
				t.Errorf("round %d, event %d: receipt %v, want the first %v", round, n, r, first[n])
			}
			first[n] = r
			e.Message = "other"
			if _, err := l.Append(t.Context(), e); !errors.Is(err, attestlog.ErrConflict) {
				t.Errorf("round %d, event %d with another message: %v, want ErrConflict", round, n, err)
			}
		}
		testlog.Verify(t, l)
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
