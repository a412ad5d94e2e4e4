package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
)

// Backup writes a consistent copy of the database to a new file, while the log
// is in use, together with the public keys and a checkpoint that the copy
// contains, so that it can be verified by itself. The signing key is not
// copied.
func (s *Store) Backup(ctx context.Context, path string) error {
	if err := s.backup(ctx, path); err != nil {
		return fmt.Errorf("sqlite: backup to %q: %w", path, err)
	}
	return nil
}

func (s *Store) backup(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	// The checkpoint first: the copy is then of the same history or ahead.
	note, err := s.home.Checkpoint()
	if err != nil && !errors.Is(err, attestlog.ErrNotFound) {
		return err
	}
	keys, err := s.home.VerifierKeys()
	if err != nil && !errors.Is(err, attestlog.ErrNotFound) {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := s.copyTo(ctx, path); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return s.home.CopyPublic(path, keys, note)
}

// copyTo copies the pages within one read transaction, so that writers do not
// make the copy begin again.
func (s *Store) copyTo(ctx context.Context, path string) error {
	dst, err := sqlite.OpenConn(fileURI(path, ""), sqlite.OpenReadWrite|sqlite.OpenURI)
	if err != nil {
		return err
	}
	err = s.read(ctx, func(conn *sqlite.Conn) (err error) {
		end := sqlitex.Transaction(conn)
		defer end(&err)
		if _, err := readTree(conn); err != nil { // begins the snapshot
			return err
		}
		b, err := sqlite.NewBackup(dst, "main", conn, "main")
		if err != nil {
			return err
		}
		const pages = 4096
		for more := true; err == nil && more; {
			if err = ctx.Err(); err == nil {
				more, err = b.Step(pages)
			}
		}
		return errors.Join(err, b.Close())
	})
	if err = errors.Join(err, dst.Close()); err != nil {
		return err
	}
	return syncFile(path)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
