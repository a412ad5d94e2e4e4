package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// Query returns one page of the entries that q selects, as attestlog.Log.Query
// does. A page has at most 1,000 entries.
func (c *Client) Query(ctx context.Context, q query.Query, opts attestlog.PageOptions) (attestlog.Page, error) {
	if err := q.Err(); err != nil {
		return attestlog.Page{}, err
	}
	params := url.Values{"q": {q.String()}, "lines": {"true"}}
	if opts.Limit > 0 {
		params.Set("limit", strconv.Itoa(min(opts.Limit, 1000)))
	}
	if opts.Cursor != "" {
		params.Set("cursor", opts.Cursor)
	}
	resp, text, err := c.call(ctx, http.MethodGet, "/entries", params, nil)
	if err != nil {
		return attestlog.Page{}, err
	}
	page := attestlog.Page{Next: resp.Header.Get("Attestlog-Next")}
	if page.Size, err = strconv.ParseUint(resp.Header.Get("Attestlog-Size"), 10, 64); err != nil {
		return page, fmt.Errorf("%w: no page", errAnswer)
	}
	for line := range bytes.Lines(text) {
		e, err := parseLine(line)
		if err != nil {
			return page, err
		}
		page.Entries = append(page.Entries, e)
	}
	return page, nil
}

func parseLine(line []byte) (attestlog.Entry, error) {
	r, err := attestlog.ParseLine(bytes.TrimSuffix(line, []byte("\n")))
	if err != nil {
		return attestlog.Entry{}, fmt.Errorf("%w: %w", errAnswer, err)
	}
	return r.Entry()
}

func (c *Client) one(ctx context.Context, path string, params url.Values) (attestlog.Entry, error) {
	params.Set("lines", "true")
	_, text, err := c.call(ctx, http.MethodGet, path, params, nil)
	if err != nil {
		return attestlog.Entry{}, err
	}
	return parseLine(text)
}

// Entry returns the entry at index, or attestlog.ErrNotFound.
func (c *Client) Entry(ctx context.Context, index uint64) (attestlog.Entry, error) {
	return c.one(ctx, "/entries/"+strconv.FormatUint(index, 10), url.Values{})
}

// EntryByID returns the entry with an id, or attestlog.ErrNotFound.
func (c *Client) EntryByID(ctx context.Context, id string) (attestlog.Entry, error) {
	return c.one(ctx, "/entry", url.Values{"id": {id}})
}

// Count returns how many entries q selects, counting no further than limit; 0
// means no limit.
func (c *Client) Count(ctx context.Context, q query.Query, limit uint64) (uint64, error) {
	if err := q.Err(); err != nil {
		return 0, err
	}
	var out struct{ Count uint64 }
	err := c.get(ctx, "/count", url.Values{"q": {q.String()}, "limit": {strconv.FormatUint(limit, 10)}}, &out)
	return out.Count, err
}

func (c *Client) get(ctx context.Context, path string, params url.Values, out any) error {
	_, text, err := c.call(ctx, http.MethodGet, path, params, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	return nil
}

// Info is what a server says about a log.
type Info struct {
	Name           string   `json:"name"`
	Origin         string   `json:"origin"`
	Size           uint64   `json:"size"`
	CheckpointSize uint64   `json:"checkpoint_size"`
	Scopes         []string `json:"scopes"` // what the token may do
	Tenant         string   `json:"tenant"` // that the token is limited to
	Actor          string   `json:"actor"`
	ReadOnly       string   `json:"read_only"` // why the log cannot be written
}

// Info returns the log's figures.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var out Info
	err := c.get(ctx, "", nil, &out)
	return out, err
}

// Size returns the number of entries that are durable now.
func (c *Client) Size(ctx context.Context) (uint64, error) {
	info, err := c.Info(ctx)
	return info.Size, err
}

// Entries returns the entries that q selects, oldest first, in constant memory.
// A stream that breaks off is gone on with where it ended.
func (c *Client) Entries(ctx context.Context, q query.Query) iter.Seq2[attestlog.Entry, error] {
	return func(yield func(attestlog.Entry, error) bool) {
		if err := q.Err(); err != nil {
			yield(attestlog.Entry{}, err)
			return
		}
		next := uint64(0)
		for wait := firstWait; ; wait = min(2*wait, lastWait) {
			before := next
			size, stopped, err := c.export(ctx, q, next, func(e attestlog.Entry) bool {
				next = e.Index + 1
				return yield(e, nil)
			})
			if stopped || err == nil && size >= next {
				return
			}
			if err == nil {
				err = unavailable(io.ErrUnexpectedEOF)
			}
			if next > before {
				wait = firstWait
			}
			if !errors.Is(err, attestlog.ErrUnavailable) || pause(ctx, wait) != nil {
				yield(attestlog.Entry{}, err)
				return
			}
		}
	}
}

// Scan calls fn with each entry from ≤ index < to that the token may see, as it is
// stored, in order, until fn returns an error, which Scan returns.
func (c *Client) Scan(ctx context.Context, from, to uint64, fn func(*attestlog.RawEntry) error) error {
	if from >= to {
		return nil
	}
	for e, err := range c.Entries(ctx, query.Indexes(from, to)) {
		if err != nil {
			return err
		}
		if err := fn(&attestlog.RawEntry{Index: e.Index, Leaf: e.Leaf, Disclosures: e.Disclosures}); err != nil {
			return err
		}
	}
	return nil
}

