package convert

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Open opens a file for reading, through gzip if its first bytes say so (RFC
// 1952, Section 2.3.1), whatever its name. A file may have several members.
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

// Gunzip returns r's content, decompressed if it starts as gzip does.
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

// SourceName returns the name of the source that a file is: the path's base
// name without ".gz".
func SourceName(path string) string {
	return strings.TrimSuffix(filepath.Base(path), ".gz")
}
