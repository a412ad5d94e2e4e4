// Package inverted is the search index of both stores. It says which entries
// have a term, and in what order entries are by time. It is an inverted index,
// as full-text search has it, kept in sorted runs that are merged, as in a
// log-structured merge-tree: an ordinary index on random terms would write a
// page of the database for each of them. A store keeps the rows of the index in
// its tables; this package says what is in them.
//
// # Terms and tokens
//
// attestlog.Terms gives the terms of an entry, such as the field "actor" with
// the value "alice". The index holds a token instead of the term: 63 bits of
// its SipHash-2-4 with a key that belongs to the log, so that no value is in the
// index in clear. Two terms may have the same token. What the index selects are
// therefore candidates: the log reads each of them and compares it with the
// query.
//
// # Segments, runs and rows
//
// The index is a list of segments. Each is about a range of entries, and
// together they are about the first entries of the log, up to the watermark:
//
//	log        0                                    watermark       size
//	           |----------------------------------------|------------|
//	segments   [0, 163840)             [163840, 182001) |
//	                                                    | unindexed
//
// A segment has two runs of pairs. Each pair is a value and the index of an
// entry:
//
//	Terms      (token of a term, index of an entry that has it)
//	Times      (time of an entry in nanoseconds since 1970, its index)
//
// A run is sorted by value and then by index, so that the entries that have a
// term are next to each other, and so are those of a range of time. It is cut
// into rows of about 2,500 bytes. A row is stored under its first pair, which
// is how the database finds the row that holds a pair. In a row, the pairs with
// the same value are a group, and all numbers are unsigned varints (see
// encoding/binary):
//
//	row        group | group | …
//	group      value − value of the group before  (0 in the first group)
//	           n, the number of pairs
//	           first index − Lo of the segment
//	           index − index before, n−1 times
//
// For example, in a segment with Lo = 1000, the row of the pairs (7, 1005),
// (7, 1006), (7, 1016) and (9, 1001) is stored under (7, 1005) as
//
//	00 03 05 01 0a | 02 01 01
//
// Next to its runs, a segment keeps spans: the earliest and the latest time of
// each 1,024 entries, as two signed 64-bit numbers in big-endian order.
//
// # Filling and merging
//
// A Filler follows the commits. It builds a segment from the entries after the
// watermark, and the store adds it in one transaction, which moves the
// watermark on. Entries after the watermark are found all the same, because a
// query reads them from the log. Appends wait while too many are unindexed.
//
// The more segments there are, the longer a search takes. Adjacent segments of
// about the same size are therefore merged into one. A segment never changes:
// the merged one has a new ID, and a search that does not find a segment any
// more (ErrGone) lists the segments again and goes on where it was.
//
// # Searching
//
// Within a segment, a tree of terms is a set with a single method: the greatest
// member that is not above a given index. A conjunction asks its parts in turn
// until they agree, a disjunction takes the greatest answer, a complement goes
// down past the members. Each reads only the rows that it needs.
//
// In order of the index, a search goes through the segments one after another,
// and through the set of each. In order of time, it merges the segments, each
// of which gives its matches newest first: it walks down its run of times and
// asks the set about each entry or, where few entries match, reads the times of
// the matches and sorts them.
package inverted

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/dchest/siphash"

	"github.com/attestlog/attestlog"
)

// Kind tells the runs of a segment apart.
type Kind uint8

// The kinds of runs.
const (
	Terms Kind = 0 // the token of a term, and the index of an entry that has it
	Times Kind = 1 // the time of an entry in nanoseconds since 1970, and its index
)

var kinds = [...]Kind{Terms, Times}

// A Pair is an element of a run.
type Pair struct {
	Value int64  // a token or a time
	Index uint64 // of the entry
}

// comparePairs orders pairs by value and then by index, as in a run.
func comparePairs(p, q Pair) int {
	if c := cmp.Compare(p.Value, q.Value); c != 0 {
		return c
	}
	return cmp.Compare(p.Index, q.Index)
}

// A Row is a part of a run. It is stored under its first pair, which no other
// row of the run has.
type Row struct {
	First Pair
	Data  []byte
}