// export reads one stream. It is whole if it has the trailer with the log's size.
func (c *Client) export(ctx context.Context, q query.Query, from uint64, fn func(attestlog.Entry) bool) (size uint64, stopped bool, err error) {
	ctx, watch, stop := watched(ctx, seeking)
	defer stop()
	params := url.Values{"q": {q.String()}, "from": {strconv.FormatUint(from, 10)}}
	resp, err := c.request(ctx, http.MethodGet, c.base+"/export", params, nil, nil)
	if err != nil {
		return 0, false, err
	}
	defer resp.Body.Close()
	r := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			break
		}
		if err != nil {
			return 0, false, unavailable(err)
		}
		watch.Stop() // what is done with the entry may take its time
		if bytes.HasPrefix(line, []byte(`{"checkpoint":`)) {
			watch.Reset(seeking)
			continue
		}
		e, err := parseLine(line)
		if err != nil {
			return 0, false, err
		}
		if !fn(e) {
			return 0, true, nil
		}
		watch.Reset(seeking)
	}
	size, err = strconv.ParseUint(resp.Trailer.Get("Attestlog-Size"), 10, 64)
	if err != nil {
		return 0, false, unavailable(io.ErrUnexpectedEOF)
	}
	return size, false, nil
}

// Tail returns the entries from an index on that q selects, oldest first, and then
// each new one soon after it is durable. It connects again by itself, and ends
// when ctx does, without an error.
func (c *Client) Tail(ctx context.Context, from uint64, q query.Query) iter.Seq2[attestlog.Entry, error] {
	return func(yield func(attestlog.Entry, error) bool) {
		if err := q.Err(); err != nil {
			yield(attestlog.Entry{}, err)
			return
		}
		for wait := firstWait; ; wait = min(2*wait, lastWait) {
			before := from
			stopped, err := c.follow(ctx, &from, q, yield)
			if stopped || ctx.Err() != nil {
				return
			}
			if from > before {
				wait = firstWait
			}
			if err != nil && !errors.Is(err, attestlog.ErrUnavailable) {
				yield(attestlog.Entry{}, err)
				return
			}
			if pause(ctx, wait) != nil {
				return
			}
		}
	}
}

const (
	// quiet is how long a tail may say nothing, not even that it lives.
	quiet = time.Minute
	// seeking is how long an export may take to find an entry that the query selects.
	seeking = 15 * time.Minute
)

// watched returns a context that ends when its timer is not reset for a while, as
// a server that is away.
func watched(ctx context.Context, wait time.Duration) (context.Context, *time.Timer, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(wait, func() { cancel(unavailable(fmt.Errorf("nothing for %s", wait))) })
	return ctx, watch, func() {
		watch.Stop()
		cancel(nil)
	}
}

// follow reads one connection's events, and moves from behind each.
func (c *Client) follow(ctx context.Context, from *uint64, q query.Query, yield func(attestlog.Entry, error) bool) (stopped bool, err error) {
	ctx, watch, stop := watched(ctx, quiet)
	defer stop()
	params := url.Values{"q": {q.String()}, "lines": {"true"}, "from": {strconv.FormatUint(*from, 10)}}
	resp, err := c.request(ctx, http.MethodGet, c.base+"/tail", params, nil, http.Header{"Accept": {"text/event-stream"}})
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	r := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return false, unavailable(err)
		}
		watch.Reset(quiet)
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue
		}
		e, err := parseLine(data)
		if err != nil {
			return false, err
		}
		*from = e.Index + 1
		watch.Stop() // what is done with the entry may take its time
		if !yield(e, nil) {
			return true, nil
		}
		watch.Reset(quiet)
	}
}

// Checkpoint returns the newest signed checkpoint. Its signature is not checked:
// attestlog.VerifyCheckpoint does.
func (c *Client) Checkpoint(ctx context.Context) (attestlog.Checkpoint, error) {
	return c.checkpoint(ctx, http.MethodGet)
}

// Publish has a checkpoint signed that covers every entry acknowledged before the
// call.
func (c *Client) Publish(ctx context.Context) (attestlog.Checkpoint, error) {
	return c.checkpoint(ctx, http.MethodPost)
}

func (c *Client) checkpoint(ctx context.Context, method string) (attestlog.Checkpoint, error) {
	_, text, err := c.call(ctx, method, "/checkpoint", nil, nil)
	if err != nil {
		return attestlog.Checkpoint{}, err
	}
	return attestlog.ParseCheckpoint(text)
}

// InclusionProof proves an entry to a checkpoint that the server signs for it.
// attestlog.CheckProof checks it.
func (c *Client) InclusionProof(ctx context.Context, index uint64) (attestlog.InclusionProof, error) {
	var p attestlog.InclusionProof
	_, text, err := c.call(ctx, http.MethodGet, "/proofs/"+strconv.FormatUint(index, 10), nil, nil)
	if err == nil {
		err = p.UnmarshalText(text)
	}
	return p, err
}

// ConsistencyProof proves that the log of size from is the beginning of the log of
// size to.
func (c *Client) ConsistencyProof(ctx context.Context, from, to uint64) ([]attestlog.Hash, error) {
	var out struct{ Hashes []string }
	err := c.get(ctx, "/consistency", url.Values{"from": {strconv.FormatUint(from, 10)}, "to": {strconv.FormatUint(to, 10)}}, &out)
	if err != nil {
		return nil, err
	}
	hashes := make([]attestlog.Hash, len(out.Hashes))
	for i, text := range out.Hashes {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil || copy(hashes[i][:], b) != len(hashes[i]) {
			return nil, fmt.Errorf("%w: no list of hashes", errAnswer)
		}
	}
	return hashes, nil
}
