package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestlog/attestlog"
)

const sizeType = "text/x.tlog.size"

// A refusal is an answer other than a cosignature.
type refusal struct {
	status int
	why    string // told to the client, unless the size is
	known  uint64 // the size to tell with status 409
}

func (r *refusal) Error() string { return r.why }

func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, why: fmt.Sprintf(format, args...)}
}

func conflict(known uint64, why string) error {
	return &refusal{http.StatusConflict, why, known}
}

// ServeHTTP answers a request; see Witness.
func (w *Witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	dir, name := path.Split(r.URL.Path)
	method := http.MethodPost
	if name == "checkpoint" {
		method = http.MethodGet
	} else if name != "add-checkpoint" {
		http.NotFound(rw, r)
		return
	}
	if r.Method != method {
		rw.Header().Set("Allow", method)
		http.Error(rw, "the method is "+method, http.StatusMethodNotAllowed)
		return
	}
	var body []byte
	var err error
	if name == "checkpoint" {
		body, err = w.checkpoint(path.Base(dir))
	} else {
		body, err = w.addCheckpoint(rw, r)
	}
	if err != nil {
		w.answerError(rw, err)
		return
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Header().Set("X-Content-Type-Options", "nosniff")
	rw.Write(body) // the client notices if it does not arrive
}

func (w *Witness) addCheckpoint(rw http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body is over %d bytes", long.Limit)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "the body did not arrive")
	}
	return w.cosign(r.Context(), body)
}

// answerError tells the client of a refusal, and of other errors nothing but
// that there was one.
func (w *Witness) answerError(rw http.ResponseWriter, err error) {
	var no *refusal
	switch {
	case errors.As(err, &no) && no.status == http.StatusConflict:
		rw.Header().Set("Content-Type", sizeType)
		rw.WriteHeader(no.status)
		fmt.Fprintf(rw, "%d\n", no.known)
	case errors.As(err, &no):
		http.Error(rw, no.why, no.status)
	case errors.Is(err, errHeld), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		w.cfg.Logger.Warn("witness: a request waited for the state in vain", "err", err)
		http.Error(rw, "busy", http.StatusServiceUnavailable)
	default:
		w.cfg.Logger.Error("witness: the state could not be read or written; nothing was cosigned", "err", err)
		http.Error(rw, "the state could not be read or written", http.StatusInternalServerError)
	}
}

// checkpoint returns the newest cosigned note of the log whose origin has a
// hash.
func (w *Witness) checkpoint(originHash string) ([]byte, error) {
	logs, err := w.state.load()
	if err != nil {
		return nil, err
	}
	for origin, c := range logs {
		if sum := sha256.Sum256([]byte(origin)); hex.EncodeToString(sum[:]) == originHash {
			return c.Note, nil
		}
	}
	return nil, refuse(http.StatusNotFound, "nothing was cosigned of such a log")
}

