package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
)

var pageTests = []namedTest{
	{"CursorsAreStableWhileEntriesArrive", cursorsAreStable},
	{"ACursorIsOfItsQuery", aCursorIsOfItsQuery},
	{"PagesAreBoundedInBytes", pagesAreBoundedInBytes},
	{"CountIsExactOrCapped", countIsExactOrCapped},
	{"WhatWasAcknowledgedIsFoundAtOnce", whatWasAcknowledgedIsFound},
	{"PrefixesOfSealedFieldsAreRefused", prefixesOfSealedFieldsAreRefused},
}

func cursorsAreStable(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	n := 0
	arrive := func(count int) {
		for range count {
			e := testlog.Event(n)
			e.Time = testlog.Began.Add(time.Duration(n*7919%500) * time.Second) // out of order, some equal
			e.Tenant = fmt.Sprint("tenant", n%3)
			testlog.Append(t, l, e)
			n++
		}
	}

	arrive(300)
	for _, text := range []string{
		"", "order:time", "tenant:tenant1", "tenant:tenant1 order:time",
		"-tenant:tenant1 time:2026-03-01T10:01..2026-03-01T10:05 order:time",
	} {
		q, err := query.Parse(text)
		if err != nil {
			t.Fatal(err)
		}

		all, err := l.Query(t.Context(), q, attestlog.PageOptions{Limit: 10_000})
		if err != nil || all.Next != "" {
			t.Fatalf("Query(%s) = next %q, %v", text, all.Next, err)
		}

		var got []uint64
		cursor := ""
		for size := 1; ; size++ {
			page, err := l.Query(t.Context(), q, attestlog.PageOptions{Limit: size, Cursor: cursor})
			if err != nil {
				t.Fatal(err)
			}

			for _, e := range page.Entries {
				// Entries that arrive meanwhile may come in between, by time.
				if len(all.Entries) > 0 && e.Index <= newest(all.Entries) {
					got = append(got, e.Index)
				}
			}

			if page.Next == "" {
				break
			}
			if len(page.Entries) != size {
				t.Fatalf("Query(%s): page of %d entries, want %d", text, len(page.Entries), size)
			}
			cursor = page.Next
			arrive(2)
		}

		var want []uint64
		for _, e := range all.Entries {
			want = append(want, e.Index)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Query(%s) in pages (-want +got):\n%s", text, diff)
		}
	}
}

func newest(entries []attestlog.Entry) uint64 {
	index := uint64(0)
	for _, e := range entries {
		index = max(index, e.Index)
	}
	return index
}

func aCursorIsOfItsQuery(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	testlog.Append(t, l, testlog.Events(0, 5)...)
	q := query.Field("actor", "alice")
	page, err := l.Query(t.Context(), q, attestlog.PageOptions{Limit: 2})
	if err != nil || page.Next == "" {
		t.Fatalf("Query = next %q, %v", page.Next, err)
	}

	for _, test := range []struct {
		q      query.Query
		cursor string
	}{
		{query.Field("actor", "bob"), page.Next},
		{q.OrderBy(query.ByTime), page.Next},
		{q, page.Next[1:]},
		{q, page.Next + "A"},
		{q, "B" + page.Next[1:]},
		{q, "!"},
	} {
		if _, err := l.Query(t.Context(), test.q, attestlog.PageOptions{Cursor: test.cursor}); !errors.Is(err, attestlog.ErrCursor) {
			t.Errorf("Query(%s) with cursor %q = %v, want ErrCursor", test.q, test.cursor, err)
		}
	}
}

