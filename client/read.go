package client

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// maxPage is how many entries the server returns on a page.
const maxPage = 1000

// Query returns one page of the entries that q selects, as attestlog.Log.Query
// does. A page has at most 1,000 entries.
func (c *Client) Query(ctx context.Context, q query.Query, opts attestlog.PageOptions) (attestlog.Page, error) {
	if err := q.Err(); err != nil {
		return attestlog.Page{}, err
	}

	// With "lines" the answer is a line for each entry, in which its leaf has the
	// exact bytes, and the page's own figures are in the header.
	params := url.Values{"q": {q.String()}, "lines": {"true"}}
	if opts.Limit > 0 {
		params.Set("limit", strconv.Itoa(min(opts.Limit, maxPage)))
	}
	if opts.Cursor != "" {
		params.Set("cursor", opts.Cursor)
	}

	header, text, err := c.call(ctx, http.MethodGet, "/entries", params, nil)
	if err != nil {
		return attestlog.Page{}, err
	}

	page := attestlog.Page{Next: header.Get("Attestlog-Next")}
	page.Size, err = strconv.ParseUint(header.Get("Attestlog-Size"), 10, 64)
	if err != nil {
		return page, fmt.Errorf("%w: no page of entries", errBadAnswer)
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

// parseLine reads an entry as a line of JSON.
func parseLine(line []byte) (attestlog.Entry, error) {
	raw, err := attestlog.ParseLine(bytes.TrimSuffix(line, []byte("\n")))
	if err != nil {
		return attestlog.Entry{}, fmt.Errorf("%w: %w", errBadAnswer, err)
	}
	return raw.Entry()
}

// Entry returns the entry at index, or attestlog.ErrNotFound.
func (c *Client) Entry(ctx context.Context, index uint64) (attestlog.Entry, error) {
	return c.entry(ctx, "/entries/"+strconv.FormatUint(index, 10), url.Values{})
}

// EntryByID returns the entry with an id, or attestlog.ErrNotFound.
func (c *Client) EntryByID(ctx context.Context, id string) (attestlog.Entry, error) {
	return c.entry(ctx, "/entry", url.Values{"id": {id}})
}

func (c *Client) entry(ctx context.Context, path string, params url.Values) (attestlog.Entry, error) {
	params.Set("lines", "true")
	_, text, err := c.call(ctx, http.MethodGet, path, params, nil)
	if err != nil {
		return attestlog.Entry{}, err
	}
	return parseLine(text)
}

// Count returns how many entries q selects, counting no further than limit; 0
// means no limit.
func (c *Client) Count(ctx context.Context, q query.Query, limit uint64) (uint64, error) {
	if err := q.Err(); err != nil {
		return 0, err
	}

	params := url.Values{"q": {q.String()}, "limit": {strconv.FormatUint(limit, 10)}}
	var out struct{ Count uint64 }
	err := c.get(ctx, "/count", params, &out)
	return out.Count, err
}

// Info is what a server says about a log.
type Info struct {
	Name           string   `json:"name"`
	Origin         string   `json:"origin"`
	Size           uint64   `json:"size"`            // entries that are durable
	CheckpointSize uint64   `json:"checkpoint_size"` // entries that the newest checkpoint covers
	Scopes         []string `json:"scopes"`          // what the token may do
	Tenant         string   `json:"tenant"`          // the tenant that the token is limited to, or ""
	Actor          string   `json:"actor"`           // the actor that the token is limited to, or ""
	ReadOnly       string   `json:"read_only"`       // why the log cannot be written, or ""
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

// Checkpoint returns the newest signed checkpoint. It does not check the
// signature: attestlog.VerifyCheckpoint does.
func (c *Client) Checkpoint(ctx context.Context) (attestlog.Checkpoint, error) {
	return c.checkpoint(ctx, http.MethodGet)
}

// Publish has a checkpoint signed that covers every entry acknowledged before
// the call, and returns it.
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

// InclusionProof returns a proof that an entry is in the tree of a checkpoint,
// which the server signs for it. attestlog.CheckProof checks it.
func (c *Client) InclusionProof(ctx context.Context, index uint64) (attestlog.InclusionProof, error) {
	_, text, err := c.call(ctx, http.MethodGet, "/proofs/"+strconv.FormatUint(index, 10), nil, nil)
	if err != nil {
		return attestlog.InclusionProof{}, err
	}

	var proof attestlog.InclusionProof
	err = proof.UnmarshalText(text)
	return proof, err
}

// ConsistencyProof returns a proof that the log of size from is the beginning of
// the log of size to.
func (c *Client) ConsistencyProof(ctx context.Context, from, to uint64) ([]attestlog.Hash, error) {
	params := url.Values{"from": {strconv.FormatUint(from, 10)}, "to": {strconv.FormatUint(to, 10)}}
	var out struct{ Hashes []string }
	err := c.get(ctx, "/consistency", params, &out)
	if err != nil {
		return nil, err
	}

	hashes := make([]attestlog.Hash, len(out.Hashes))
	for i, text := range out.Hashes {
		hashes[i], err = parseHash(text)
		if err != nil {
			return nil, err
		}
	}
	return hashes, nil
}
