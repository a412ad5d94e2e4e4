package attestlog

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"log/slog"
	"math"
	"time"

	"github.com/attestlog/attestlog/internal/idkey"
	"github.com/attestlog/attestlog/internal/merkle"
	"github.com/attestlog/attestlog/query"
)

// A reader is how a log reads its store, and the only way by which entries leave
// the log: whatever gives some out, an answer, a page, an export or a follower, has
// them checked. Only a verifier, which checks more, reads the store itself.
type reader struct {
	Reader
	proven   merkle.Proven
	adopting chan struct{} // has room for the one that adopts a tree
	logger   *slog.Logger

	// What the log was when a checkpoint of it was signed that was kept elsewhere, or
	// nothing. Set before anything is read.
	trustedSize uint64
	trustedRoot Hash
}

func newReader(store Reader, logger *slog.Logger) *reader {
	return &reader{Reader: store, adopting: make(chan struct{}, 1), logger: logger}
}

// trust demands that the log holds what a checkpoint was signed over.
func (r *reader) trust(c Checkpoint) {
	r.trustedSize = c.Size
	r.trustedRoot = c.Root
}

// check compares an entry from the store with the one that the tree has at its index.
// The tree is the stored one, once that is proven to go on from the one before, the
// first of them from what is trusted. It returns the entry, or what stands in its place
// if it is damaged.
func (r *reader) check(ctx context.Context, e *RawEntry) (*RawEntry, error) {
	if e.Err != nil {
		return e, nil
	}

	want, err := r.leafHash(ctx, e.Index)
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt) && corrupt.Index <= e.Index && e.Index < r.proven.Size():
		return e.damaged(err), nil // of a tree that holds, a tile does not fit
	case err != nil:
		return nil, err
	case LeafHash(e.Leaf) != want:
		return e.damaged(corruptError(merkle.LeafMismatch(e.Index))), nil
	}
	return e, nil
}

// leafHash returns what the tree has for an entry.
func (r *reader) leafHash(ctx context.Context, index uint64) (Hash, error) {
	src := r.source(ctx)
	hash, err := r.proven.Leaf(index, src)
	if errors.Is(err, merkle.ErrNotProven) { // it is new
		err = r.adoptUpTo(ctx, index, src)
		if err == nil {
			hash, err = r.proven.Leaf(index, src)
		}
	}
	switch {
	case errors.Is(err, merkle.ErrNotProven):
		err = &CorruptError{index, "leaf", errors.New("is not in the tree")}
	case errors.Is(err, ErrNotFound): // which would say that there is no such entry
		err = &CorruptError{index, "tile", errors.New(err.Error())}
	}
	return hash, corruptError(err)
}

// adoptUpTo goes on to the stored tree, unless another call has gone on to one that
// has the entry.
func (r *reader) adoptUpTo(ctx context.Context, index uint64, src merkle.Source) error {
	select {
	case r.adopting <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.adopting }()
	if index < r.proven.Size() {
		return nil
	}
	return r.adopt(ctx, src)
}

// adopt goes on to the stored tree.
func (r *reader) adopt(ctx context.Context, src merkle.Source) error {
	tree, err := r.Tree(ctx)
	if err != nil {
		return err
	}
	err = r.proven.Adopt(tree.head(), r.trustedSize, r.trustedRoot, src)

	// A database that was put back can still be looked at, as what it is.
	var wrong *merkle.Error
	if errors.As(err, &wrong) && r.proven.Size() == 0 && r.trustedSize > 0 {
		r.logger.Warn("attestlog: the database does not hold what its kept checkpoint was signed over: "+
			"what is read is what it holds now, and not what was signed", "err", err)
		err = r.proven.Adopt(tree.head(), 0, Hash{}, src)
	}
	return err
}

// Scan is Reader.Scan, of what is in the log when it begins. It holds nothing of the
// store while fn runs, which may take as long as it likes. A damaged entry is given with
// its Err.
func (r *reader) Scan(ctx context.Context, from, to uint64, fn func(*RawEntry) error) error {
	if to > r.proven.Size() {
		tree, err := r.Tree(ctx)
		if err != nil {
			return err
		}
		to = min(to, tree.Size)
	}
	return ScanPast(ctx, r.Reader.Scan, from, to, func(e *RawEntry) error {
		checked, err := r.check(ctx, e)
		if err != nil {
			return err
		}
		return fn(checked)
	})
}

