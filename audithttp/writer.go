package audithttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// A writer notes the status that a handler answers with. It is written by hand,
// where github.com/felixge/httpsnoop would do, because this package compiles
// nothing but the standard library.
type writer struct {
	http.ResponseWriter
	status   int // 0 until the handler writes
	hijacked bool
}

// Unwrap lets http.ResponseController reach the server's own writer.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the status, unless that is informational (RFC 9110, Section
// 15.2) and another follows.
func (w *writer) WriteHeader(status int) {
	isFinal := status >= 200 || status == http.StatusSwitchingProtocols
	if w.status == 0 && isFinal {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

// WriteString implements io.StringWriter.
func (w *writer) WriteString(s string) (int, error) {
	w.begin()
	return io.WriteString(w.ResponseWriter, s)
}

// begin notes the status of an answer that begins with its body.
func (w *writer) begin() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
}

// The types that follow have the optional interfaces of a server's writer, which
// handlers ask for with a type assertion.

type flusher struct{ *writer }

// Flush implements http.Flusher.
func (w flusher) Flush() {
	w.begin()
	w.ResponseWriter.(http.Flusher).Flush()
}

// FlushError is what http.ResponseController calls.
func (w flusher) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

type hijacker struct{ *writer }

// Hijack implements http.Hijacker.
func (w hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := w.ResponseWriter.(http.Hijacker).Hijack()
	if err == nil {
		w.hijacked = true
	}
	return conn, rw, err
}

type readerFrom struct{ *writer }

// ReadFrom implements io.ReaderFrom. It lets the server copy a file in the kernel.
func (w readerFrom) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	return w.ResponseWriter.(io.ReaderFrom).ReadFrom(r)
}

type flush interface {
	http.Flusher
	FlushError() error
}

// wrapped returns the writer with exactly those optional interfaces that the
// server's writer has, because a handler uses each that it finds. HTTP/1 has all
// three, HTTP/2 the first.
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
