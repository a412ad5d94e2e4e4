package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/query"
)

// GivesOutOnly asks a log that somebody has tampered with for its entries, in each way
// that there is. It fails if one that is given out is not as it was, or if a list of all
// ends before the last, or leaves one out. It returns how
// many answers, and entries of lists, were a *CorruptError.
func GivesOutOnly(t *testing.T, l *attestlog.Log, was []attestlog.Entry) (refused int) {
	t.Helper()
	check := func(how string, e *attestlog.Entry) {
		if e.Index >= uint64(len(was)) {
			t.Errorf("%s gives out entry %d of %d", how, e.Index, len(was))
			return
		}
		before := &was[e.Index]
		if !bytes.Equal(e.Leaf, before.Leaf) || e.Actor.Name != before.Actor.Name || e.Source.IP != before.Source.IP {
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

	// Nothing can be compared with a tree that does not hold, and a log whose kept
	// checkpoint is not that of its database is what the database holds now.
	size, err := l.Size(t.Context())
	if err != nil || size > uint64(len(was)) {
		size = uint64(len(was))
	}
	ends := func(err error) bool {
		var corrupt *attestlog.CorruptError
		isOfTheTree := errors.As(err, &corrupt) && (corrupt.Where == "tree" || strings.HasPrefix(corrupt.Where, "tile"))
		if isOfTheTree {
			refused++
		}
		return isOfTheTree
	}

	all := map[string]query.Query{
		"all":       {},
		"by time":   query.Query{}.OrderBy(query.ByTime),
		"by a term": query.Field("action", was[0].Action),
	}
	for how, q := range all {
		page, err := l.Query(t.Context(), q, attestlog.PageOptions{Limit: len(was)})
		if ends(err) {
			continue
		}
		if err != nil || how == "all" && uint64(len(page.Entries)) < size {
			t.Errorf("Query %s = %d entries of %d, %v", how, len(page.Entries), len(was), err)
		}
		for i := range page.Entries {
			e := &page.Entries[i]
			note("Query "+how, e.Err)
			if e.Err == nil {
				check("Query "+how, e)
			}
		}

		ended := false
		seen := map[uint64]bool{}
		for e, err := range l.Entries(t.Context(), q) {
			if ends(err) {
				ended = true
				break
			}
			if err != nil {
				t.Errorf("Entries %s ends after %d with %v", how, len(seen), err)
				continue
			}
			seen[e.Index] = true
			note("Entries "+how, e.Err)
			if e.Err == nil {
				check("Entries "+how, &e)
			}
		}
		if how == "all" && uint64(len(seen)) < size && !ended {
			t.Errorf("Entries %s has %d entries of %d", how, len(seen), len(was))
		}
	}

	for from := range was {
		if from%50 > 0 {
			continue
		}
		next := uint64(from)
		err := l.Scan(t.Context(), next, uint64(len(was)), func(raw *attestlog.RawEntry) error {
			if raw.Index != next {
				t.Errorf("Scan from %d gives out entry %d where %d comes next", from, raw.Index, next)
			}
			next = raw.Index + 1
			note(fmt.Sprint("Scan from ", from), raw.Err)
			if raw.Err == nil && !bytes.Equal(raw.Leaf, was[raw.Index].Leaf) {
				t.Errorf("Scan from %d gives out entry %d as %s", from, raw.Index, raw.Leaf)
			}
			return nil
		})
		if ends(err) {
			continue
		}
		if err != nil || next < size {
			t.Errorf("Scan from %d ends before entry %d: %v", from, next, err)
		}
	}
	return refused
}

// AllEntries returns a log's entries.
func AllEntries(t *testing.T, l *attestlog.Log) []attestlog.Entry {
	t.Helper()
	return testlog.Entries(t, l, query.Query{})
}
