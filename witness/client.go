package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
)

var (
	// ErrForked is returned when the witness has cosigned a tree of the log
	// that the checkpoint does not extend: the log forked, or the proof that
	// was given is wrong.
	ErrForked = errors.New("the witness knows another history of the log")

	// ErrRolledBack is returned when the witness has cosigned a larger tree
	// than the checkpoint's: the log was rolled back, unless a newer checkpoint
	// was cosigned in the meantime.
	ErrRolledBack = errors.New("the witness has cosigned a larger tree of the log")

	// ErrUnavailable is returned when the witness cannot be reached, is too
	// slow or fails. It says nothing about the log; try again later.
	ErrUnavailable = errors.New("the witness is not available")

	// ErrRefused is returned when the witness does not serve the log: it does
	// not know the log's origin or key, or does not understand the request.
	ErrRefused = errors.New("the witness refuses")

	// ErrBadCosignature is returned when an answer has no cosignature of the
	// checkpoint by the witness's key, or one whose time is too far from now.
	ErrBadCosignature = errors.New("the witness gave no valid cosignature")
)

// A Proof returns the consistency proof (RFC 6962, Section 2.1.2) between two
// sizes of the log, 1 ≤ from < to. (*attestlog.Log).ConsistencyProof is one.
type Proof func(ctx context.Context, from, to uint64) ([]attestlog.Hash, error)

const (
	maxAnswer      = 64 << 10
	defaultTimeout = 10 * time.Second
	defaultSkew    = 5 * time.Minute
	tries          = 3 // the witness may name another size twice
)

// A Client asks one witness for cosignatures. It is safe for concurrent use,
// and must not be copied. Cosignatures are verified. Refusals are not signed:
// over plain HTTP, anyone on the way can cause ErrForked or ErrRolledBack.
type Client struct {
	// URL is the witness's submission prefix; "/add-checkpoint" is appended.
	URL string
	// Verifier has the witness's key. Required.
	Verifier *Verifier
	// HTTP makes the requests. Defaults to a client that gives each 10 s.
	HTTP *http.Client
	// Skew is how far a cosignature's time may be from Clock's, either way.
	// Defaults to five minutes.
	Skew time.Duration
	// Clock tells the time. Defaults to time.Now.
	Clock func() time.Time

	mu    sync.Mutex
	sizes map[string]uint64 // that the witness has cosigned, by origin
}

var defaultHTTP = &http.Client{Timeout: defaultTimeout}

// Cosign returns a signed checkpoint with the witness's cosignature added, in
// place of an older one. The client remembers which size the witness has
// cosigned; if the witness names another, Cosign asks again, twice at most.
//
// Errors wrap one of ErrForked, ErrRolledBack, ErrUnavailable, ErrRefused and
// ErrBadCosignature, an error of proof, or that of a checkpoint that cannot be
// read. If ctx ends, the error wraps ErrUnavailable and the context's error.
func (c *Client) Cosign(ctx context.Context, signed []byte, proof Proof) ([]byte, error) {
	if c.Verifier == nil {
		return nil, errors.New("witness: a client needs its witness's key")
	}

	sig, err := c.ask(ctx, signed, proof)
	if err != nil {
		return nil, fmt.Errorf("witness %s: %w", c.Verifier.name, err)
	}
	return addSignatures(signed, sig)
}

// ask returns a verified cosignature.
func (c *Client) ask(ctx context.Context, signed []byte, proof Proof) (note.Signature, error) {
	cp, err := attestlog.ParseCheckpoint(signed)
	if err != nil {
		return note.Signature{}, err
	}

	// Another caller may have had a larger tree cosigned.
	r := request{old: min(c.size(cp.Origin), cp.Size), note: signed}
	for range tries {
		r.proof = nil
		if 0 < r.old && r.old < cp.Size {
			r.proof, err = proof(ctx, r.old, cp.Size)
			if err != nil {
				return note.Signature{}, fmt.Errorf("prove %d in %d: %w", r.old, cp.Size, err)
			}
		}

		a, err := c.post(ctx, r.marshal())
		if err != nil {
			return note.Signature{}, err
		}
		if a.status == http.StatusOK {
			sig, err := c.verify(cp, a.body)
			if err == nil {
				c.remember(cp.Origin, cp.Size)
			}
			return sig, err
		}

		r.old, err = a.retryFrom(r.old, cp.Size)
		if err != nil {
			return note.Signature{}, err
		}
		c.remember(cp.Origin, r.old)
	}
	return note.Signature{}, fmt.Errorf("%w: its size changed with every request", ErrUnavailable)
}

