package storetest

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
)

var searchTests = []namedTest{
	{"LargeLogsAreSearchedAlike", largeLogsAreSearchedAlike},
	{"DeepAndWideQueries", deepAndWideQueries},
}

// A finder is a log and all of its entries, read one by one.
type finder struct {
	l   *attestlog.Log
	all []attestlog.Entry
}

// check compares the results of q, run in every way, with a scan. pages returns
// the size of the next page.
func (f *finder) check(ctx context.Context, t interface{ Errorf(string, ...any) }, q query.Query, how string, pages func() int) {
	for _, order := range []query.Order{query.ByIndex, query.ByTime} {
		q := q.OrderBy(order)
		want := f.scan(q)
		got := []uint64{}
		cursor := ""
		for {
			page, err := f.l.Query(ctx, q, attestlog.PageOptions{Limit: pages(), Cursor: cursor})
			if err != nil {
				t.Errorf("%s: Query(%s) = %v", how, q, err)
				return
			}
			for _, e := range page.Entries {
				got = append(got, e.Index)
			}
			cursor = page.Next
			if cursor == "" {
				break
			}
		}

		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s: Query(%s) (-want +got):\n%s", how, q, diff)
		}
		got = []uint64{}
		for e, err := range f.l.Entries(ctx, q) {
			if err != nil {
				t.Errorf("%s: Entries(%s) = %v", how, q, err)
				return
			}
			got = append(got, e.Index)
		}

		if order == query.ByIndex {
			slices.Reverse(want)
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s: Entries(%s) (-want +got):\n%s", how, q, diff)
		}

		for _, limit := range []uint64{0, 1, uint64(pages())} {
			n, err := f.l.Count(ctx, q, limit)
			wantN := uint64(len(want))
			if limit > 0 {
				wantN = min(wantN, limit)
			}
			if n != wantN || err != nil {
				t.Errorf("%s: Count(%s, %d) = %d, %v; want %d", how, q, limit, n, err, wantN)
			}
		}
	}
}

// scan returns the indexes of the entries that q selects, newest first.
func (f *finder) scan(q query.Query) []uint64 {
	var hits []*attestlog.Entry
	for i := range f.all {
		if q.Match(&f.all[i]) {
			hits = append(hits, &f.all[i])
		}
	}

	slices.SortFunc(hits, func(a, b *attestlog.Entry) int {
		if q.Order() == query.ByTime && !a.Time.Equal(b.Time) {
			return b.Time.Compare(a.Time)
		}
		return cmp.Compare(b.Index, a.Index)
	})

	out := []uint64{}
	for _, e := range hits {
		out = append(out, e.Index)
	}
	return out
}

// read reads all entries, without a search.
func (f *finder) read(ctx context.Context) error {
	size, err := f.l.Size(ctx)
	if err != nil {
		return err
	}

	f.all = nil
	for i := range size {
		e, err := f.l.Entry(ctx, i)
		if err != nil {
			return err
		}
		f.all = append(f.all, e)
	}
	return nil
}

func anyQueryFindsWhatAScanFinds(t *testing.T, open func(*testing.T) Opener) {
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		o := open(t)
		cfg := attestlog.Config{Sealed: rapid.SampledFrom(someSeals).Draw(rt, "sealed"), Logger: testlog.Quiet}
		openLog := func(opts Options) *attestlog.Log {
			s, err := o.Open(ctx, opts)
			if err != nil {
				rt.Fatal(err)
			}
			l, err := attestlog.New(ctx, s, cfg)
			if err != nil {
				s.Close()
				rt.Fatal(err)
			}
			return l
		}

		l := openLog(Options{})
		defer l.Close(ctx)

		submitted := drawEvents(rt)
		half := len(submitted) / 2
		if _, err := l.Append(ctx, submitted[:half]...); err != nil {
			rt.Fatal(err)
		}

		queries := make([]query.Query, 6)
		for i := range queries {
			queries[i] = drawQuery(rt, 3)
			if err := queries[i].Err(); err != nil {
				rt.Fatal(err)
			}
		}

		sizes := rapid.SliceOfN(rapid.IntRange(1, 20), 16, 16).Draw(rt, "pages")
		next := 0
		pages := func() int {
			next++
			return sizes[next%len(sizes)]
		}

		f := &finder{l: l}
		checkAll := func(how string) {
			if err := f.read(ctx); err != nil {
				rt.Fatal(err)
			}
			for _, q := range queries {
				f.check(ctx, rt, q, how, pages)
			}
		}

		testlog.Indexed(t, l)
		if _, err := l.Append(ctx, submitted[half:]...); err != nil {
			rt.Fatal(err)
		}
		checkAll("not indexed yet")

		testlog.Indexed(t, l)
		checkAll("indexed")

		without := openLog(Options{NoIndex: true})
		defer without.Close(ctx)
		f.l = without
		checkAll("without an index")

		for _, q := range queries {
			checkText(rt, f, q)
			checkText(rt, f, q.OrderBy(query.ByTime))
		}
	})
}