// Search is Reader.Search. A damaged entry is given with its Err.
func (r *reader) Search(ctx context.Context, plan query.Plan, below *query.Position, fn func(*RawEntry) (bool, error)) (uint64, error) {
	return r.Reader.Search(ctx, plan, below, func(e *RawEntry) (bool, error) {
		checked, err := r.check(ctx, e)
		if err != nil {
			return false, err
		}
		if checked.Err == nil && plan.TimeBound() {
			when, ok := LeafTime(checked.Leaf)
			if ok && (when < plan.After || when >= plan.Before) {
				return true, nil
			}
		}
		return fn(checked)
	})
}

// source reads the hashes of the tree. Its leaves are hashed and shown to nobody,
// so they do not pass give, which needs these hashes for what it checks.
func (r *reader) source(ctx context.Context) merkle.Source {
	return merkle.Source{
		Tile: func(level int, n uint64) ([]byte, error) { return r.Tile(ctx, level, n) },
		Leaves: func(from, to uint64, fn func(uint64, []byte) error) error {
			return r.Reader.Scan(ctx, from, to, func(e *RawEntry) error { return fn(e.Index, e.Leaf) })
		},
	}
}

// readChunk is how many entries followers and tails read at a time.
const readChunk = 1_000

// Entry returns the entry at index, or ErrNotFound. If it is damaged, the error is a
// *CorruptError.
func (l *Log) Entry(ctx context.Context, index uint64) (Entry, error) {
	var out Entry
	found := false
	err := l.reader.Scan(ctx, index, index+1, func(r *RawEntry) error {
		found = true
		var err error
		out, err = l.decode(ctx, r)
		return err
	})
	if err == nil && out.Err != nil {
		return Entry{}, out.Err
	}
	if err == nil && !found {
		err = fmt.Errorf("entry %d: %w", index, ErrNotFound)
	}
	return out, err
}

// EntryByID returns the entry with an id, or ErrNotFound. Ids that are not
// UUIDv7s are unique only together with their tenant, service and millisecond: of
// several, the newest is returned.
func (l *Log) EntryByID(ctx context.Context, id string) (Entry, error) {
	key, isV7 := idkey.ParseV7(id)
	if isV7 {
		index, err := l.reader.Lookup(ctx, key)
		if err != nil {
			return Entry{}, fmt.Errorf("id %s: %w", id, err)
		}
		e, err := l.Entry(ctx, index)
		if err == nil && e.ID != id {
			err = &CorruptError{index, "key", fmt.Errorf("is the key of %s, the entry's id is %s", id, e.ID)}
		}
		return e, err
	}

	page, err := l.Query(ctx, query.Field("id", id), PageOptions{Limit: 1})
	if err != nil {
		return Entry{}, err
	}
	if len(page.Entries) == 0 {
		return Entry{}, fmt.Errorf("id %s: %w", id, ErrNotFound)
	}
	return page.Entries[0], page.Entries[0].Err
}

// Size returns the number of entries that are durable now.
func (l *Log) Size(ctx context.Context) (uint64, error) {
	tree, err := l.reader.Tree(ctx)
	return tree.Size, err
}

// Scan calls fn with each entry from ≤ index < to as it is stored, in order,
// until fn returns an error, which Scan returns. The bytes are valid only during
// the call. A damaged entry has its Err. It is the quickest way to read many entries.
func (l *Log) Scan(ctx context.Context, from, to uint64, fn func(*RawEntry) error) error {
	return l.reader.Scan(ctx, from, to, fn)
}

// search calls fn with the entries that q selects, and returns how many there
// were to select from. Entries come newest first, or ascending.
func (l *Log) search(ctx context.Context, q query.Query, ascending bool, below *query.Position, fn func(*Entry) (bool, error)) (uint64, error) {
	plan, err := l.plan(ctx, q)
	if err != nil {
		return 0, err
	}

	plan.Ascending = ascending
	return l.reader.Search(ctx, plan, below, func(r *RawEntry) (bool, error) {
		e, err := l.decode(ctx, r)
		if err != nil {
			return false, err
		}
		// Whether q selects a damaged entry is unknown. It is shown, so that nothing is
		// hidden by damage.
		if e.Err == nil && !q.Match(&e) {
			return true, nil
		}
		return fn(&e)
	})
}

