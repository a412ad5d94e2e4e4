package jsonl

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Suffixes of the names of other files than a follower's own.
const (
	lockSuffix     = ".lock"
	positionSuffix = ".position"
	gzipSuffix     = ".gz"
)

const indexDigits = 20

// Files returns the files of a follower that was opened with path, oldest
// first: path itself if it exists, then the rotated ones. A rotated file that
// was compressed (audit-00000000000000000000.jsonl.gz) is among them unless
// the plain file is still there. It is no error if there are none.
func Files(path string) ([]string, error) {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("jsonl: files of %s: %w", path, err)
	}

	var files []string
	for _, e := range entries { // sorted, so a plain file comes before a compressed one
		plain := strings.TrimSuffix(e.Name(), gzipSuffix)
		_, rotated := firstIndex(base, plain)
		again := len(files) > 0 && files[len(files)-1] == dir+plain
		if rotated && !again {
			files = append(files, dir+e.Name())
		}
	}

	_, err = os.Stat(path)
	switch {
	case err == nil:
		return slices.Insert(files, 0, path), nil
	case errors.Is(err, fs.ErrNotExist):
		return files, nil
	}
	return nil, fmt.Errorf("jsonl: %w", err)
}

// firstIndex returns the index in the name of a rotated file. base is the base
// name of the follower's path.
func firstIndex(base, name string) (uint64, bool) {
	ext := filepath.Ext(base)
	digits, ok := strings.CutPrefix(name, strings.TrimSuffix(base, ext)+"-")
	if !ok {
		return 0, false
	}
	digits, ok = strings.CutSuffix(digits, ext)
	if !ok || len(digits) != indexDigits {
		return 0, false
	}

	n, err := strconv.ParseUint(digits, 10, 63)
	return n, err == nil
}

// firstIndex returns the index in the name of one of the follower's rotated
// files.
func (f *Follower) firstIndex(name string) (uint64, bool) {
	return firstIndex(filepath.Base(f.path), filepath.Base(name))
}

// rotatedName returns the path of the rotated file whose first entry is next.
func (f *Follower) rotatedName(next uint64) string {
	ext := filepath.Ext(f.path)
	return fmt.Sprintf("%s-%0*d%s", strings.TrimSuffix(f.path, ext), indexDigits, next, ext)
}

// isAfter reports whether file a comes after file b.
func (f *Follower) isAfter(a, b string) bool {
	i, ok := f.firstIndex(a)
	if !ok {
		return false
	}
	j, ok := f.firstIndex(b)
	return !ok || i > j
}

// openFile opens a file for reading. A compressed one is decompressed.
func openFile(name string) (io.ReadCloser, error) {
	file, err := os.Open(name)
	if err != nil || !strings.HasSuffix(name, gzipSuffix) {
		return file, err
	}

	r, err := gzip.NewReader(file)
	if err != nil {
		file.Close()
		return nil, &os.PathError{Op: "read", Path: name, Err: err}
	}
	return gzipFile{r, file}, nil
}

// A gzipFile closes the file that it reads.
type gzipFile struct {
	*gzip.Reader
	file *os.File
}

func (g gzipFile) Close() error { return errors.Join(g.Reader.Close(), g.file.Close()) }
