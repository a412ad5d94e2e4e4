package attestlog

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"
)

// An Entry is an event in its place in the log, with disclosed values in their
// places.
type Entry struct {
	Event
	Index      uint64
	LoggedTime time.Time // UTC, whole microseconds
	LeafHash   Hash
	Sealed     []Seal   // the fields that the leaf holds only digests of
	Erased     []string // pointers of sealed fields whose values are gone
	Leaf       []byte   // the exact stored bytes
	// Disclosures are the values behind Sealed, those that are not erased.
	Disclosures []Disclosure
}

// Entry decodes a record that came from a log, such as one that ParseLine read,
// with its disclosures in their places. The entry owns its bytes. What does not
// fit together is a *CorruptError.
func (r *RawEntry) Entry() (Entry, error) {
	own := r.Clone()
	leaf, err := decodeLeaf(own.Leaf)
	if err != nil {
		return Entry{}, &CorruptError{r.Index, "leaf", err}
	}
	event, erased, err := leaf.sealedEvent(own.Disclosures)
	if err != nil {
		return Entry{}, &CorruptError{r.Index, "disclosures", err}
	}
	return Entry{
		Event: event, Index: r.Index, LoggedTime: leaf.LoggedTime, LeafHash: LeafHash(own.Leaf),
		Sealed: leaf.Sealed, Erased: erased, Leaf: own.Leaf, Disclosures: own.Disclosures,
	}, nil
}

// MarshalJSON writes the entry as one object: index, leaf_hash and
// logged_time, then the event's fields with disclosed values in their places,
// and under "erased" the pointers of those that are gone.
func (e Entry) MarshalJSON() ([]byte, error) {
	event, err := e.Event.MarshalJSON()
	if err != nil {
		return nil, err
	}
	b := strconv.AppendUint([]byte(`{"index":`), e.Index, 10)
	b = append(b, `,"leaf_hash":"`...)
	b = base64.StdEncoding.AppendEncode(b, e.LeafHash[:])
	b = append(b, `","logged_time":"`...)
	b = appendTime(b, e.LoggedTime, 6)
	b = append(b, '"')
	for i, pointer := range e.Erased {
		if i == 0 {
			b = append(b, `,"erased":[`...)
		} else {
			b = append(b, ',')
		}
		b, _ = appendString(b, pointer)
	}
	if len(e.Erased) > 0 {
		b = append(b, ']')
	}
	return append(append(b, ','), event[1:]...), nil
}

// Field returns the values that the entry has of a field of the query
// language, or of "index", "time", "logged_time" or "id".
func (e *Entry) Field(name string) ([]string, error) {
	switch name {
	case "index":
		return []string{strconv.FormatUint(e.Index, 10)}, nil
	case "time":
		return []string{string(appendTime(nil, e.Time, 9))}, nil
	case "logged_time":
		return []string{string(appendTime(nil, e.LoggedTime, 6))}, nil
	}
	f, err := lookupField(name)
	if err != nil {
		return nil, err
	}
	var values []string
	f.values(&e.Event, func(v string) { values = append(values, v) })
	return values, nil
}

