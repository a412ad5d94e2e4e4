package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/attestlog/attestlog"
)

// writeWait bounds how long a client may take to read what it is sent, before
// the connection is given up.
const writeWait = 30 * time.Second

// tail sends entries as Server-Sent Events (html.spec.whatwg.org, "Server-sent
// events"): those from the parameter from on, or behind Last-Event-ID, or new
// ones alone. An event's id is the entry's index, so a client that connects
// again misses nothing and sees nothing twice.
//
//	id: 7
//	data: {"index":7,"action":"mail.view",…}
func (s *Server) tail(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	v, err := s.enter(ctx, r.PathValue("log"), ScopeRead)
	if err != nil {
		writeProblem(w, err)
		return
	}
	text, asLines := r.URL.Query().Get("q"), r.URL.Query().Get("lines") == "true"
	q, err := v.query(text)
	if err != nil {
		writeProblem(w, s.failed(ctx, err))
		return
	}
	size, err := v.log.log.Size(ctx)
	if err != nil {
		writeProblem(w, s.failed(ctx, err))
		return
	}
	from, err := tailFrom(r, size)
	if err != nil {
		writeProblem(w, err)
		return
	}
	if err := s.note(ctx, v, "audit.tail", "read", map[string]any{"query": text, "from": from}); err != nil {
		writeProblem(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy shall not wait for more
	rc := http.NewResponseController(w)
	rc.SetWriteDeadline(time.Now().Add(writeWait))
	w.WriteHeader(http.StatusOK)
	if rc.Flush() != nil || r.Method == http.MethodHead { // which a pattern of GET matches too
		return
	}
	s.metrics.tails.Inc()
	defer s.metrics.tails.Dec()
	err = v.log.hub.tail(ctx, from, q, func(e *followed) error {
		if err := v.still(ctx, s.cfg.Clock()); err != nil {
			return err
		}
		rc.SetWriteDeadline(time.Now().Add(writeWait))
		return errors.Join(sendEvent(w, e, asLines), rc.Flush())
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, errStopping) {
		s.cfg.Logger.Warn("server: a tail ended", "log", v.log.name, "request", v.id, "err", err)
	}
}

// sendEvent writes an entry, or without one a sign of life.
func sendEvent(w io.Writer, e *followed, asLine bool) error {
	if e == nil {
		_, err := io.WriteString(w, ":\n\n")
		return err
	}
	text, err := e.json()
	if asLine {
		text, err = attestlog.AppendLine(nil, &attestlog.RawEntry{Index: e.Index, Leaf: e.Leaf, Disclosures: e.Disclosures}), nil
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", e.Index, text)
	}
	return err
}

// tailFrom returns the index that a tail begins at.
func tailFrom(r *http.Request, size uint64) (uint64, error) {
	given, behind := r.Header.Get("Last-Event-ID"), uint64(1)
	if given == "" {
		given, behind = r.URL.Query().Get("from"), 0
	}
	if given == "" {
		return size, nil
	}
	n, err := strconv.ParseUint(given, 10, 62)
	if err != nil {
		return 0, problem(http.StatusBadRequest, "Last-Event-ID and from are indexes of entries")
	}
	if n+behind > size {
		return 0, problem(http.StatusBadRequest, fmt.Sprintf("the log has %d entries, so there is none at %d to go on behind", size, n))
	}
	return n + behind, nil
}