func (c *Client) size(origin string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()

	return c.sizes[origin]
}

func (c *Client) remember(origin string, size uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()

	if c.sizes == nil {
		c.sizes = map[string]uint64{}
	}
	c.sizes[origin] = size
}

// An answer is the reply to a request.
type answer struct {
	status int
	body   []byte
}

func (c *Client) post(ctx context.Context, body []byte) (answer, error) {
	url := strings.TrimSuffix(c.URL, "/") + "/add-checkpoint"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")

	client := c.HTTP
	if client == nil {
		client = defaultHTTP
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer resp.Body.Close()

	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return answer{resp.StatusCode, text}, nil
}

// retryFrom returns the size from which the witness wants a proof, or the error
// that the answer means. The request was for a checkpoint of size, with a
// proof from old.
func (a answer) retryFrom(old, size uint64) (uint64, error) {
	switch a.status {
	case http.StatusConflict:
		digits, isLine := strings.CutSuffix(string(a.body), "\n")
		known, err := parseSize(digits)
		isSize := isLine && err == nil

		// Asked from the checkpoint's own size, a witness that names no other has
		// another tree of that size.
		switch {
		case old == size && (!isSize || known == size):
			return 0, fmt.Errorf("%w: it has another tree of size %d", ErrForked, size)
		case !isSize || known == old:
			return 0, fmt.Errorf("%w: status 409 with %.40q, which is not another size", ErrRefused, a.body)
		case known > size:
			return 0, fmt.Errorf("%w: %d entries, the checkpoint has %d", ErrRolledBack, known, size)
		}
		return known, nil

	case http.StatusUnprocessableEntity:
		if old > 0 { // otherwise there was nothing to prove
			return 0, fmt.Errorf("%w: its tree of size %d is not in that of size %d", ErrForked, old, size)
		}

	case http.StatusTooManyRequests, http.StatusRequestTimeout:
		return 0, fmt.Errorf("%w: status %d", ErrUnavailable, a.status)
	}

	if a.status >= http.StatusInternalServerError {
		return 0, fmt.Errorf("%w: status %d", ErrUnavailable, a.status)
	}
	return 0, fmt.Errorf("%w: status %d: %.200q", ErrRefused, a.status, a.body)
}

// verify reads the lines of an answer and returns the witness's cosignature.
func (c *Client) verify(cp attestlog.Checkpoint, lines []byte) (note.Signature, error) {
	text := cp.Note[:bytes.LastIndex(cp.Note, []byte("\n\n"))+2]
	n, err := note.Open(slices.Concat(text, lines), note.VerifierList(c.Verifier))
	if err != nil {
		return note.Signature{}, fmt.Errorf("%w: %v", ErrBadCosignature, err)
	}

	sig := n.Sigs[0]
	signed, err := Time(sig)
	if err != nil {
		return sig, fmt.Errorf("%w: %v", ErrBadCosignature, err)
	}

	now := time.Now()
	if c.Clock != nil {
		now = c.Clock()
	}
	skew := c.Skew
	if skew <= 0 {
		skew = defaultSkew
	}
	if signed.Before(now.Add(-skew)) || signed.After(now.Add(skew)) {
		return sig, fmt.Errorf("%w: its time is %v, and now is %v", ErrBadCosignature, signed.UTC(), now.UTC())
	}
	return sig, nil
}

// addSignatures returns a signed note with signatures added, in place of older
// ones by the same keys.
func addSignatures(signed []byte, sigs ...note.Signature) ([]byte, error) {
	// Without verifiers, Open returns the parsed note in its error.
	_, err := note.Open(signed, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return nil, fmt.Errorf("witness: checkpoint: %v", err)
	}

	n := unverified.Note
	n.UnverifiedSigs = slices.DeleteFunc(n.UnverifiedSigs, func(old note.Signature) bool {
		return slices.ContainsFunc(sigs, func(s note.Signature) bool {
			return s.Name == old.Name && s.Hash == old.Hash
		})
	})
	n.UnverifiedSigs = append(n.UnverifiedSigs, sigs...)
	return note.Sign(n)
}
