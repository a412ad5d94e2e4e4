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
	why    string // the answer's text, except with status 409
	known  uint64 // the size that is the answer with status 409
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
	var method string
	switch name {
	case "add-checkpoint":
		method = http.MethodPost
	case "checkpoint":
		method = http.MethodGet
	default:
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
	if method == http.MethodPost {
		body, err = w.addCheckpoint(rw, r)
	} else {
		body, err = w.checkpoint(path.Base(dir))
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
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body is over %d bytes", tooLong.Limit)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "the body did not arrive")
	}
	return w.cosign(r.Context(), body)
}

// answerError tells the client why it was refused. Of other errors it tells only
// that there was one, and logs them.
func (w *Witness) answerError(rw http.ResponseWriter, err error) {
	var refused *refusal
	isRefusal := errors.As(err, &refused)
	isBusy := errors.Is(err, errHeld) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)

	switch {
	case isRefusal && refused.status == http.StatusConflict:
		rw.Header().Set("Content-Type", sizeType)
		rw.WriteHeader(refused.status)
		fmt.Fprintf(rw, "%d\n", refused.known)
	case isRefusal:
		http.Error(rw, refused.why, refused.status)
	case isBusy:
		w.cfg.Logger.Warn("witness: a request waited for the state in vain", "err", err)
		http.Error(rw, "busy", http.StatusServiceUnavailable)
	default:
		w.cfg.Logger.Error("witness: the state could not be read or written; nothing was cosigned", "err", err)
		http.Error(rw, "the state could not be read or written", http.StatusInternalServerError)
	}
}

// checkpoint returns the newest cosigned note of the log whose origin has a
// SHA-256, given in lower-case hex.
func (w *Witness) checkpoint(originHash string) ([]byte, error) {
	logs, err := w.state.load()
	if err != nil {
		return nil, err
	}

	for origin, c := range logs {
		sum := sha256.Sum256([]byte(origin))
		if hex.EncodeToString(sum[:]) == originHash {
			return c.Note, nil
		}
	}
	return nil, refuse(http.StatusNotFound, "nothing of such a log was cosigned")
}

// cosign answers a request with a signature line, and only once the checkpoint
// is durable.
func (w *Witness) cosign(ctx context.Context, body []byte) ([]byte, error) {
	r, err := parseRequest(body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	c, signed, err := w.openCheckpoint(r.note)
	if err != nil {
		w.cfg.Logger.Info("witness: refused", "origin", c.Origin, "size", c.Size, "why", err)
		return nil, err
	}
	if r.old > c.Size {
		return nil, refuse(http.StatusBadRequest, "the old size is %d, the checkpoint's %d", r.old, c.Size)
	}

	var line []byte
	var known attestlog.Checkpoint // the zero checkpoint if nothing was cosigned
	err = w.state.update(ctx, func(logs newest) error {
		known = logs[c.Origin]
		err := checkExtends(known, c, r)
		if err != nil {
			return err
		}

		c.Note, line, err = w.sign(signed)
		logs[c.Origin] = c
		return err
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
	var refused *refusal
	if !errors.As(err, &refused) {
		return // answerError logs it
	}

	attrs := []any{"origin", c.Origin, "size", c.Size, "known", known.Size, "why", refused.why}
	evidence := append(attrs, "cosigned_note", string(known.Note), "refused_note", string(c.Note))
	otherTree := known.Note != nil && c.Size == known.Size && c.Root != known.Root
	switch {
	case otherTree:
		w.cfg.Logger.Error("witness: a log signed two trees of one size", evidence...)
	case refused.status == http.StatusUnprocessableEntity:
		w.cfg.Logger.Error("witness: a checkpoint was not shown to extend the cosigned one", evidence...)
	case c.Size < known.Size:
		w.cfg.Logger.Warn("witness: a checkpoint is older than the cosigned one", evidence...)
	default:
		w.cfg.Logger.Info("witness: refused", attrs...) // logs ask for the size this way
	}
}

// openCheckpoint reads a signed checkpoint and checks that a key of its log
// signed it. The note has the log's signatures and no others.
func (w *Witness) openCheckpoint(signed []byte) (attestlog.Checkpoint, *note.Note, error) {
	c, err := attestlog.ParseCheckpoint(signed)
	if err != nil {
		return c, nil, refuse(http.StatusBadRequest, "%v", err)
	}
	keys, ok := w.cfg.Logs[c.Origin]
	if !ok {
		return c, nil, refuse(http.StatusNotFound, "the log is unknown here")
	}

	n, err := note.Open(signed, note.VerifierList(keys...))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified), errors.As(err, &invalid):
		return c, nil, refuse(http.StatusForbidden, "no key of the log that is known here signed the checkpoint")
	case err != nil:
		return c, nil, refuse(http.StatusBadRequest, "%v", err)
	case strings.Contains(n.Text, "\n\n"):
		return c, nil, refuse(http.StatusBadRequest, "checkpoint: has an empty line")
	}

	n.UnverifiedSigs = nil
	return c, n, nil
}

// checkExtends checks that c, which its log signed, extends the tree that was
// cosigned of the log. c is at least as large as the request's old size.
func checkExtends(known, c attestlog.Checkpoint, r request) error {
	empty, err := tlog.TreeHash(0, nil) // RFC 6962, Section 2.1
	if err != nil {
		return err
	}
	if known.Size == 0 { // nothing was cosigned, or the empty tree
		known.Root = empty
	}

	switch {
	case c.Size == 0 && c.Root != empty:
		return refuse(http.StatusUnprocessableEntity, "the root is not that of an empty tree")
	case r.old != known.Size:
		return conflict(known.Size, "the old size is another")
	case c.Size == known.Size && c.Root != known.Root:
		return conflict(known.Size, "another tree of this size was cosigned")
	case r.old == 0 && len(r.proof) != 0:
		return refuse(http.StatusUnprocessableEntity, "a proof from size 0 is empty")
	case r.old == 0:
		return nil
	}

	err = tlog.CheckTree(r.proof, int64(c.Size), c.Root, int64(known.Size), known.Root)
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "the consistency proof does not hold")
	}
	return nil
}

// A signerAt is a note.Signer that signs as of a time.
type signerAt struct {
	*Signer
	when time.Time
}

func (s signerAt) Sign(text []byte) ([]byte, error) { return s.signAt(text, s.when) }

// sign returns the note with a cosignature, and the cosignature's line.
func (w *Witness) sign(n *note.Note) (signed, line []byte, err error) {
	signed, err = note.Sign(n, signerAt{w.cfg.Signer, w.cfg.Clock()})
	if err != nil {
		return nil, nil, err
	}

	line = signed[bytes.LastIndex(signed, []byte("\n— "))+1:]
	return signed, line, nil
}