// decode returns an entry that the store has given out. One that cannot be decoded, or
// that lacks what no entry says was erased, is damaged.
func (l *Log) decode(ctx context.Context, r *RawEntry) (Entry, error) {
	e, err := r.Entry()
	if err == nil && len(e.Erased) > 0 {
		err = l.erasures.check(ctx, &e)
	}
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		return r.damaged(corrupt).Entry()
	}
	return e, err
}

// plan returns q's plan, with ids looked up.
func (l *Log) plan(ctx context.Context, q query.Query) (query.Plan, error) {
	err := q.Err()
	if err == nil {
		err = l.refusePrefixes(q)
	}
	if err != nil {
		return query.Plan{}, err
	}

	plan := q.Plan()
	for _, id := range q.IDs() {
		key, isV7 := idkey.ParseV7(id)
		if !isV7 {
			continue // has a term of its own
		}

		index, err := l.reader.Lookup(ctx, key)
		switch {
		case errors.Is(err, ErrNotFound):
			plan.To = 0
		case err != nil:
			return query.Plan{}, err
		default:
			plan.From = max(plan.From, index)
			plan.To = min(plan.To, index+1)
		}
	}
	return plan, nil
}

// refusePrefixes rejects a prefix of a sealed field: the index has its values as
// keyed hashes, and comparing entry by entry would make an answer depend on what
// has been erased.
func (l *Log) refusePrefixes(q query.Query) error {
	for _, f := range q.PrefixFields() {
		if f.Pointer != "" && l.encoder.seals.has(f.Pointer) {
			return &query.Error{Msg: f.Name + " is a sealed field; it can be searched by its exact value, not by a prefix"}
		}
	}
	return nil
}

// Count returns how many entries q selects, counting no further than limit; 0
// means no limit. If it meets a damaged entry, of which nobody can tell whether q selects
// it, the error is a *CorruptError.
func (l *Log) Count(ctx context.Context, q query.Query, limit uint64) (uint64, error) {
	if limit == 0 {
		limit = math.MaxInt64
	}
	plan, err := l.plan(ctx, q)
	if err != nil {
		return 0, err
	}

	// What the index has is counted there, the rest entry by entry.
	var n uint64
	if plan.Exact {
		var upto uint64
		n, upto, err = l.reader.Count(ctx, plan, limit)
		if err != nil || n >= limit {
			return min(n, limit), err
		}
		plan.From = max(plan.From, upto)
	}

	plan.Ascending = true
	plan.Order = query.ByIndex
	_, err = l.reader.Search(ctx, plan, nil, func(r *RawEntry) (bool, error) {
		e, err := l.decode(ctx, r)
		if err == nil {
			err = e.Err
		}
		if err == nil && q.Match(&e) {
			n++
		}
		return n < limit, err
	})
	return n, err
}

// Entries returns the entries that q selects, in constant memory: in the order of
// the log, oldest first, or for a query ordered by time newest first. It ends
// with the entries that were there when it began. A damaged entry has its Err.
func (l *Log) Entries(ctx context.Context, q query.Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		stopped := false
		_, err := l.search(ctx, q, q.Order() == query.ByIndex, nil, func(e *Entry) (bool, error) {
			stopped = !yield(*e, nil)
			return !stopped, nil
		})
		if err != nil && !stopped {
			yield(Entry{}, err)
		}
	}
}

// Tail returns the entries from an index on that q selects, oldest first, and
// then each new one soon after it is durable, whichever process wrote it. It ends
// when ctx does, without an error, or when the log closes, with ErrClosed. A damaged
// entry has its Err.
func (l *Log) Tail(ctx context.Context, from uint64, q query.Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			// Asked for before reading, so that a commit in between is not missed.
			changed := l.head.changed.Next()
			next, stopped, err := l.yieldFrom(ctx, from, q, yield)
			if stopped || ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(Entry{}, l.orClosed(err))
				return
			}
			from = next

			select {
			case <-changed:
			case <-time.After(pollInterval):
			case <-ctx.Done():
				return
			case <-l.life.closing.Done():
				yield(Entry{}, ErrClosed)
				return
			}
		}
	}
}

