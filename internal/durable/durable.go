// Package durable writes small files so that they are whole after a crash, and
// so that nobody else decides where the bytes go.
//
// A new content is written to a file of its own, with a random name and
// O_EXCL|O_NOFOLLOW: a file or a symlink that somebody put there before is
// never written to. That file is synced, renamed over the old one, and the
// folder is synced. A crash in between leaves it: the process that next takes
// the lock under which a file is replaced removes such leftovers (RemoveTemp).
//
// There is no library for all of this: google/renameio does not sync the folder
// and does not build for Windows.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Replace gives path a new content, durably, or leaves what was there. The new
// file has exactly the mode, whatever the umask. After an error of the
// folder's sync the new content is there, but may not survive a power failure.
func Replace(path string, content []byte, mode fs.FileMode) error {
	return replace(path, content, mode, os.Rename)
}

// Create is Replace for a file that must not be there yet: it fails with
// fs.ErrExist if there is anything under the name, and then leaves it alone.
func Create(path string, content []byte, mode fs.FileMode) error {
	return replace(path, content, mode, renameNew)
}

func replace(path string, content []byte, mode fs.FileMode, rename func(from, to string) error) error {
	file, err := CreateTemp(path, mode)
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once it has its own name

	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err != nil {
		return err
	}

	err = rename(file.Name(), path)
	if err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// renameReserved gives a file a name that must be free, where no one call does.
// O_EXCL takes the name with an empty file, which the rename then replaces. A
// crash between the two leaves the empty file, which no reader takes for a whole
// one.
func renameReserved(from, to string) error {
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
	if err != nil {
		return err
	}

	err = file.Close()
	if err == nil {
		err = os.Rename(from, to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}

const (
	tempSuffix = ".new"
	tempRandom = 16                                 // characters …
	tempChars  = "abcdefghijklmnopqrstuvwxyz234567" // … of these: see rand.Text
)

// CreateTemp creates a file next to path, to be renamed to it. Its name is
// path's with a dot, 16 random characters and ".new" appended.
func CreateTemp(path string, mode fs.FileMode) (*os.File, error) {
	name := path + "." + random() + tempSuffix
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|noFollow, mode)
	if err != nil {
		return nil, err
	}

	// The umask was applied.
	err = file.Chmod(mode)
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(name))
	}

	return file, nil
}

// RemoveTemp removes the files of CreateTemp that a crash left next to path, which
// it knows by their names alone. The caller sees to it that nobody else replaces
// path at this moment. One that cannot be removed does no harm, so callers may
// ignore the error.
func RemoveTemp(path string) error {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}

	var errs []error
	for _, e := range entries {
		if e.Type().IsRegular() && isTemp(e.Name(), base) {
			errs = append(errs, os.Remove(dir+e.Name()))
		}
	}
	return errors.Join(errs...)
}

// isTemp reports whether CreateTemp gives such a name to a file next to base.
func isTemp(name, base string) bool {
	rest, next := strings.CutPrefix(name, base+".")
	random, temp := strings.CutSuffix(rest, tempSuffix)
	return next && temp && len(random) == tempRandom && strings.Trim(random, tempChars) == ""
}

// ReadSecret reads a file that only its owner may read, as ssh does: it fails
// if the file is not a regular one, belongs to another user than this process
// or root, or can be read or written by others. Where the system has no such
// owners and modes, it reads the file.
func ReadSecret(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|noFollow|nonBlock, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()

	// The open file is asked: the name may lead to another one by now.
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", path)
	}
	err = checkSecret(info)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}

	return io.ReadAll(file)
}
