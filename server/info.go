package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/attestlog/attestlog"
)

type logInfo struct {
	Name           string   `json:"name"`
	Origin         string   `json:"origin" doc:"The log's name in its checkpoints."`
	Size           uint64   `json:"size" doc:"Entries."`
	CheckpointSize uint64   `json:"checkpoint_size" doc:"Entries that the newest checkpoint covers."`
	Scopes         []string `json:"scopes" doc:"What the token may do."`
	Tenant         string   `json:"tenant,omitempty" doc:"The tenant that the token is limited to."`
	Actor          string   `json:"actor,omitempty" doc:"The actor that the token is limited to."`
	ReadOnly       string   `json:"read_only,omitempty" doc:"Why the log cannot be written, where it cannot."`
}

type listOutput struct {
	Body struct {
		Logs []logInfo `json:"logs"`
	}
}

func (s *Server) list(ctx context.Context, _ *struct{}) (*listOutput, error) {
	out := &listOutput{}
	out.Body.Logs = []logInfo{}
	enter, wrong := s.enter, func() error { return ErrToken }
	if r := requestOf(ctx); r.bearer != "" { // of all logs, or it is no guess
		limiter, err := s.guessing(r)
		if err != nil {
			return nil, err
		}
		enter = func(ctx context.Context, name, scope string) (*visit, error) {
			return s.present(ctx, s.logs[name], scope)
		}
		wrong = func() error { return s.wrong(limiter) }
	}
	last := ErrToken
	for _, l := range s.cfg.Logs {
		v, err := enter(ctx, l.Name, ScopeRead)
		if errors.Is(err, ErrToken) {
			continue
		} else if err != nil {
			last = err
			continue
		}
		info, err := s.infoOf(ctx, v)
		if err != nil {
			return nil, s.failed(ctx, err)
		}
		out.Body.Logs = append(out.Body.Logs, info)
	}
	switch {
	case len(out.Body.Logs) > 0:
		return out, nil
	case errors.Is(last, ErrToken):
		return nil, wrong()
	}
	return nil, last
}

type infoOutput struct {
	Body logInfo
}

func (s *Server) info(ctx context.Context, in *logInput) (*infoOutput, error) {
	v, err := s.enter(ctx, in.Log, ScopeRead)
	if err != nil {
		return nil, err
	}
	info, err := s.infoOf(ctx, v)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return &infoOutput{info}, nil
}

func (s *Server) infoOf(ctx context.Context, v *visit) (logInfo, error) {
	size, err := v.log.log.Size(ctx)
	if err != nil {
		return logInfo{}, err
	}
	c, err := s.published(ctx, v.log)
	if err != nil && !errors.Is(err, attestlog.ErrNotFound) && !errors.Is(err, errNotCosigned) {
		return logInfo{}, err
	}
	info := logInfo{
		Name: v.log.name, Origin: v.log.log.Origin(), Size: size, CheckpointSize: c.Size, Scopes: slices.Clone(v.token.Scopes),
		Tenant: v.token.Tenant, Actor: v.token.Actor,
	}
	if why := v.log.log.ReadOnly(); why != nil {
		info.ReadOnly = why.Error()
	}
	return info, nil
}

// healthz says that the server answers.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("ok\n"))
}

// readyWait bounds how long a store may take to say that it is there.
const readyWait = 2 * time.Second

// readyz says whether every log would take an event now. Why not is for the
// server's log: anybody may ask.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyWait)
	defer cancel()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	select {
	case <-s.stopping:
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write([]byte("stopping\n"))
		return
	default:
	}
	for name, h := range s.logs {
		if err := h.log.Ready(ctx); err != nil {
			s.cfg.Logger.Warn("server: a log is not ready", "log", name, "err", err)
			w.WriteHeader(http.StatusServiceUnavailable)
			w.Write([]byte("not ready\n"))
			return
		}
	}
	w.Write([]byte("ok\n"))
}

// figures are for Prometheus, and for a token that may see everything.
func (s *Server) figures(w http.ResponseWriter, r *http.Request) {
	if _, err := s.whole(r.Context(), s.first.name, ScopeAdmin); err != nil {
		writeProblem(w, err)
		return
	}
	s.metrics.handler.ServeHTTP(w, r)
}