// yieldFrom yields the entries from an index on that q selects and that are
// there. It returns the index from which to go on, and whether yield has enough.
func (l *Log) yieldFrom(ctx context.Context, from uint64, q query.Query, yield func(Entry, error) bool) (next uint64, stopped bool, err error) {
	tree, err := l.reader.Tree(ctx)
	if err != nil {
		return from, false, err
	}

	for from < tree.Size {
		end := min(tree.Size, from+readChunk)
		chunk := query.And(q.OrderBy(query.ByIndex), query.Indexes(from, end))
		seen, err := l.search(ctx, chunk, true, nil, func(e *Entry) (bool, error) {
			stopped = !yield(*e, nil)
			return !stopped, nil
		})
		if err != nil || stopped {
			return from, stopped, err
		}

		from = max(from, min(end, seen))
		if seen < end {
			break // a replica has fewer entries than the tree says
		}
	}
	return from, false, nil
}

// orClosed is ErrClosed once Close has begun: reads then end where they are.
func (l *Log) orClosed(err error) error {
	if l.life.closing.reached() {
		return ErrClosed
	}
	return err
}

// PageOptions say which part of a query's result is wanted.
type PageOptions struct {
	Limit  int    // entries, 1 to 10,000. Defaults to 50.
	Cursor string // Page.Next of the page before; "" for the first
	// Bytes bounds the leaves and sealed values of a page, except for a single
	// entry: an entry can have more than a mebibyte. Defaults to 64 MiB.
	Bytes int
}

// Defaults and bounds of PageOptions.
const (
	defaultPage      = 50
	defaultPageBytes = 64 << 20
	maxPage          = 10_000
)

// A Page is one part of a query's result.
type Page struct {
	Entries []Entry
	Next    string // the next page's cursor, "" on the last page
	// Size is how many entries the log had when it was searched: what was
	// appended since, and with a replica what that has yet to receive, is not in
	// the page.
	Size uint64
}

// ErrCursor is returned for a cursor that is damaged or of another query.
var ErrCursor = errors.New("cursor is not one of this query")

// Query returns one page of the entries that q selects, newest first. Entries
// that arrive between two pages change neither of them. Every entry has been
// compared with the query itself: the index only proposes. A damaged entry that q may
// select has its Err.
func (l *Log) Query(ctx context.Context, q query.Query, opts PageOptions) (Page, error) {
	limit := min(orDefault(opts.Limit, defaultPage), maxPage)
	budget := orDefault(opts.Bytes, defaultPageBytes)
	below, err := decodeCursor(opts.Cursor, q)
	if err != nil {
		return Page{}, err
	}

	var page Page
	page.Size, err = l.search(ctx, q, false, below, func(e *Entry) (bool, error) {
		raw := e.Raw()
		budget -= raw.size()
		n := len(page.Entries)
		if n == limit || n > 0 && budget < 0 {
			page.Next = encodeCursor(q, page.Entries[n-1].Position())
			return false, nil
		}
		page.Entries = append(page.Entries, *e)
		return true, nil
	})
	return page, err
}

// A cursor is base64url of: version, order, 32 bits of hash of the query, the
// index, and for a query ordered by time that.
const (
	cursorVersion   = 1
	cursorBytes     = 1 + 1 + 4 + 8
	cursorTimeBytes = cursorBytes + 8
)

func encodeCursor(q query.Query, p query.Position) string {
	b := []byte{cursorVersion, byte(q.Order())}
	b = binary.BigEndian.AppendUint32(b, queryHash(q))
	b = binary.BigEndian.AppendUint64(b, p.Index)
	if q.Order() == query.ByTime {
		b = binary.BigEndian.AppendUint64(b, uint64(p.Time))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeCursor returns nil for the first page's empty cursor.
func decodeCursor(s string, q query.Query) (*query.Position, error) {
	if s == "" {
		return nil, nil
	}

	want := cursorBytes
	if q.Order() == query.ByTime {
		want = cursorTimeBytes
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != want {
		return nil, ErrCursor
	}
	sameQuery := b[1] == byte(q.Order()) && binary.BigEndian.Uint32(b[2:]) == queryHash(q)
	if b[0] != cursorVersion || !sameQuery {
		return nil, ErrCursor
	}

	p := &query.Position{Index: binary.BigEndian.Uint64(b[6:])}
	if q.Order() == query.ByTime {
		p.Time = int64(binary.BigEndian.Uint64(b[cursorBytes:]))
	}
	return p, nil
}

func queryHash(q query.Query) uint32 {
	h := fnv.New32a()
	h.Write([]byte(q.String()))
	return h.Sum32()
}