// A Segment is the part of an index that is about the entries Lo ≤ index < Hi.
type Segment struct {
	ID     int64 // never given to another segment of the same index
	Lo, Hi uint64
	Span   // the earliest and the latest time of its entries
}

// ErrGone is returned when a segment is not in the index any more, because it
// was merged into another or the index was emptied.
var ErrGone = errors.New("the segment is gone")

// A Reader reads the rows of an index, either within one snapshot or each time
// as they are then. Its methods are safe for concurrent use.
type Reader interface {
	// Segments returns the segments that were made with this program's
	// attestlog.TermsVersion, by Lo.
	Segments(ctx context.Context) ([]Segment, error)
	// Spans returns the bytes of a segment's spans, or ErrGone.
	Spans(ctx context.Context, id int64) ([]byte, error)
	// RowsBefore returns up to limit rows of a run in descending order,
	// beginning with the last row whose first pair is not above p, or ErrGone.
	RowsBefore(ctx context.Context, id int64, kind Kind, p Pair, limit int) ([]Row, error)
	// RowsAfter calls fn with up to limit rows of a run in ascending order,
	// beginning with the first row whose first pair is above p, or with the
	// first row of all if p is nil. The bytes are valid only during the call.
	RowsAfter(ctx context.Context, id int64, kind Kind, p *Pair, limit int, fn func(Row) error) error
}

// A Log has the entries that an index is about. Its methods are safe for
// concurrent use.
type Log interface {
	// Scan is attestlog.Store's.
	Scan(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error
	// Entries calls fn with the entries at these indexes, in any order. The
	// bytes are valid only during the call.
	Entries(ctx context.Context, indexes []uint64, fn func(*attestlog.RawEntry) error) error
	// Leaves is Entries without the disclosures.
	Leaves(ctx context.Context, indexes []uint64, fn func(index uint64, leaf []byte) error) error
}

// An Index answers queries. Its methods are safe for concurrent use.
type Index struct {
	key    Key
	reader Reader
	log    Log

	mu    sync.Mutex
	spans map[Segment]spans // guarded by mu; those that were read, at most maxKnownSpans
}

// maxKnownSpans is how many segments' spans are kept in memory.
const maxKnownSpans = 512

// New returns an index of the log, which it reads with r.
func New(key Key, r Reader, log Log) *Index {
	return &Index{key: key, reader: r, log: log, spans: map[Segment]spans{}}
}

// spansOf returns the spans of a segment, from memory if they were read before.
func (ix *Index) spansOf(ctx context.Context, seg Segment) (spans, error) {
	ix.mu.Lock()
	known, ok := ix.spans[seg]
	ix.mu.Unlock()
	if ok {
		return known, nil
	}

	all, err := readSpans(ctx, ix.reader, seg)
	if err != nil {
		return nil, err
	}

	ix.mu.Lock()
	defer ix.mu.Unlock()
	if len(ix.spans) >= maxKnownSpans {
		clear(ix.spans) // most are of segments that were merged since
	}
	ix.spans[seg] = all
	return all, nil
}

// Corrupt returns the *attestlog.CorruptError of an index that is damaged at an
// entry. The text completes the sentence "The search index …".
func Corrupt(index uint64, text string) error {
	return &attestlog.CorruptError{
		Index: index,
		Where: "search index",
		Err:   errors.New(text + "; `attestlog reindex` builds it again"),
	}
}

// A Key is the secret with which terms become tokens.
type Key struct{ k0, k1 uint64 }

// ParseKey reads the 16 bytes that a log keeps.
func ParseKey(b []byte) (Key, error) {
	if len(b) != 16 {
		return Key{}, errors.New("the key of the search index is missing")
	}
	return Key{
		k0: binary.LittleEndian.Uint64(b[:8]),
		k1: binary.LittleEndian.Uint64(b[8:]),
	}, nil
}

// token returns the token of a term, and scratch, which it may have grown.
func (k Key) token(scratch []byte, field string, value []byte) (int64, []byte) {
	scratch = append(scratch[:0], field...)
	scratch = append(scratch, 0)
	scratch = append(scratch, value...)
	return int64(siphash.Hash(k.k0, k.k1, scratch) >> 1), scratch
}
