package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/attestlog/attestlog"
)

var (
	// ErrDenied is returned when the server does not accept the token, or the
	// token may not do what was asked.
	ErrDenied = errors.New("the server refuses the token")

	// errBadRequest is returned when the server finds fault with the request
	// itself, so that it is useless to send it again.
	errBadRequest = errors.New("the server does not accept the request")

	// errBadAnswer is returned when the reply is not one that an attestlog
	// server sends.
	errBadAnswer = errors.New("the reply is not one of an attestlog server")
)

// maxAnswer bounds an answer that is read whole, in bytes. A page of entries has
// 16 MiB as they are stored, and four thirds of that as lines.
const maxAnswer = 64 << 20

// call makes a request to the log's API and reads the whole answer. A nil body
// sends none.
func (c *Client) call(
	ctx context.Context, method, path string, params url.Values, body []byte,
) (http.Header, []byte, error) {
	return c.callURL(ctx, method, c.api+path, params, body)
}

func (c *Client) callURL(
	ctx context.Context, method, target string, params url.Values, body []byte,
) (http.Header, []byte, error) {
	bounded, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()

	header, text, err := c.readAnswer(bounded, method, target, params, body)
	timedOut := bounded.Err() != nil && ctx.Err() == nil
	if err != nil && timedOut {
		err = unavailable(fmt.Errorf("no answer within %s", c.cfg.Timeout))
	}
	return header, text, err
}

func (c *Client) readAnswer(
	ctx context.Context, method, target string, params url.Values, body []byte,
) (http.Header, []byte, error) {
	resp, err := c.request(ctx, method, target, params, body, nil)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()

	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, nil, unavailable(err)
	}
	if len(text) > maxAnswer {
		return nil, nil, fmt.Errorf("%w: it has more than %d bytes", errBadAnswer, maxAnswer)
	}
	return resp.Header, text, nil
}

// get makes a request to the log's API and reads its answer, JSON, into out.
func (c *Client) get(ctx context.Context, path string, params url.Values, out any) error {
	_, text, err := c.call(ctx, http.MethodGet, path, params, nil)
	if err != nil {
		return err
	}

	err = json.Unmarshal(text, out)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadAnswer, err)
	}
	return nil
}

// request makes a request and returns its answer, whose body the caller reads
// and closes. An answer with a status other than 2xx becomes an error.
func (c *Client) request(
	ctx context.Context, method, target string, params url.Values, body []byte, header http.Header,
) (*http.Response, error) {
	if len(params) > 0 {
		target += "?" + params.Encode()
	}
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return nil, err
	}

	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	req.Header.Set("User-Agent", "attestlog-client")
	if body != nil { // events, a line each: nothing else is sent
		req.Header.Set("Content-Type", "application/x-ndjson")
	}

	resp, err := c.cfg.HTTP.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx) // that of a stream's watchdog is ErrUnavailable
		}
		return nil, unavailable(err)
	}

	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problemOf(resp)
}

// maxProblem bounds how much of an error's body is read, in bytes.
const maxProblem = 64 << 10

// bodyField is the location of an error in one event of a request's body: its
// position, and the field if one is to blame.
var bodyField = regexp.MustCompile(`^body\[(\d+)\]\.?(.*)$`)

// problemOf turns an answer (RFC 9457) into the error that a Log would have
// returned.
func problemOf(resp *http.Response) error {
	var problem struct {
		Detail string `json:"detail"`
		Errors []struct{ Message, Location string }
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem)) // the status says enough
	err := json.Unmarshal(text, &problem)
	if err != nil || problem.Detail == "" {
		problem.Detail = resp.Status
	}

	if len(problem.Errors) > 0 {
		first := problem.Errors[0]
		if m := bodyField.FindStringSubmatch(first.Location); m != nil {
			n, _ := strconv.Atoi(m[1])
			return &attestlog.FieldError{Event: n, Field: m[2], Rule: first.Message}
		}
	}

	said := fmt.Errorf("the server says: %s", problem.Detail)
	if kind := kindOf(resp.StatusCode, problem.Detail); kind != nil {
		return fmt.Errorf("%w: %w", kind, said)
	}
	return said
}

// kindOf returns the error that an answer's status means, or nil.
func kindOf(status int, detail string) error {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrDenied
	case http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		if strings.Contains(detail, attestlog.ErrCursor.Error()) {
			return attestlog.ErrCursor
		}
		return errBadRequest
	case http.StatusNotFound:
		return attestlog.ErrNotFound
	case http.StatusConflict:
		return attestlog.ErrConflict
	case http.StatusRequestEntityTooLarge:
		return attestlog.ErrTooLarge
	case http.StatusTooManyRequests, http.StatusRequestTimeout:
		return attestlog.ErrUnavailable
	}
	if status >= http.StatusInternalServerError {
		return attestlog.ErrUnavailable
	}
	return nil
}

func unavailable(err error) error {
	return fmt.Errorf("%w: %w", attestlog.ErrUnavailable, err)
}

// parseHash reads a hash in base64.
func parseHash(text string) (attestlog.Hash, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != len(attestlog.Hash{}) {
		return attestlog.Hash{}, fmt.Errorf("%w: %.60q is not a hash", errBadAnswer, text)
	}
	return attestlog.Hash(b), nil
}
