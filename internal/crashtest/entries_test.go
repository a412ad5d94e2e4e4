package crashtest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/query"
)

const timeFormat = "2006-01-02T15:04:05.000000Z"

// openReading opens the log at path for reading, in this process. No other
// connection of this process may have it open.
func openReading(t *testing.T, path string) *attestlog.Log {
	t.Helper()
	return sqlitetest.LogAt(t, path, attestlog.Config{ReadOnly: true})
}

// entries returns what the log holds, as receipts by index. It checks that
// indexes are contiguous, times in order, and ids unique.
func entries(t *testing.T, path string) []receipt {
	t.Helper()
	log := openReading(t, path)
	defer log.Close(t.Context())
	size, err := log.Size(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := make([]receipt, 0, size)
	seen := map[string]uint64{}
	for e, err := range log.Entries(t.Context(), query.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		r := receipt{e.Index, e.ID, e.LeafHash.String(), e.LoggedTime.Format(timeFormat)}
		if n := len(all); e.Index != uint64(n) || n > 0 && r.LoggedTime < all[n-1].LoggedTime {
			t.Fatalf("entry %d is %+v", n, r)
		}
		if was, ok := seen[e.ID]; ok {
			t.Fatalf("entries %d and %d have the id %s", was, e.Index, e.ID)
		}
		seen[e.ID] = e.Index
		all = append(all, r)
	}
	if uint64(len(all)) != size {
		t.Fatalf("Entries gave %d entries, Size is %d", len(all), size)
	}
	return all
}

// wantReceipts checks that each receipt's entry is there, through Entry.
func wantReceipts(t *testing.T, path string, receipts []receipt) {
	t.Helper()
	log := openReading(t, path)
	defer log.Close(t.Context())
	for _, r := range receipts {
		e, err := log.Entry(t.Context(), r.Index)
		if err != nil {
			t.Errorf("Entry(%d) = %v, but there is a receipt: %+v", r.Index, err, r)
			continue
		}
		got := receipt{e.Index, e.ID, e.LeafHash.String(), e.LoggedTime.Format(timeFormat)}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("Entry(%d) and its receipt (-receipt +entry):\n%s", r.Index, diff)
		}
	}
}

// A ledger is what one log was given and what it acknowledged.
type ledger struct {
	path   string
	events []event
	acked  []receipt
}

// recover checks the log that a crash left; the last n of the ledger's events
// were on their way. It gives them again and checks the log once more.
func (l *ledger) recover(t *testing.T, n int) {
	t.Helper()
	verified := runLog(t, l.path, "", "verify")
	if verified.code == 1 || verified.code != 0 && len(l.acked) > 0 {
		t.Errorf("verify after the crash: %v", verified)
	}
	if len(l.acked) > 0 {
		wantReceipts(t, l.path, l.acked)
		entries(t, l.path)
	}

	again := l.events[len(l.events)-n:]
	r := runLog(t, l.path, lines(again), "append")
	receipts := parseReceipts(t, r.stdout)
	if r.code != 0 || len(receipts) != n {
		t.Fatalf("append of the same %d events gave %d receipts: %v", n, len(receipts), r)
	}

	l.acked = append(l.acked, receipts...)
	all := entries(t, l.path)
	wantReceipts(t, l.path, l.acked)
	if len(all) != len(l.events) {
		t.Errorf("the log holds %d entries after %d events", len(all), len(l.events))
	}
	if r := runLog(t, l.path, "", "verify", "--index"); r.code != 0 {
		t.Errorf("verify after the same events again: %v", r)
	}
	l.acked = all
}
