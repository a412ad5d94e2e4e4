package postgres_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/verify"
)

// mergedWhenQuiet is how many small segments are merged once nothing is
// appended.
const mergedWhenQuiet = 3

// variedEvent has terms that nearly all entries have, that some have, and that
// one has; and times that are not in the order of the entries.
func variedEvent(n int) attestlog.Event {
	e := testlog.Event(n)
	e.Actor.ID = fmt.Sprintf("user%d", n%7)
	e.Action = []string{"mail.view", "mail.send", "users.create"}[n%3]
	e.Message = fmt.Sprintf("request %d of batch%d", n, n/1000)
	e.Source.IP = fmt.Sprintf("10.%d.%d.7", n%3, n%50)
	e.Time = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n*7919%100_003) * time.Second)
	return e
}

func variedEvents(from, to int) (out []attestlog.Event) {
	for n := from; n < to; n++ {
		out = append(out, variedEvent(n))
	}
	return out
}

// Segments of the index are merged, level by level, while small batches come
// and when they have ended: at each moment the index holds what the entries
// say, and a query finds what a scan finds.
func TestMergedSegmentsHoldWhatTheEntriesSay(t *testing.T) {
	t.Parallel()
	o := newLog(t)
	l := o.openLog(t, postgres.Config{})
	conn := o.connect(t)
	n := 0
	segment := func(size int) {
		if _, err := l.Append(t.Context(), variedEvents(n, n+size)...); err != nil {
			t.Fatal(err)
		}
		n += size
		testwait.Until(t, "a segment of them", func() bool {
			return one[int](t, conn, "SELECT coalesce(max(hi), 0) FROM segments") == n
		})
	}

	for n < 40_000 {
		segment(5000)
	}
	testwait.Until(t, "a large segment", func() bool { // once it is quiet
		return levels(segmentSizes(t, conn))[2]
	})

	large := one[int](t, conn, "SELECT id FROM segments ORDER BY hi - lo DESC LIMIT 1")
	var sizes []int
	testwait.Until(t, "segments of three levels", func() bool {
		segment(400)
		sizes = segmentSizes(t, conn)
		return len(levels(sizes)) == 3
	})
	if one[int](t, conn, "SELECT count(*) FROM segments WHERE id = $1", large) != 1 {
		t.Errorf("the large segment was written anew for %d entries", n-40_000)
	}
	t.Logf("segments of %v entries", sizes)

	checkAgainstScan(t, o, l, n)

	for range mergedWhenQuiet {
		segment(400)
	}
	testwait.Until(t, "an index that is merged", func() bool {
		st, err := l.Stats(t.Context())
		return err == nil && st.Store.IndexLag == 0 && !st.Store.IndexMerging && len(segmentSizes(t, conn)) < 2+mergedWhenQuiet
	})
	checkAgainstScan(t, o, l, n)
	if stray := one[int](t, conn, "SELECT count(*) FROM runs WHERE segment NOT IN (SELECT id FROM segments)"); stray > 0 {
		t.Errorf("%d rows are left of segments that were merged", stray)
	}

	testlog.Close(t, l)
	if r, err := o.verify(t, verify.Options{}); err != nil || r.Size != uint64(n) {
		t.Errorf("Verify = %+v, %v; want %d entries", r, err, n)
	}
}

// segmentSizes returns how many entries each segment is about, in order.
func segmentSizes(t *testing.T, conn *pgx.Conn) []int {
	t.Helper()
	return one[[]int](t, conn, "SELECT coalesce(array_agg(hi - lo ORDER BY lo), '{}') FROM segments")
}

// levels returns the size classes of segments: below 4,096 entries, below
// 32,768, and larger.
func levels(sizes []int) map[int]bool {
	out := map[int]bool{}
	for _, size := range sizes {
		switch {
		case size < 4096:
			out[0] = true
		case size < 32_768:
			out[1] = true
		default:
			out[2] = true
		}
	}
	return out
}

// found are the entries that a query selects.
type found struct {
	query   query.Query
	matches []place // by index
}

type place struct {
	Time  time.Time
	Index uint64
}

// checkAgainstScan compares the index with the entries, and queries of a log
// of n varied events with what reading all of them finds.
func checkAgainstScan(t *testing.T, o opener, l *attestlog.Log, n int) {
	t.Helper()
	s, err := o.open(t.Context(), postgres.Config{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckIndex(t.Context(), nil); err != nil {
		t.Errorf("CheckIndex = %v", err)
	}
	s.Close()

	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var all []found
	for _, q := range []query.Query{
		query.Field("actor", "user3"),
		query.Field("target.id", fmt.Sprint(n-1)),
		query.Field("target.id", "4242"),
		query.Text("batch17"),
		query.And(query.Field("actor", "user5"), query.Prefix("action", "mail.")),
		query.And(query.Field("action", "users.create"), query.Not(query.Field("actor", "user1"))),
		query.Or(query.Field("target.id", "1"), query.Field("target.id", "39999")),
		query.Network("10.1.0.0/16"),
		query.Between(day, day.Add(time.Hour)),
		query.And(query.Field("actor", "user2"), query.Between(day.Add(time.Hour), day.Add(30*time.Hour))),
	} {
		all = append(all, found{query: q})
	}

	for e, err := range l.Entries(t.Context(), query.Indexes(0, uint64(n))) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			if all[i].query.Match(&e) {
				all[i].matches = append(all[i].matches, place{e.Time, e.Index})
			}
		}
	}

	for _, f := range all {
		f.check(t, l)
	}
}

// check compares what the index finds, in both orders, newest first.
func (f *found) check(t *testing.T, l *attestlog.Log) {
	t.Helper()
	count, err := l.Count(t.Context(), f.query, 0)
	if err != nil || count != uint64(len(f.matches)) || count == 0 {
		t.Errorf("Count(%v) = %d, %v; want %d", f.query, count, err, len(f.matches))
	}

	for _, order := range []query.Order{query.ByIndex, query.ByTime} {
		want := slices.Clone(f.matches)
		slices.SortFunc(want, func(a, b place) int {
			if order == query.ByTime && !a.Time.Equal(b.Time) {
				return b.Time.Compare(a.Time)
			}
			return cmp.Compare(b.Index, a.Index)
		})
		want = want[:min(300, len(want))]

		page, err := l.Query(t.Context(), f.query.OrderBy(order), attestlog.PageOptions{Limit: 300})
		if err != nil {
			t.Fatalf("Query(%v): %v", f.query, err)
		}
		var got []place
		for i := range page.Entries {
			got = append(got, place{page.Entries[i].Time, page.Entries[i].Index})
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-scan +index):\n%s", f.query.OrderBy(order), diff)
		}
	}
}
