package audithttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// A writer notes the status that a handler answers with.
type writer struct {
	http.ResponseWriter
	status   int // 0: not written yet
	hijacked bool
}

// Unwrap lets http.ResponseController reach the server's own writer.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the status, unless it is informational (RFC 9110, Section
// 15.2): another follows it then.
func (w *writer) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.begun()
	return w.ResponseWriter.Write(p)
}

// WriteString is for io.WriteString.
func (w *writer) WriteString(s string) (int, error) {
	w.begun()
	return io.WriteString(w.ResponseWriter, s)
}

func (w *writer) begun() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
}

// The optional interfaces of a server's writer that handlers ask for by
// assertion. Each is there exactly if the server's writer has it.

type flusher struct{ *writer }

func (w flusher) Flush() {
	w.begun()
	w.ResponseWriter.(http.Flusher).Flush()
}

// FlushError is what http.ResponseController calls.
func (w flusher) FlushError() error {
	w.begun()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

type hijacker struct{ *writer }

func (w hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := w.ResponseWriter.(http.Hijacker).Hijack()
	w.hijacked = w.hijacked || err == nil
	return conn, rw, err
}

type readerFrom struct{ *writer }

// ReadFrom lets the server copy a file in the kernel.
func (w readerFrom) ReadFrom(r io.Reader) (int64, error) {
	w.begun()
	return w.ResponseWriter.(io.ReaderFrom).ReadFrom(r)
}

// wrapped returns the writer with those optional interfaces that the server's
// has. HTTP/1 has all three, HTTP/2 the first.
func (w *writer) wrapped() http.ResponseWriter {
	_, f := w.ResponseWriter.(http.Flusher)
	_, h := w.ResponseWriter.(http.Hijacker)
	_, r := w.ResponseWriter.(io.ReaderFrom)
	switch {
	case f && h && r:
		return struct {
			*writer
			flush
			http.Hijacker
			io.ReaderFrom
		}{w, flusher{w}, hijacker{w}, readerFrom{w}}
	case f && h:
		return struct {
			*writer
			flush
			http.Hijacker
		}{w, flusher{w}, hijacker{w}}
	case f && r:
		return struct {
			*writer
			flush
			io.ReaderFrom
		}{w, flusher{w}, readerFrom{w}}
	case h && r:
		return struct {
			*writer
			http.Hijacker
			io.ReaderFrom
		}{w, hijacker{w}, readerFrom{w}}
	case f:
		return struct {
			*writer
			flush
		}{w, flusher{w}}
	case h:
		return struct {
			*writer
			http.Hijacker
		}{w, hijacker{w}}
	case r:
		return struct {
			*writer
			io.ReaderFrom
		}{w, readerFrom{w}}
	}
	return w
}

type flush interface {
	http.Flusher
	FlushError() error
}
