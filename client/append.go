package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/attestlog/attestlog"
)

// maxCall is how many events one call of Append takes.
const maxCall = 10_000

// Append stores events, all or none, and returns a receipt for each once they are
// durable. While the server is away it tries again, with the same ids, until ctx
// ends. Errors are those of attestlog.Log.Append, and ErrDenied; after any but a
// *attestlog.FieldError, ErrConflict and ErrTooLarge it is unknown whether the
// events are in the log, and the *attestlog.AppendError has their ids.
func (c *Client) Append(ctx context.Context, events ...attestlog.Event) ([]attestlog.Receipt, error) {
	if len(events) == 0 {
		return nil, nil
	}
	if len(events) > maxCall {
		return nil, fmt.Errorf("client: %d events in one call, at most %d: %w", len(events), maxCall, attestlog.ErrTooLarge)
	}
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
		body = append(append(body, p.text...), '\n')
	}
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		receipts, err := c.post(ctx, body, len(events))
		if err == nil {
			return receipts, nil
		}
		var field *attestlog.FieldError
		if errors.As(err, &field) {
			return nil, err
		}
		if !errors.Is(err, attestlog.ErrUnavailable) {
			return nil, &attestlog.AppendError{IDs: ids, Err: err}
		}
		if wait == firstWait {
			c.cfg.Logger.Warn("client: trying again to store events", "log", c.name, "err", err)
		}
		if pause(ctx, wait) != nil {
			return nil, &attestlog.AppendError{IDs: ids, Err: err}
		}
	}
}

// Waits between tries, each half random.
const (
	firstWait = 50 * time.Millisecond
	lastWait  = 2 * time.Second
)

func pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait/2 + rand.N(wait/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A prepared event is JSON with an id and a time.
type prepared struct {
	id   string
	text []byte
}

// prepare checks an event and gives it the id and the time that it keeps,
// however often it is sent.
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
	p, err := attestlog.Config{Sealed: []string{}, Clock: c.cfg.Clock}.Prepare(e)
	return prepared{e.ID, p.Event}, err
}

// post sends events once.
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
	if err := json.Unmarshal(text, &answer); err != nil || len(answer.Receipts) != n {
		return nil, fmt.Errorf("%w: not %d receipts", errAnswer, n)
	}
	out := make([]attestlog.Receipt, n)
	for i, r := range answer.Receipts {
		out[i] = attestlog.Receipt{Index: r.Index, ID: r.ID, LoggedTime: r.LoggedTime}
		hash, err := base64.StdEncoding.DecodeString(r.LeafHash)
		if err != nil || copy(out[i].LeafHash[:], hash) != len(out[i].LeafHash) {
			return nil, fmt.Errorf("%w: no leaf hash", errAnswer)
		}
	}
	return out, nil
}