// Entry returns the entry at index, or ErrNotFound.
func (l *Log) Entry(ctx context.Context, index uint64) (Entry, error) {
	var out Entry
	found := false
	err := l.store.Scan(ctx, index, index+1, func(r *RawEntry) (err error) {
		found = true
		out, err = r.Entry()
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("entry %d: %w", index, ErrNotFound)
	}
	return out, err
}

// EntryByID returns the entry with an id, or ErrNotFound. Ids that are not
// UUIDv7s are unique only together with their tenant, service and millisecond:
// of several, the newest is returned.
func (l *Log) EntryByID(ctx context.Context, id string) (Entry, error) {
	if key, ok := uuidV7(id); ok {
		index, err := l.store.Lookup(ctx, key)
		if err != nil {
			return Entry{}, fmt.Errorf("id %s: %w", id, err)
		}
		e, err := l.Entry(ctx, index)
		if err == nil && e.ID != id {
			err = &CorruptError{index, "key", fmt.Errorf("is the key of %s, the entry's id is %s", id, e.ID)}
		}
		return e, err
	}
	page, err := l.Query(ctx, Field("id", id), PageOptions{Limit: 1})
	if err != nil {
		return Entry{}, err
	}
	if len(page.Entries) == 0 {
		return Entry{}, fmt.Errorf("id %s: %w", id, ErrNotFound)
	}
	return page.Entries[0], nil
}

// search calls fn with the entries that q selects, and returns how many there
// were to select from. Entries come newest first, or ascending.
func (l *Log) search(ctx context.Context, q Query, ascending bool, below *Position, fn func(*Entry) (bool, error)) (uint64, error) {
	plan, err := l.plan(ctx, q)
	if err != nil {
		return 0, err
	}
	plan.Ascending = ascending
	return l.store.Search(ctx, plan, below, func(r *RawEntry) (bool, error) {
		e, err := r.Entry()
		if err != nil {
			return false, err
		}
		if !q.Match(&e) {
			return true, nil
		}
		return fn(&e)
	})
}

// plan returns q's plan, with ids looked up.
func (l *Log) plan(ctx context.Context, q Query) (Plan, error) {
	if q.err != nil {
		return Plan{}, q.err
	}
	if err := l.refusePrefixes(q.node); err != nil {
		return Plan{}, err
	}
	plan := q.Plan()
	for _, id := range requiredIDs(q.node) {
		key, ok := uuidV7(id)
		if !ok {
			continue
		}
		index, err := l.store.Lookup(ctx, key)
		if errors.Is(err, ErrNotFound) {
			plan.To = 0
			continue
		} else if err != nil {
			return Plan{}, err
		}
		plan.From, plan.To = max(plan.From, index), min(plan.To, index+1)
	}
	return plan, nil
}

// requiredIDs returns the ids that every selected entry must have.
func requiredIDs(n *node) []string {
	switch {
	case n == nil:
	case n.kind == kindField && n.field == "id":
		return []string{n.value}
	case n.kind == kindAnd:
		var ids []string
		for _, kid := range n.kids {
			if kid.kind == kindField && kid.field == "id" {
				ids = append(ids, kid.value)
			}
		}
		return ids
	}
	return nil
}

// refusePrefixes rejects a prefix of a sealed field: its values stand in the
// index as keyed hashes, and comparing entry by entry would make an answer
// depend on what has been erased.
func (l *Log) refusePrefixes(n *node) error {
	if n == nil {
		return nil
	}
	if n.kind == kindPrefix {
		f, err := lookupField(n.field)
		if err != nil {
			return err
		}
		set := &l.enc.seals
		if fixed, ok := fieldOf(f.pointer); ok && set.has(fixed) {
			return sealedPrefix(n.field)
		}
		if name, ok := attributeName(f.pointer); ok && set.attributes[name] {
			return sealedPrefix(n.field)
		}
	}
	for _, kid := range n.kids {
		if err := l.refusePrefixes(kid); err != nil {
			return err
		}
	}
	return nil
}

func sealedPrefix(field string) error {
	return &QueryError{Msg: field + " is a sealed field; it can be searched by its exact value, not by a prefix"}
}

// Count returns how many entries q selects, counting no further than limit; 0
// means no limit.
func (l *Log) Count(ctx context.Context, q Query, limit uint64) (uint64, error) {
	if limit == 0 {
		limit = math.MaxInt64
	}
	plan, err := l.plan(ctx, q)
	if err != nil {
		return 0, err
	}
	var n uint64
	if plan.Exact {
		var upto uint64
		if n, upto, err = l.store.Count(ctx, plan, limit); err != nil || n >= limit {
			return min(n, limit), err
		}
		plan.From = max(plan.From, upto)
	}
	plan.Ascending, plan.Order = true, ByIndex
	_, err = l.store.Search(ctx, plan, nil, func(r *RawEntry) (bool, error) {
		e, err := r.Entry()
		if err == nil && q.Match(&e) {
			n++
		}
		return n < limit, err
	})
	return n, err
}

// Entries returns the entries that q selects, in constant memory: in the order
// of the log, oldest first, or for a query ordered by time newest first. It
// ends with the entries that were there when it began.
func (l *Log) Entries(ctx context.Context, q Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		stopped := false
		_, err := l.search(ctx, q, q.order == ByIndex, nil, func(e *Entry) (bool, error) {
			stopped = !yield(*e, nil)
			return !stopped, nil
		})
		if err != nil && !stopped {
			yield(Entry{}, err)
		}
	}
}

// Tail returns the entries from an index on that q selects, oldest first, and
// then each new one soon after it is durable, whichever process wrote it. It
// ends when ctx does, without an error, or when the log closes, with ErrClosed.
func (l *Log) Tail(ctx context.Context, from uint64, q Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			changed := l.committed.wait()
			tree, err := l.store.Tree(ctx)
			for behind := false; err == nil && from < tree.Size && !behind; {
				end := min(tree.Size, from+scanChunk)
				stopped := false
				var seen uint64 // a replica's may be fewer
				seen, err = l.search(ctx, And(q.OrderBy(ByIndex), Indexes(from, end)), true, nil, func(e *Entry) (bool, error) {
					stopped = !yield(*e, nil)
					return !stopped, nil
				})
				if stopped {
					return
				}
				behind = seen < end
				from = max(from, min(end, seen))
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(Entry{}, l.orClosed(err))
				return
			}
			select {
			case <-changed:
			case <-time.After(followerPoll):
			case <-ctx.Done():
				return
			case <-l.ending:
				yield(Entry{}, ErrClosed)
				return
			}
		}
	}
}

// orClosed is ErrClosed once Close has begun: reads then end where they are.
func (l *Log) orClosed(err error) error {
	select {
	case <-l.ending:
		return ErrClosed
	default:
		return err
	}
}

// Scan calls fn with each entry from ≤ index < to as it is stored, in order, until
// fn returns an error, which Scan returns. The bytes are valid only during the
// call. It is the quickest way to read many entries.
func (l *Log) Scan(ctx context.Context, from, to uint64, fn func(*RawEntry) error) error {
	return l.store.Scan(ctx, from, to, fn)
}

// Size returns the number of entries that are durable now.
func (l *Log) Size(ctx context.Context) (uint64, error) {
	tree, err := l.store.Tree(ctx)
	return tree.Size, err
}
