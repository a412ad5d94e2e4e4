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
	"github.com/attestlog/attestlog/internal/durable"
)

// Backup writes a consistent copy of the database to a new file, while the log
// is in use. Next to it go the verifier keys and a checkpoint that the copy
// contains, so that it can be verified by itself. The signing key and the search
// index are not copied.
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

	// The checkpoint comes first, so that the copy contains all that it is
	// about.
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

// copyTo copies the pages of the database to an empty file.
func (s *Store) copyTo(ctx context.Context, path string) error {
	dst, err := sqlite.OpenConn(fileURI(path, ""), sqlite.OpenReadWrite|sqlite.OpenURI)
	if err != nil {
		return err
	}
	err = s.read(ctx, func(conn *sqlite.Conn) error { return copyPages(ctx, dst, conn) })
	err = errors.Join(err, dst.Close())
	if err != nil {
		return err
	}
	err = syncFile(path)
	if err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path)) // so that the file's name is durable as well
}

// copyPages copies within one read transaction: without it, a writer would make
// the copy begin again.
func copyPages(ctx context.Context, dst, src *sqlite.Conn) (err error) {
	const pagesPerStep = 4096

	end := sqlitex.Transaction(src)
	defer end(&err)
	_, err = readTree(src) // begins the snapshot
	if err != nil {
		return err
	}

	b, err := sqlite.NewBackup(dst, "main", src, "main")
	if err != nil {
		return err
	}
	more := true
	for more && err == nil {
		err = ctx.Err()
		if err == nil {
			more, err = b.Step(pagesPerStep)
		}
	}
	return errors.Join(err, b.Close())
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
