package server

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// retryAfter is how many seconds a client should wait while the log takes
// nothing.
const retryAfter = 1

// problem returns an answer that is an error (RFC 9457). detail is for everybody
// to read.
func problem(status int, detail string) error { return huma.NewError(status, detail) }

func unauthorized(detail string) error {
	return huma.ErrorWithHeaders(
		problem(http.StatusUnauthorized, detail),
		http.Header{"WWW-Authenticate": {"Bearer"}},
	)
}

// problemOf turns an error of the log into an answer; an error that is an answer
// already stays. An error that is not for the client is logged under the
// request's id, and answered without its text. Tampering raises an alarm.
func (s *Server) problemOf(ctx context.Context, err error) error {
	var status huma.StatusError
	if errors.As(err, &status) {
		return err
	}

	r := requestOf(ctx)
	var corrupt *attestlog.CorruptError
	if errors.As(err, &corrupt) {
		s.hostedOf(r).alarms.set(AlarmTampered, err)
		return problem(http.StatusInternalServerError, "tampered: the log does not hold what it held: "+err.Error())
	}

	answer := problemOfClient(err)
	if answer != nil {
		return answer
	}
	if ctx.Err() != nil {
		return problem(http.StatusServiceUnavailable,
			"the request ended first; whether its events are stored is unknown, and sending them again with the same ids tells")
	}

	s.cfg.Logger.Error("server: a request failed", "request", r.id, "path", r.http.URL.Path, "err", err)
	return problemOfLog(err, r.id)
}

// problemOfClient returns the answer to an error that a client can do something
// about, or nil.
func problemOfClient(err error) error {
	var field *attestlog.FieldError
	var text *query.Error
	switch {
	case errors.As(err, &field):
		return huma.NewError(http.StatusUnprocessableEntity, err.Error(), &huma.ErrorDetail{
			Message:  field.Rule,
			Location: "body[" + strconv.Itoa(field.Event) + "]." + field.Field,
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
	}
	return nil
}

// problemOfLog returns the answer to an error that the server's log has under the
// request's id.
func problemOfLog(err error, id string) error {
	switch {
	case errors.Is(err, attestlog.ErrReadOnly):
		return problem(http.StatusServiceUnavailable,
			"the log can be read but not written; the server's log says why, request "+id)
	case errors.Is(err, attestlog.ErrUnavailable), errors.Is(err, attestlog.ErrQueueFull), errors.Is(err, attestlog.ErrClosed):
		return huma.ErrorWithHeaders(
			problem(http.StatusServiceUnavailable, "the log cannot take it now; send it again with the same ids"),
			http.Header{"Retry-After": {strconv.Itoa(retryAfter)}},
		)
	}
	return problem(http.StatusInternalServerError, seeLog(id))
}

func seeLog(id string) string { return "the request failed; the server's log says why, request " + id }

// hostedOf returns the log that a request is about.
func (s *Server) hostedOf(r *request) *hosted {
	h := s.logs[r.http.PathValue("log")]
	if h == nil {
		h = s.first // its path names none
	}
	return h
}

// writeProblem answers with an error of problem or problemOf.
func writeProblem(w http.ResponseWriter, err error) {
	var headers huma.HeadersError
	if errors.As(err, &headers) {
		maps.Copy(w.Header(), headers.GetHeaders())
	}

	var status huma.StatusError
	if !errors.As(err, &status) {
		status = huma.NewError(http.StatusInternalServerError, "the request failed")
	}
	body, _ := json.Marshal(status) // strings and numbers, which cannot fail

	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status.GetStatus())
	w.Write(body)
}
