package server

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// inflate undoes a body's Content-Encoding. What comes out is bounded like what
// came in, so that a small body cannot become a huge one.
func (s *Server) inflate(encoding string, body []byte) ([]byte, error) {
	switch encoding {
	case "", "identity":
		return body, nil
	case "gzip":
	default:
		return nil, problem(http.StatusUnsupportedMediaType, fmt.Sprintf("Content-Encoding %q: gzip or none", encoding))
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
		return nil, s.tooLarge()
	}
	return out, nil
}

// body reads a request's body whole.
func (s *Server) body(r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, s.unread(err)
	}
	return s.inflate(r.Header.Get("Content-Encoding"), raw)
}

func (s *Server) tooLarge() error {
	return problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", s.cfg.MaxBody))
}

// unread is the answer where a body could not be read.
func (s *Server) unread(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", large.Limit))
	}
	return problem(http.StatusBadRequest, "the body could not be read: "+err.Error())
}
