package attestlog

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"

	"github.com/attestlog/attestlog/query"
)

// maxErasures is how many entries' erasures are kept in memory.
const maxErasures = 1 << 14

// erasures know which sealed values entries of the log say were erased. They are safe
// for concurrent use.
type erasures struct {
	reader *reader

	mu    sync.Mutex
	known map[uint64][]string // the pointers that were erased, by entry. Guarded by mu.
}

// check returns a *CorruptError if a value is gone from an entry and no entry after it
// says that it was erased.
func (x *erasures) check(ctx context.Context, e *Entry) error {
	pointers := x.of(e.Index)
	if lacksNone(e.Erased, pointers) {
		return nil
	}
	err := x.read(ctx, e.Index)
	if err != nil {
		return err
	}

	pointers = x.of(e.Index)
	for _, p := range e.Erased {
		if !slices.Contains(pointers, p) {
			return &CorruptError{e.Index, "disclosure " + p, errors.New("is missing, and no entry says that it was erased")}
		}
	}
	return nil
}

func lacksNone(want, have []string) bool {
	for _, p := range want {
		if !slices.Contains(have, p) {
			return false
		}
	}
	return true
}

func (x *erasures) of(index uint64) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.known[index]
}

// read reads what the entries that name an index say was erased, of that entry and of
// the others that they name: those are likely to be read next.
func (x *erasures) read(ctx context.Context, index uint64) error {
	q := query.And(
		query.Field("action", EraseAction),
		query.Field("attributes.erased.index", strconv.FormatUint(index, 10)),
		query.Indexes(index+1, query.MaxIndex),
	)
	_, err := x.reader.Search(ctx, q.Plan(), nil, func(r *RawEntry) (bool, error) {
		e, err := r.Entry()
		isErasure := err == nil && e.Err == nil && q.Match(&e) // a damaged entry explains nothing
		if isErasure {
			x.keep(e.Attributes["erased"], index)
		}
		return true, nil
	})
	return err
}

// keep keeps what an entry says was erased.
func (x *erasures) keep(erased any, index uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.known == nil || len(x.known) > maxErasures {
		x.known = map[uint64][]string{}
	}

	list, _ := erased.([]any)
	for _, item := range list {
		entry, _ := item.(map[string]any)
		of, _ := entry["index"].(float64)
		pointers, _ := entry["pointers"].([]any)
		if len(x.known) > maxErasures && uint64(of) != index {
			continue
		}
		for _, p := range pointers {
			pointer, _ := p.(string)
			if !slices.Contains(x.known[uint64(of)], pointer) {
				x.known[uint64(of)] = append(x.known[uint64(of)], pointer)
			}
		}
	}
}
