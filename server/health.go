package server

import (
	"context"
	"io"
	"net/http"
	"time"
)

// readyWait bounds how long the logs may take to say that they are ready.
const readyWait = 2 * time.Second

// healthz says that the server answers.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeText(w, http.StatusOK, "ok\n")
}

// readyz says whether every log would take an event now. The reason is in the
// server's log only, because anybody may ask.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if s.life.stopping() {
		writeText(w, http.StatusServiceUnavailable, "stopping\n")
		return
	}

	ctx, cancel := context.WithTimeout(r.Context(), readyWait)
	defer cancel()
	for name, h := range s.logs {
		err := h.log.Ready(ctx)
		if err != nil {
			s.cfg.Logger.Warn("server: a log is not ready", "log", name, "err", err)
			writeText(w, http.StatusServiceUnavailable, "not ready\n")
			return
		}
	}
	writeText(w, http.StatusOK, "ok\n")
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, text)
}
