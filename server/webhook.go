package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/attestlog/attestlog/internal/retry"
)

const (
	maxPosts         = 256 // alarms that wait
	webhookTries     = 5
	webhookWait      = 10 * time.Second // for one try
	webhookPause     = time.Second      // after the first try, and twice as long each time
	webhookPauseMost = 4 * time.Second
	maxWebhookAnswer = 64 << 10 // bytes that are read, so that the connection is used again
)

// A webhook sends alarms to a URL, one after the other. Without a URL it sends
// nothing.
type webhook struct {
	url    string
	queue  chan Alarm
	logger *slog.Logger
}

func newWebhook(url string, logger *slog.Logger) *webhook {
	return &webhook{url: url, queue: make(chan Alarm, maxPosts), logger: logger}
}

// post queues an alarm, or logs that there are too many.
func (h *webhook) post(a Alarm) {
	if h.url == "" {
		return
	}

	select {
	case h.queue <- a:
	default:
		h.logger.Error("server: too many alarms wait for the webhook", "log", a.Log, "alarm", a.Alarm)
	}
}

// run sends the queued alarms until ctx ends.
func (h *webhook) run(ctx context.Context) {
	for {
		select {
		case a := <-h.queue:
			err := h.send(ctx, a)
			if err != nil {
				h.logger.Error("server: an alarm did not reach the webhook", "log", a.Log, "alarm", a.Alarm, "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// send sends an alarm, and tries again a few times if that fails.
func (h *webhook) send(ctx context.Context, a Alarm) error {
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}

	backoff := retry.Backoff{First: webhookPause, Longest: webhookPauseMost}
	for range webhookTries - 1 {
		err = h.try(ctx, body)
		if err == nil {
			return nil
		}
		waitErr := backoff.Wait(ctx)
		if waitErr != nil {
			return errors.Join(err, waitErr)
		}
	}
	return h.try(ctx, body)
}

func (h *webhook) try(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, webhookWait)
	defer cancel()

	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")

	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, maxWebhookAnswer))

	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the webhook answers %s", resp.Status)
	}
	return nil
}
