package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/attestlog/attestlog"
)

// maxCall is how many events one call of Append takes.
const maxCall = 10_000

// Append stores events, all or none, and returns a receipt for each once they
// are durable. A call has at most 10,000 events. While the server is away,
// Append tries again with the same ids until ctx ends.
//
// Errors are those of attestlog.Log.Append, and ErrDenied. After an
// *attestlog.FieldError, ErrConflict and ErrTooLarge nothing was stored. After
// any other error it is unknown whether the events are in the log, and the
// *attestlog.AppendError has their ids.
func (c *Client) Append(ctx context.Context, events ...attestlog.Event) ([]attestlog.Receipt, error) {
	if len(events) == 0 {
		return nil, nil
	}
	if len(events) > maxCall {
		return nil, fmt.Errorf("client: %d events in one call, at most %d: %w", len(events), maxCall, attestlog.ErrTooLarge)
	}

	// One body for all tries: the ids and times in it stay, and so the server finds
	// what it has already.
	var body []byte
	ids := make([]string, len(events))
	for i := range events {
		p, err := c.prepare(events[i])
		if err != nil {
			var field *attestlog.FieldError
			if errors.As(err, &field) {
				field.Event = i
			}
			return nil, err
		}
		ids[i] = p.id
		body = appendLine(body, p.json)
	}

	backoff := newBackoff()
	for {
		receipts, err := c.post(ctx, body, len(events))
		if err == nil {
			return receipts, nil
		}

		// Nothing was stored, and the error names the event: no id is of interest.
		var field *attestlog.FieldError
		if errors.As(err, &field) {
			return nil, err
		}
		if !errors.Is(err, attestlog.ErrUnavailable) {
			return nil, &attestlog.AppendError{IDs: ids, Err: err}
		}

		if !backoff.Failing() {
			c.cfg.Logger.Warn("client: trying again to store events", "log", c.name, "err", err)
		}
		if backoff.Wait(ctx) != nil {
			return nil, &attestlog.AppendError{IDs: ids, Err: err}
		}
	}
}

// A prepared event has an id and a time, and keeps them however often it is
// sent.
type prepared struct {
	id   string
	json []byte
}

// prepare checks an event, and gives it an id and a time if it has none.
func (c *Client) prepare(e attestlog.Event) (prepared, error) {
	if e.Time.IsZero() {
		e.Time = c.cfg.Clock().UTC()
	}
	if e.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return prepared{}, err
		}
		e.ID = id.String()
	}

	// Nothing is sealed here: the server seals what its log's configuration says.
	p, err := attestlog.Config{Sealed: []string{}, Clock: c.cfg.Clock}.Prepare(e)
	return prepared{e.ID, p.Event}, err
}

func appendLine(body, line []byte) []byte {
	body = append(body, line...)
	return append(body, '\n')
}

// post sends n events, a line of JSON each, and returns their receipts. It does
// not try again.
func (c *Client) post(ctx context.Context, body []byte, n int) ([]attestlog.Receipt, error) {
	_, text, err := c.call(ctx, http.MethodPost, "/entries", nil, body)
	if err != nil {
		return nil, err
	}

	var answer struct {
		Receipts []struct {
			Index      uint64    `json:"index"`
			ID         string    `json:"id"`
			LeafHash   string    `json:"leaf_hash"`
			LoggedTime time.Time `json:"logged_time"`
		} `json:"receipts"`
	}
	err = json.Unmarshal(text, &answer)
	if err != nil || len(answer.Receipts) != n {
		return nil, fmt.Errorf("%w: want %d receipts", errBadAnswer, n)
	}

	receipts := make([]attestlog.Receipt, n)
	for i, r := range answer.Receipts {
		hash, err := parseHash(r.LeafHash)
		if err != nil {
			return nil, err
		}
		receipts[i] = attestlog.Receipt{Index: r.Index, ID: r.ID, LeafHash: hash, LoggedTime: r.LoggedTime}
	}
	return receipts, nil
}
