// Package inverted is the search index of both stores. It says which entries
// have a term, and in what order entries are by time; a store keeps its rows.
//
// The index is segments, each about a range of entries. A segment has a run of
// pairs for each kind, sorted: of a term's token and the index of an entry that
// has it, and of an entry's time and its index. A run is cut into rows of a few
// hundred pairs, which stand under their first. Segments follow the commits and
// never change; neighbours are merged into larger ones. What no segment is about
// yet, a query reads from the log.
package inverted

import (
	"context"
	"errors"
	"sync"

	"github.com/dchest/siphash"

	"github.com/attestlog/attestlog"
)

// Kind tells the runs of a segment apart.
type Kind uint8

// The kinds of runs.
const (
	Terms Kind = 0 // a term's token and the index of an entry that has it
	Times Kind = 1 // an entry's time, in nanoseconds since 1970, and its index
)

var kinds = [...]Kind{Terms, Times}

// A Segment is the part of an index about the entries Lo ≤ index < Hi.
type Segment struct {
	ID     int64 // never given to another segment of the same table
	Lo, Hi uint64
	Span   // of all its entries
}

// A Row is a part of a run, under its first pair.
type Row struct {
	First Pair
	Data  []byte
}

// ErrGone is met when a segment was merged, or the index emptied, since the
// segments were listed: a search lists them again.
var ErrGone = errors.New("the segment is gone")

// A Reader reads segments, within one snapshot or each time as they are.
type Reader interface {
	// Segments returns those of the terms that this program knows, by Lo.
	Segments(ctx context.Context) ([]Segment, error)
	// Spans returns the bytes that were kept with a segment, or ErrGone.
	Spans(ctx context.Context, id int64) ([]byte, error)
	// RowsBefore returns up to limit rows of a run, from the one that holds the
	// last pair up to p on, downwards; or ErrGone.
	RowsBefore(ctx context.Context, id int64, kind Kind, p Pair, limit int) ([]Row, error)
	// RowsAfter calls fn with up to limit rows of a run, in order: those under
	// pairs above p, or the first if p is nil. The bytes are valid only during
	// the call.
	RowsAfter(ctx context.Context, id int64, kind Kind, p *Pair, limit int, fn func(Row) error) error
}

// Entries is the log that an index is about.
type Entries interface {
	// Scan is attestlog.Store's.
	Scan(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error
	// Records calls fn with entries, in any order. The bytes are valid only
	// during the call.
	Records(ctx context.Context, ids []uint64, fn func(*attestlog.RawEntry) error) error
	// Leaves is Records without disclosures.
	Leaves(ctx context.Context, ids []uint64, fn func(index uint64, leaf []byte) error) error
}

// An Index answers queries. Its methods are safe for concurrent use.
type Index struct {
	key     Key
	reader  Reader
	entries Entries

	mu    sync.Mutex
	spans map[Segment]spans
}

// New returns an index that reads its segments with r.
func New(key Key, r Reader, e Entries) *Index {
	return &Index{key: key, reader: r, entries: e, spans: map[Segment]spans{}}
}

// knownSpans is how many segments' spans are kept in memory.
const knownSpans = 512

func (ix *Index) spansOf(ctx context.Context, seg Segment) (spans, error) {
	ix.mu.Lock()
	known, ok := ix.spans[seg]
	ix.mu.Unlock()
	if ok {
		return known, nil
	}
	sp, err := readSpans(ctx, ix.reader, seg)
	if err != nil {
		return nil, err
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if len(ix.spans) >= knownSpans {
		clear(ix.spans)
	}
	ix.spans[seg] = sp
	return sp, nil
}

func readSpans(ctx context.Context, r Reader, seg Segment) (spans, error) {
	data, err := r.Spans(ctx, seg.ID)
	if err != nil {
		return nil, err
	}
	sp := decodeSpans(data, seg)
	if sp == nil {
		return nil, Corrupt(seg.Lo, "has a segment whose spans are not those of its entries")
	}
	return sp, nil
}

// Corrupt returns the *attestlog.CorruptError of an index that is damaged.
func Corrupt(index uint64, what string) error {
	return &attestlog.CorruptError{Index: index, Where: "search index", Err: errors.New(what + "; `attestlog reindex` builds it again")}
}

// A Key keys the tokens that stand for terms.
type Key struct{ k0, k1 uint64 }

// ParseKey reads the 16 bytes that a log keeps.
func ParseKey(b []byte) (Key, error) {
	var k Key
	if len(b) != 16 {
		return k, errors.New("the key of the search index is missing")
	}
	for i := range 8 {
		k.k0 |= uint64(b[i]) << (8 * i)
		k.k1 |= uint64(b[8+i]) << (8 * i)
	}
	return k, nil
}

// token is what stands for a term: 63 bits of its SipHash-2-4, so that no value
// is left in the index in clear.
func (k Key) token(scratch []byte, field string, value []byte) (int64, []byte) {
	scratch = append(scratch[:0], field...)
	scratch = append(scratch, 0)
	scratch = append(scratch, value...)
	return int64(siphash.Hash(k.k0, k.k1, scratch) >> 1), scratch
}
