package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
)

// GivesOutOnly asks a log that somebody has tampered with for its entries, in each way
// that there is. It fails if one that is given out is not as it was, and returns how
// many answers were a *CorruptError.
func GivesOutOnly(t *testing.T, l *attestlog.Log, was []attestlog.Entry) (refused int) {
	t.Helper()
	check := func(how string, e *attestlog.Entry) {
		if e.Index >= uint64(len(was)) {
			t.Errorf("%s gives out entry %d of %d", how, e.Index, len(was))
			return
		}
		before := &was[e.Index]
		isOther := func(now, then string) bool { return now != "" && now != then } // a sealed value may be gone
		if !bytes.Equal(e.Leaf, before.Leaf) || isOther(e.Actor.Name, before.Actor.Name) || isOther(e.Source.IP, before.Source.IP) {
			t.Errorf("%s gives out entry %d as %s, and it was %s", how, e.Index, e.Leaf, before.Leaf)
		}
	}
	note := func(how string, err error) {
		var corrupt *attestlog.CorruptError
		switch {
		case errors.As(err, &corrupt):
			refused++
		case err != nil && !errors.Is(err, attestlog.ErrNotFound):
			t.Errorf("%s = %v, want a *CorruptError", how, err)
		}
	}

	for i := range was {
		e, err := l.Entry(t.Context(), uint64(i))
		note("Entry", err)
		if err == nil {
			check("Entry", &e)
		}
		e, err = l.EntryByID(t.Context(), was[i].ID)
		note("EntryByID", err)
		if err == nil {
			check("EntryByID", &e)
		}
	}

	all := map[string]query.Query{
		"all":       {},
		"by time":   query.Query{}.OrderBy(query.ByTime),
		"by a term": query.Field("action", was[0].Action),
	}
	for how, q := range all {
		for e, err := range l.Entries(t.Context(), q) {
			note("Entries "+how, err)
			if err == nil {
				check("Entries "+how, &e)
			}
		}
		page, err := l.Query(t.Context(), q, attestlog.PageOptions{Limit: len(was)})
		note("Query "+how, err)
		for i := range page.Entries {
			check("Query "+how, &page.Entries[i])
		}
	}

	for from := range was {
		if from%50 > 0 {
			continue
		}
		err := l.Scan(t.Context(), uint64(from), uint64(len(was)), func(raw *attestlog.RawEntry) error {
			if !bytes.Equal(raw.Leaf, was[raw.Index].Leaf) {
				t.Errorf("Scan from %d gives out entry %d as %s", from, raw.Index, raw.Leaf)
			}
			return nil
		})
		note(fmt.Sprint("Scan from ", from), err)
	}
	return refused
}

// AllEntries returns a log's entries.
func AllEntries(t *testing.T, l *attestlog.Log) []attestlog.Entry {
	t.Helper()
	return testlog.Entries(t, l, query.Query{})
}