// cosign answers a request with a signature line, which it gives only once the
// checkpoint is durable.
func (w *Witness) cosign(ctx context.Context, body []byte) ([]byte, error) {
	r, err := parseRequest(body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	c, signed, err := w.open(r.note)
	if err != nil {
		w.cfg.Logger.Info("witness: refused", "origin", c.Origin, "size", c.Size, "why", err)
		return nil, err
	}
	if r.old > c.Size {
		return nil, refuse(http.StatusBadRequest, "the old size is %d, the checkpoint's %d", r.old, c.Size)
	}
	var line []byte
	var known attestlog.Checkpoint // the zero checkpoint if nothing was cosigned
	err = w.state.update(ctx, func(logs newest) (bool, error) {
		known = logs[c.Origin]
		if err := extends(known, c, r); err != nil {
			return false, err
		}
		c.Note, line, err = w.sign(signed)
		logs[c.Origin] = c
		return err == nil, err
	})
	if err != nil {
		w.logRefusal(err, known, c)
		return nil, err
	}
	w.cfg.Logger.Info("witness: cosigned", "origin", c.Origin, "size", c.Size, "old", r.old)
	return line, nil
}

// logRefusal logs both notes where the refused one, which the log signed, may
// show that the log forked or was rolled back.
func (w *Witness) logRefusal(err error, known, c attestlog.Checkpoint) {
	var no *refusal
	if !errors.As(err, &no) {
		return // answerError does
	}
	attrs := []any{"origin", c.Origin, "size", c.Size, "known", known.Size, "why", no.why}
	evidence := append(attrs, "cosigned_note", string(known.Note), "refused_note", string(c.Note))
	switch {
	case c.Size == known.Size && c.Root != known.Root && known.Note != nil:
		w.cfg.Logger.Error("witness: a log signed two trees of one size", evidence...)
	case no.status == http.StatusUnprocessableEntity:
		w.cfg.Logger.Error("witness: a checkpoint was not shown to extend the cosigned one", evidence...)
	case c.Size < known.Size:
		w.cfg.Logger.Warn("witness: a checkpoint is older than the cosigned one", evidence...)
	default:
		w.cfg.Logger.Info("witness: refused", attrs...) // the log asks for the size this way
	}
}

// open reads a signed checkpoint and demands a signature of a key of its log.
// The note has the log's signatures and no others.
func (w *Witness) open(signed []byte) (attestlog.Checkpoint, *note.Note, error) {
	c, err := attestlog.ParseCheckpoint(signed)
	if err != nil {
		return c, nil, refuse(http.StatusBadRequest, "%v", err)
	}
	keys, ok := w.cfg.Logs[c.Origin]
	if !ok {
		return c, nil, refuse(http.StatusNotFound, "the log is unknown here")
	}
	n, err := note.Open(signed, note.VerifierList(keys...))
	var none *note.UnverifiedNoteError
	var bad *note.InvalidSignatureError
	switch {
	case errors.As(err, &none), errors.As(err, &bad):
		return c, nil, refuse(http.StatusForbidden, "no key of the log that is known here signed the checkpoint")
	case err != nil:
		return c, nil, refuse(http.StatusBadRequest, "%v", err)
	case strings.Contains(n.Text, "\n\n"):
		return c, nil, refuse(http.StatusBadRequest, "checkpoint: has an empty line")
	}
	n.UnverifiedSigs = nil
	return c, n, nil
}

// extends checks that c, which its log signed, extends what was cosigned of
// the log.
func extends(known, c attestlog.Checkpoint, r request) error {
	empty, err := tlog.TreeHash(0, nil) // RFC 6962, Section 2.1
	if err != nil {
		return err
	}
	if known.Size == 0 {
		known.Root = empty
	}
	switch {
	case c.Size == 0 && c.Root != empty:
		return refuse(http.StatusUnprocessableEntity, "a tree of size 0 has another root")
	case r.old != known.Size:
		return conflict(known.Size, "the old size is another")
	case c.Size == known.Size && c.Root != known.Root:
		return conflict(known.Size, "another tree of this size was cosigned")
	case r.old == 0 && len(r.proof) != 0:
		return refuse(http.StatusUnprocessableEntity, "a proof from size 0 is empty")
	case r.old == 0:
		return nil
	}
	// The old size is at most that of c: cosign looked.
	if err := tlog.CheckTree(r.proof, int64(c.Size), c.Root, int64(known.Size), known.Root); err != nil {
		return refuse(http.StatusUnprocessableEntity, "the consistency proof does not hold")
	}
	return nil
}

// timed signs as of a time.
type timed struct {
	*Signer
	at time.Time
}

func (t timed) Sign(text []byte) ([]byte, error) { return t.signAt(text, t.at) }

// sign returns the note with a cosignature, and the cosignature's line.
func (w *Witness) sign(n *note.Note) (signed, line []byte, err error) {
	signed, err = note.Sign(n, timed{w.cfg.Signer, w.cfg.Clock()})
	return signed, signed[bytes.LastIndex(signed, []byte("\n— "))+1:], err
}