// checkText parses a query's text, which must give the same query.
func checkText(rt *rapid.T, f *finder, q query.Query) {
	parsed, err := query.Parse(q.String())
	if err != nil {
		rt.Errorf("ParseQuery(%q) = %v", q, err)
		return
	}
	if !parsed.Equal(q) {
		rt.Errorf("ParseQuery(%q) is another tree: %q", q, parsed)
	}
	if diff := gocmp.Diff(f.scan(q), f.scan(parsed)); diff != "" {
		rt.Errorf("ParseQuery(%q) selects others (-want +got):\n%s", q, diff)
	}
}

// largeLogsAreSearchedAlike searches a log of many index blocks, in which some
// terms are frequent and others rare, and some entries far out of order.
func largeLogsAreSearchedAlike(t *testing.T, o Opener) {
	if raceEnabled {
		t.Skip("12,000 entries, read many times")
	}
	l := openLog(t, o, attestlog.Config{})

	rng := rand.New(rand.NewPCG(1, 2))
	all := testlog.Events(0, 12_000)
	for i := range all {
		e := &all[i]
		switch {
		case i < 4000:
			e.Tenant = "old"
		case i%1000 == 3:
			e.Tenant = "rare"
		}
		if i%3 == 0 {
			e.Service = "third"
		}
		if rng.IntN(10) == 0 { // late, some by a lot
			e.Time = e.Time.Add(-time.Duration(rng.IntN(6000)) * time.Second)
		}
		if i >= 9000 && i < 9500 { // imported history
			e.Time = testlog.Began.Add(-time.Duration(rng.IntN(1_000_000)) * time.Second)
		}
	}
	testlog.Append(t, l, all...)

	f := &finder{l: l}
	if err := f.read(t.Context()); err != nil {
		t.Fatal(err)
	}

	at := func(n int) time.Time { return testlog.Began.Add(time.Duration(n) * time.Second) }
	queries := []query.Query{
		query.Field("tenant", "old"),
		query.Field("tenant", "rare"),
		query.Field("service", "third"),
		query.And(query.Field("tenant", "old"), query.Field("service", "third")),
		query.And(query.Field("tenant", "old"), query.Between(at(1000), at(1500))),
		query.And(query.Field("service", "third"), query.Between(at(5000), at(5200))),
		query.Between(at(7000), at(7100)),
		query.Between(time.Time{}, testlog.Began),
		query.And(query.Between(time.Time{}, at(3000)), query.Indexes(3500, 9100)),
		query.And(query.Not(query.Field("tenant", "old")), query.Between(at(3990), at(4300))),
		query.And(query.Field("tenant", "old"), query.Indexes(1023, 2049)),
		query.Between(at(11_990), time.Time{}),
	}

	for _, how := range []string{"at once", "indexed"} {
		if how == "indexed" {
			testlog.Indexed(t, l)
		}
		for i, q := range queries {
			f.check(t.Context(), t, q, how, func() int { return []int{50, 700, 2500}[i%3] })
		}
	}
}

func deepAndWideQueries(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	all := testlog.Events(0, 40)
	for i := range all {
		all[i].Tenant = []string{"a", "b", "c"}[i%3]
	}
	testlog.Append(t, l, all...)
	testlog.Indexed(t, l)

	f := &finder{l: l}
	if err := f.read(t.Context()); err != nil {
		t.Fatal(err)
	}

	deep := query.Field("tenant", "a")
	for i := range 40 {
		target := query.Field("target", []string{"mail/1", "mail/2"}[i%2])
		deep = query.And(query.Field("actor", "alice"), query.Or(deep, target))
	}

	nots := query.Field("tenant", "a")
	for range 40 {
		nots = query.Not(query.And(nots, query.Field("actor", "alice")))
	}

	var wide []query.Query
	for i := range 2000 {
		wide = append(wide, query.Field("target.id", strings.Repeat("9", i%7)+"3"))
	}

	for name, q := range map[string]query.Query{
		"deep": deep, "negations": nots, "wide": query.Or(wide...),
		"wide negation": query.Not(query.Or(wide...)),
		"wide and":      query.And(query.Field("tenant", "a"), query.Not(query.Or(wide...))),
	} {
		want := f.scan(q)
		page, err := l.Query(t.Context(), q, attestlog.PageOptions{Limit: 100})
		if err != nil || len(page.Entries) != len(want) {
			t.Errorf("%s: Query found %d entries, %v; want %d", name, len(page.Entries), err, len(want))
		}
		if n, err := l.Count(t.Context(), q, 0); n != uint64(len(want)) || err != nil {
			t.Errorf("%s: Count = %d, %v; want %d", name, n, err, len(want))
		}
		if parsed, err := query.Parse(q.String()); err != nil || !parsed.Equal(q) {
			t.Errorf("%s: ParseQuery of its text gives another tree, or %v", name, err)
		}
	}
}
