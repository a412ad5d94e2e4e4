package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// problem is an answer that is an error (RFC 9457).
func problem(status int, detail string) error { return huma.NewError(status, detail) }

func (s *Server) unauthorized(detail string) error {
	return huma.ErrorWithHeaders(problem(http.StatusUnauthorized, detail), http.Header{"WWW-Authenticate": {"Bearer"}})
}

// retryAfter is how many seconds a client should wait while the log takes
// nothing.
const retryAfter = 1

// failed turns an error of the log into an answer. What is not the client's
// business is logged, under the request's id, and answered without its text.
func (s *Server) failed(ctx context.Context, err error) error {
	var status huma.StatusError
	var field *attestlog.FieldError
	var text *query.Error
	var corrupt *attestlog.CorruptError
	r := requestOf(ctx)
	switch {
	case errors.As(err, &status):
		return err
	case errors.As(err, &corrupt):
		s.tampered(r, err)
		return problem(http.StatusInternalServerError, "the log was tampered with: "+err.Error())
	case errors.As(err, &field):
		return huma.NewError(http.StatusUnprocessableEntity, err.Error(), &huma.ErrorDetail{
			Message: field.Rule, Location: "body[" + strconv.Itoa(field.Event) + "]." + field.Field,
		})
	case errors.As(err, &text), errors.Is(err, attestlog.ErrCursor):
		return problem(http.StatusBadRequest, err.Error())
	case errors.Is(err, attestlog.ErrConflict):
		return problem(http.StatusConflict, err.Error())
	case errors.Is(err, attestlog.ErrTooLarge):
		return problem(http.StatusRequestEntityTooLarge, err.Error())
	case errors.Is(err, errNotCosigned):
		return problem(http.StatusServiceUnavailable, err.Error())
	case errors.Is(err, attestlog.ErrNotFound):
		return problem(http.StatusNotFound, err.Error())
	case ctx.Err() != nil:
		return problem(http.StatusServiceUnavailable, "the request ended first; whether its events are stored is unknown, and sending them again with the same ids tells")
	}
	s.cfg.Logger.Error("server: a request failed", "request", r.id, "path", r.http.URL.Path, "err", err)
	switch {
	case errors.Is(err, attestlog.ErrReadOnly):
		return problem(http.StatusServiceUnavailable, "the log can be read but not written; the server's log says why, request "+r.id)
	case errors.Is(err, attestlog.ErrUnavailable), errors.Is(err, attestlog.ErrQueueFull), errors.Is(err, attestlog.ErrClosed):
		return huma.ErrorWithHeaders(problem(http.StatusServiceUnavailable, "the log cannot take it now; send it again with the same ids"),
			http.Header{"Retry-After": {strconv.Itoa(retryAfter)}})
	}
	return problem(http.StatusInternalServerError, "the request failed; the server's log says why, request "+r.id)
}

// tampered raises an alarm for the log that a request was about.
func (s *Server) tampered(r *request, err error) {
	h := s.logs[r.http.PathValue("log")]
	if h == nil {
		h = s.first
	}
	s.raise(h, AlarmTampered, err.Error())
}

// writeProblem answers a plain request with an error of problem or failed.
func writeProblem(w http.ResponseWriter, err error) {
	var headers huma.HeadersError
	if errors.As(err, &headers) {
		for name, values := range headers.GetHeaders() {
			w.Header()[name] = values
		}
	}
	var status huma.StatusError
	if !errors.As(err, &status) {
		status = huma.NewError(http.StatusInternalServerError, "the request failed")
	}
	body, _ := json.Marshal(status) // strings and numbers
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status.GetStatus())
	w.Write(body)
}