func countIsExactOrCapped(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	all := testlog.Events(0, 1000)
	for i := range all {
		all[i].Tenant = fmt.Sprint("t", i%4)
	}
	testlog.Append(t, l, all...)

	for _, indexed := range []bool{false, true} {
		if indexed {
			testlog.Indexed(t, l)
		}

		for _, test := range []struct {
			query string
			limit uint64
			want  uint64
		}{
			{"", 0, 1000}, {"", 10, 10}, {"", 1000, 1000}, {"", 1001, 1000},
			{"tenant:t1", 0, 250}, {"tenant:t1", 100, 100}, {"tenant:t1", 250, 250}, {"tenant:t1", 251, 250},
			{"tenant:t1 index:100..199", 0, 25}, {"tenant:t1 index:100..199", 5, 5},
			{"-tenant:t1", 0, 750}, {"-tenant:t1", 749, 749}, {"tenant:t9", 0, 0},
			{"tenant:t1 OR tenant:t2", 0, 500}, {"index:2000..", 0, 0}, {"index:5..4", 0, 0},
			{"time:2026-03-01T10:01", 0, 60}, {"time:2026-03-01T10:01 tenant:t1", 7, 7},
			{"id:" + testlog.Event(77).ID, 0, 1}, {"id:" + testlog.Event(7777).ID, 0, 0}, {"-id:" + testlog.Event(77).ID, 0, 999},
		} {
			q, err := query.Parse(test.query)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := l.Count(t.Context(), q, test.limit); n != test.want || err != nil {
				t.Errorf("Count(%s, %d) = %d, %v; want %d (index caught up: %v)", test.query, test.limit, n, err, test.want, indexed)
			}
		}
	}
}

func whatWasAcknowledgedIsFound(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	other := openLog(t, o, attestlog.Config{})

	for n := range 60 {
		r := testlog.Append(t, l, testlog.Event(n))
		q := query.Field("target", fmt.Sprint("mail/", n))
		for i, reader := range []*attestlog.Log{l, other} {
			page, err := reader.Query(t.Context(), q.OrderBy(query.Order(n%2)), attestlog.PageOptions{})
			if err != nil || len(page.Entries) != 1 || page.Entries[0].Index != r[0].Index {
				t.Fatalf("Query(%s) by handle %d = %v, %v; want entry %d", q, i, page.Entries, err, r[0].Index)
			}
			if count, err := reader.Count(t.Context(), q, 0); count != 1 || err != nil {
				t.Fatalf("Count(%s) by handle %d = %d, %v; want 1", q, i, count, err)
			}
		}
	}
}

func prefixesOfSealedFieldsAreRefused(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{Sealed: []string{"/source/ip", "/attributes/secret"}})
	testlog.Append(t, l, testlog.Event(0))

	for text, ok := range map[string]bool{
		"ip:192.*": false, "-ip:192.*": false, "(actor:x OR ip:192.*)": false, "attributes.secret:a*": false,
		"attributes.secret.x:a*": false, "attributes.other:a*": true, "actor.name:A*": true, "ip:192.0.2.7": true, "ip:192.0.0.0/16": true,
	} {
		q, err := query.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Query(t.Context(), q, attestlog.PageOptions{}); (err == nil) != ok {
			t.Errorf("Query(%s) = %v; is it allowed: want %v", text, err, ok)
		}
		if _, err := l.Count(t.Context(), q, 0); (err == nil) != ok {
			t.Errorf("Count(%s) = %v; is it allowed: want %v", text, err, ok)
		}
	}
}

func pagesAreBoundedInBytes(t *testing.T, o Opener) {
	l := openLog(t, o, attestlog.Config{})
	const n, size = 12, 100_000
	for i := range n {
		e := testlog.Event(i)
		e.Original = bytes.Repeat([]byte{'x'}, size)
		testlog.Append(t, l, e)
	}

	for _, test := range []struct{ bytes, most int }{{1, 1}, {3*size + size/2, 3}, {0, n}} {
		for _, text := range []string{"", "order:time"} {
			q, err := query.Parse(text)
			if err != nil {
				t.Fatal(err)
			}

			seen := map[uint64]bool{}
			for opts := (attestlog.PageOptions{Bytes: test.bytes}); ; {
				page, err := l.Query(t.Context(), q, opts)
				if err != nil {
					t.Fatal(err)
				}
				if got := len(page.Entries); got == 0 || got > test.most || got < test.most && page.Next != "" {
					t.Fatalf("%q with %d bytes: a page of %d entries, want %d", text, test.bytes, got, test.most)
				}
				for _, e := range page.Entries {
					seen[e.Index] = true
				}
				opts.Cursor = page.Next
				if opts.Cursor == "" {
					break
				}
			}

			if len(seen) != n {
				t.Errorf("%q with %d bytes: %d entries, want %d", text, test.bytes, len(seen), n)
			}
		}
	}
}
