package server

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// body reads a request's body whole. ServeHTTP has bounded it.
func (s *Server) body(r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, unreadable(err)
	}
	return s.inflate(r.Header.Get("Content-Encoding"), raw)
}

// inflate undoes a body's Content-Encoding. The result has the same bound as the
// body, so that a small body cannot become a huge one.
func (s *Server) inflate(encoding string, body []byte) ([]byte, error) {
	switch encoding {
	case "", "identity":
		return body, nil
	case "gzip":
	default:
		return nil, problem(http.StatusUnsupportedMediaType,
			fmt.Sprintf("Content-Encoding %q: want gzip or none", encoding))
	}

	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, problem(http.StatusBadRequest, "the body is not gzip: "+err.Error())
	}
	out, err := io.ReadAll(io.LimitReader(z, s.cfg.MaxBody+1))
	if err != nil {
		return nil, problem(http.StatusBadRequest, "the body is not gzip: "+err.Error())
	}
	if int64(len(out)) > s.cfg.MaxBody {
		return nil, tooLarge(s.cfg.MaxBody)
	}
	return out, nil
}

// unreadable returns the answer to a body that could not be read.
func unreadable(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return tooLarge(large.Limit)
	}
	return problem(http.StatusBadRequest, "the body could not be read: "+err.Error())
}

func tooLarge(limit int64) error {
	return problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", limit))
}
