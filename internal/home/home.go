// Package home keeps a log's keys and its newest checkpoint in files.
//
// The files share a base name. Those of a log in a database file are next to
// it, and BASE is the database's own name:
//
//	BASE.key         the signing key; only its owner may read it
//	BASE.pub         the verifier keys, one a line, oldest first
//	BASE.checkpoint  the newest signed checkpoint (c2sp.org/tlog-checkpoint)
//	BASE.lock        empty; locked while one of the others is replaced
//
// The keys are in the form of golang.org/x/mod/sumdb/note. A file is replaced
// as package durable does, so a crash leaves the old content or the new. It may
// also leave a file like BASE.key.c5rjbbyk6mjh3yw4.new, which the next process to
// take the lock removes.
package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/durable"
	"github.com/attestlog/attestlog/internal/filelock"
)

// Suffixes of the files' names.
const (
	keySuffix        = ".key"
	verifierSuffix   = ".pub"
	checkpointSuffix = ".checkpoint"
	lockSuffix       = ".lock"
)

const (
	secretMode fs.FileMode = 0o600
	publicMode fs.FileMode = 0o644
)

// Files is an attestlog.Home of files that share a base name. Its methods are
// safe for concurrent use, also by several processes.
type Files struct {
	base  string
	swept *sync.Once // done once this process has removed what a crash left
}

var _ attestlog.Home = Files{}

// At returns the files whose names begin with base.
func At(base string) Files { return Files{base, new(sync.Once)} }

// Checkpoint returns the newest kept checkpoint, or attestlog.ErrNotFound.
func (f Files) Checkpoint() ([]byte, error) { return f.read(checkpointSuffix) }

// Key returns the signing key, or attestlog.ErrNotFound.
func (f Files) Key() (string, error) {
	b, err := f.read(keySuffix)
	return strings.TrimSpace(string(b)), err
}

// VerifierKeys returns the public keys, oldest first, or attestlog.ErrNotFound.
func (f Files) VerifierKeys() ([]string, error) {
	b, err := f.read(verifierSuffix)
	if err != nil {
		return nil, err
	}

	keys := strings.Fields(string(b))
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s%s is empty: %w", f.base, verifierSuffix, attestlog.ErrNotFound)
	}
	return keys, nil
}

func (f Files) read(suffix string) ([]byte, error) {
	b, err := os.ReadFile(f.base + suffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s%s: %w", f.base, suffix, attestlog.ErrNotFound)
	}
	return b, err
}

// ReplaceCheckpoint calls update under the lock with the kept checkpoint, nil
// if there is none, and keeps what it returns unless that is nil.
func (f Files) ReplaceCheckpoint(update func(old []byte) ([]byte, error)) error {
	return f.Locked(func() error {
		old, err := f.Checkpoint()
		if err != nil && !errors.Is(err, attestlog.ErrNotFound) {
			return err
		}

		note, err := update(old)
		if err != nil || note == nil {
			return err
		}
		return durable.Replace(f.base+checkpointSuffix, note, publicMode)
	})
}

// CreateKeys keeps a new log's keys. It fails with fs.ErrExist if there is a
// signing key. A verifier key without one was left by a crash of CreateKeys,
// and is replaced.
func (f Files) CreateKeys(signer, verifier string) error {
	return f.Locked(func() error {
		_, err := os.Lstat(f.base + keySuffix)
		if err == nil {
			return fmt.Errorf("%s%s: %w", f.base, keySuffix, fs.ErrExist)
		}

		// The signing key comes last: once it is there, so is its verifier key.
		err = durable.Replace(f.base+verifierSuffix, lines(verifier), publicMode)
		if err != nil {
			return err
		}
		return durable.Replace(f.base+keySuffix, lines(signer), secretMode)
	})
}

// RotateKey replaces the signing key and adds a verifier key to the others.
func (f Files) RotateKey(signer, verifier string) error {
	return f.Locked(func() error {
		verifiers, err := f.VerifierKeys()
		if err != nil {
			return err
		}

		err = durable.Replace(f.base+verifierSuffix, lines(append(verifiers, verifier)...), publicMode)
		if err != nil {
			return err
		}
		return durable.Replace(f.base+keySuffix, lines(signer), secretMode)
	})
}

// CopyPublic keeps verifier keys and a checkpoint under another base name, which
// nobody else uses yet: no lock is taken. Neither file is written if there is
// nothing for it.
func (f Files) CopyPublic(base string, verifiers []string, note []byte) error {
	if len(verifiers) > 0 {
		err := durable.Replace(base+verifierSuffix, lines(verifiers...), publicMode)
		if err != nil {
			return err
		}
	}

	if note == nil {
		return nil
	}
	return durable.Replace(base+checkpointSuffix, note, publicMode)
}

// lines returns keys as a file has them.
func lines(keys ...string) []byte { return []byte(strings.Join(keys, "\n") + "\n") }

// Locked runs fn while it holds BASE.lock. It waits while another process has
// the lock.
func (f Files) Locked(fn func() error) error {
	lock, err := openLock(f.base + lockSuffix)
	if err != nil {
		return err
	}
	defer lock.Close()

	err = filelock.Lock(lock)
	if err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}

	// Nobody else replaces a file now, so temporary files are a crash's.
	f.swept.Do(func() {
		for _, suffix := range []string{keySuffix, verifierSuffix, checkpointSuffix} {
			durable.RemoveTemp(f.base + suffix)
		}
	})
	return fn()
}

// TryLocked runs fn while it holds the lock of the file path. It does not if
// the lock is taken, and then reports false.
func TryLocked(path string, fn func() error) (held bool, err error) {
	lock, err := openLock(path)
	if err != nil {
		return false, err
	}
	defer lock.Close()

	held, err = filelock.TryLock(lock)
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	if !held {
		return false, nil
	}
	return true, fn()
}

// openLock opens a file that is there to be locked. Closing it releases the
// lock. The file stays: if it were removed, a process that has it open and one
// that makes it anew could hold both locks.
func openLock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, secretMode)
}
