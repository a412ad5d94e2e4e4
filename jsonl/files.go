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

const (
	gzipSuffix  = ".gz"
	indexDigits = 20
)

// Files returns the files of a follower that was opened with path, oldest
// first: path itself if it exists, then the rotated ones, also those that were
// compressed afterwards (audit-00000000000000000000.jsonl.gz) unless the plain
// file is still there. None is no error.
func Files(path string) ([]string, error) {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("jsonl: files of %s: %w", path, err)
	}
	var files []string
	for _, e := range entries { // sorted: path.gz comes behind path
		plain := strings.TrimSuffix(e.Name(), gzipSuffix)
		_, indexed := firstIndex(base, plain)
		switch n := len(files); {
		case !indexed || n > 0 && files[n-1] == dir+plain:
		default:
			files = append(files, dir+e.Name())
		}
	}
	if _, err := os.Stat(path); err == nil {
		files = slices.Insert(files, 0, path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("jsonl: %w", err)
	}
	return files, nil
}

// firstIndex returns the index in the name of a rotated file of base.
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

func (f *Follower) firstIndex(name string) (uint64, bool) {
	return firstIndex(filepath.Base(f.path), filepath.Base(name))
}

// indexed returns the path of the file whose first entry is next.
func (f *Follower) indexed(next uint64) string {
	ext := filepath.Ext(f.path)
	return fmt.Sprintf("%s-%0*d%s", strings.TrimSuffix(f.path, ext), indexDigits, next, ext)
}

// newer reports whether file a comes after b.
func (f *Follower) newer(a, b string) bool {
	i, ok := f.firstIndex(a)
	if !ok {
		return false
	}
	j, ok := f.firstIndex(b)
	return !ok || i > j
}

// openFile opens a file for reading, a compressed one for what is in it.
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

type gzipFile struct {
	*gzip.Reader
	file *os.File
}

func (g gzipFile) Close() error { return errors.Join(g.Reader.Close(), g.file.Close()) }
