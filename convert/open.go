package convert

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Open opens a file for reading. If its first bytes are those of gzip (RFC 1952,
// Section 2.3.1), it is decompressed, whatever its name is. It may have several
// gzip members.
func Open(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}

	r, err := Gunzip(f)
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

// Gunzip returns r's content, decompressed if its first bytes are those of gzip.
func Gunzip(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	magic, err := buffered.Peek(2)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if string(magic) != "\x1f\x8b" {
		return buffered, nil
	}
	return gzip.NewReader(buffered)
}

// SourceName returns the name of the source that a file is: the base name of its
// path without ".gz".
func SourceName(path string) string {
	return strings.TrimSuffix(filepath.Base(path), ".gz")
}
