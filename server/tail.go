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

// writeWait bounds how long a client may take to read a part of a stream before
// its connection is closed.
const writeWait = 30 * time.Second

// tail sends entries as Server-Sent Events (html.spec.whatwg.org, "Server-sent
// events"): those from the parameter from on, or after Last-Event-ID, or new ones
// alone. An event's id is the entry's index, so a client that connects again
// misses nothing and sees nothing twice.
//
//	id: 7
//	data: {"index":7,"action":"mail.view",…}
func (s *Server) tail(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	text := r.URL.Query().Get("q")
	asLines := r.URL.Query().Get("lines") == "true"

	v, q, err := s.enterQuery(ctx, r.PathValue("log"), text)
	if err != nil {
		writeProblem(w, err)
		return
	}
	size, err := v.log.Size(ctx)
	if err != nil {
		writeProblem(w, s.problemOf(ctx, err))
		return
	}
	from, err := tailFrom(r, size)
	if err != nil {
		writeProblem(w, err)
		return
	}
	err = s.recordLook(ctx, v, "audit.tail", "read", map[string]any{"query": text, "from": from})
	if err != nil {
		writeProblem(w, err)
		return
	}

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx must not wait for more
	rc := http.NewResponseController(w)
	rc.SetWriteDeadline(time.Now().Add(writeWait))
	w.WriteHeader(http.StatusOK)
	err = rc.Flush()
	if err != nil || r.Method == http.MethodHead { // which a pattern of GET matches too
		return
	}

	s.metrics.tails.Inc()
	defer s.metrics.tails.Dec()
	err = v.hosted.hub.tail(ctx, from, q, func(e *sharedEntry) error {
		err := v.stillValid(ctx, s.cfg.Clock())
		if err != nil {
			return err
		}
		if e != nil {
			v.noteDamage(&e.Entry)
		}
		rc.SetWriteDeadline(time.Now().Add(writeWait))
		return errors.Join(sendEvent(w, e, asLines), rc.Flush())
	})

	expected := ctx.Err() != nil || errors.Is(err, errStopping)
	if err != nil && !expected {
		s.cfg.Logger.Warn("server: a tail ended", "log", v.hosted.name, "request", v.id, "err", err)
	}
}

// sendEvent writes an entry, or if there is none, a comment that shows that the
// connection lives.
func sendEvent(w io.Writer, e *sharedEntry, asLine bool) error {
	if e == nil {
		_, err := io.WriteString(w, ":\n\n")
		return err
	}

	var text []byte
	var err error
	if asLine {
		raw := e.Raw()
		text = attestlog.AppendLine(nil, &raw)
	} else {
		text, err = e.json()
	}
	if err != nil {
		return err
	}

	_, err = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", e.Index, text)
	return err
}

// tailFrom returns the index that a tail begins at, in a log of a size.
func tailFrom(r *http.Request, size uint64) (uint64, error) {
	given := r.URL.Query().Get("from")
	skip := uint64(0)

	// The header comes first: a browser that connects again sends it with the same
	// URL as before, from included.
	lastSeen := r.Header.Get("Last-Event-ID")
	if lastSeen != "" {
		given = lastSeen
		skip = 1
	}
	if given == "" {
		return size, nil
	}

	n, err := strconv.ParseUint(given, 10, 62)
	if err != nil {
		return 0, problem(http.StatusBadRequest, "Last-Event-ID and from are indexes of entries")
	}
	if n+skip > size {
		return 0, problem(http.StatusBadRequest,
			fmt.Sprintf("the log has %d entries, so no tail can begin at entry %d", size, n+skip))
	}
	return n + skip, nil
}
