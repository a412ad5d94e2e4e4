// Package home keeps a log's keys and its newest checkpoint in files.
//
// Beside BASE stand BASE.key, the signing key, readable by its owner only;
// BASE.pub, the verifier keys, one a line, oldest first; BASE.checkpoint, the
// newest signed note; and BASE.lock, which is locked while any of them is
// replaced. A file is replaced by writing another, syncing it, renaming it
// over the first, and syncing the folder.
package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/attestlog/attestlog"
)

// Files is an attestlog.Home of files that share a base name. Its methods are
// safe for concurrent use, also by several processes.
type Files struct {
	base string
}

// At returns the files beside base.
func At(base string) Files { return Files{base} }

// Checkpoint returns the newest kept checkpoint, or attestlog.ErrNotFound.
func (f Files) Checkpoint() ([]byte, error) { return f.read(".checkpoint") }

// Key returns the signing key, or attestlog.ErrNotFound.
func (f Files) Key() (string, error) {
	b, err := f.read(".key")
	return strings.TrimSpace(string(b)), err
}

// VerifierKeys returns the public keys, oldest first, or attestlog.ErrNotFound.
func (f Files) VerifierKeys() ([]string, error) {
	b, err := f.read(".pub")
	if err != nil {
		return nil, err
	}
	keys := strings.Fields(string(b))
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s.pub is empty: %w", f.base, attestlog.ErrNotFound)
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

// ReplaceCheckpoint calls update with the kept checkpoint under the lock.
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
		return replace(f.base+".checkpoint", note, 0o644)
	})
}

// CreateKeys keeps a new log's keys. It fails if there is a signing key; a
// verifier key without one is what a crash in CreateKeys left.
func (f Files) CreateKeys(signer, verifier string) error {
	return f.Locked(func() error {
		if _, err := os.Lstat(f.base + ".key"); err == nil {
			return fmt.Errorf("%s.key: %w", f.base, fs.ErrExist)
		}
		if err := replace(f.base+".pub", []byte(verifier+"\n"), 0o644); err != nil {
			return err
		}
		return replace(f.base+".key", []byte(signer+"\n"), 0o600)
	})
}

// RotateKey replaces the signing key and adds a verifier key.
func (f Files) RotateKey(signer, verifier string) error {
	return f.Locked(func() error {
		old, err := f.VerifierKeys()
		if err != nil {
			return err
		}
		keys := strings.Join(append(old, verifier), "\n") + "\n"
		if err := replace(f.base+".pub", []byte(keys), 0o644); err != nil {
			return err
		}
		return replace(f.base+".key", []byte(signer+"\n"), 0o600)
	})
}

// CopyPublic keeps verifier keys and a checkpoint, where there are any, beside
// another base.
func (f Files) CopyPublic(base string, verifiers []string, note []byte) error {
	if len(verifiers) > 0 {
		if err := replace(base+".pub", []byte(strings.Join(verifiers, "\n")+"\n"), 0o644); err != nil {
			return err
		}
	}
	if note == nil {
		return nil
	}
	return replace(base+".checkpoint", note, 0o644)
}

// Locked runs fn while no other process replaces a file or runs one of its own.
func (f Files) Locked(fn func() error) error {
	_, err := locked(f.base+".lock", true, fn)
	return err
}

// TryLocked runs fn while it holds a lock file, unless that is held already.
func TryLocked(path string, fn func() error) (held bool, err error) { return locked(path, false, fn) }

func locked(path string, wait bool, fn func() error) (held bool, err error) {
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, err
	}
	defer lock.Close()
	if held, err = lockFile(lock, wait); err != nil {
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	if !held {
		return false, nil
	}
	return true, fn()
}

// replace durably gives path new content, or leaves what was there.
func replace(path string, content []byte, mode fs.FileMode) error {
	tmp, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
