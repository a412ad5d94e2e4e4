package attestlog

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/fnv"
)

// PageOptions say which part of a query's result is wanted.
type PageOptions struct {
	Limit  int    // entries, 1 to 10,000. Defaults to 50.
	Cursor string // Page.Next of the page before; "" for the first
	// Bytes bounds the leaves and sealed values of a page, but for a single entry:
	// an entry can have more than a mebibyte. Defaults to 64 MiB.
	Bytes int
}

// A Page is one part of a query's result.
type Page struct {
	Entries []Entry
	Next    string // the next page's cursor, "" on the last page
	// Size is how many entries the log had when it was searched: what was
	// appended since, and with a replica what that has yet to receive, is not
	// in the page.
	Size uint64
}

// ErrCursor is returned for a cursor that is damaged or of another query.
var ErrCursor = errors.New("cursor is not one of this query")

// Query returns one page of the entries that q selects, newest first. Entries
// that arrive between two pages change neither of them. Every entry has been
// compared with the query itself: the index only proposes.
func (l *Log) Query(ctx context.Context, q Query, opts PageOptions) (Page, error) {
	limit := opts.Limit
	if limit <= 0 {
		limit = defaultPage
	}
	limit = min(limit, maxPage)
	below, err := decodeCursor(opts.Cursor, q)
	if err != nil {
		return Page{}, err
	}
	room := opts.Bytes
	if room <= 0 {
		room = defaultPageBytes
	}
	var page Page
	page.Size, err = l.search(ctx, q, false, below, func(e *Entry) (bool, error) {
		room -= e.bytes()
		if n := len(page.Entries); n == limit || n > 0 && room < 0 {
			last := &page.Entries[n-1]
			page.Next = encodeCursor(q, Position{last.Time.UnixNano(), last.Index})
			return false, nil
		}
		page.Entries = append(page.Entries, *e)
		return true, nil
	})
	return page, err
}

// bytes is what an entry has as it is stored.
func (e *Entry) bytes() int {
	n := len(e.Leaf)
	for i := range e.Disclosures {
		n += len(e.Disclosures[i].Value)
	}
	return n
}

// A cursor is base64url of: version, order, 32 bits of hash of the query, and
// the position.
func encodeCursor(q Query, p Position) string {
	b := []byte{1, byte(q.order)}
	b = binary.BigEndian.AppendUint32(b, queryHash(q))
	b = binary.BigEndian.AppendUint64(b, p.Index)
	if q.order == ByTime {
		b = binary.BigEndian.AppendUint64(b, uint64(p.Time))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeCursor(s string, q Query) (*Position, error) {
	if s == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	want := 14
	if q.order == ByTime {
		want = 22
	}
	if err != nil || len(b) != want || b[0] != 1 || b[1] != byte(q.order) || binary.BigEndian.Uint32(b[2:]) != queryHash(q) {
		return nil, ErrCursor
	}
	p := &Position{Index: binary.BigEndian.Uint64(b[6:])}
	if q.order == ByTime {
		p.Time = int64(binary.BigEndian.Uint64(b[14:]))
	}
	return p, nil
}

func queryHash(q Query) uint32 {
	h := fnv.New32a()
	h.Write([]byte(q.String()))
	return h.Sum32()
}
