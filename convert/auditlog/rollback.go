package auditlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// copyToRollBack copies a database with its rollback journal, which SQLite applies
// when it opens the copy. It returns the copy's path, or "" if the journal is not
// there any more, or belongs to a program that runs.
func (t *Table) copyToRollBack(path string) (string, error) {
	lock, held, err := lockShared(path)
	if err != nil {
		return "", err
	}
	defer release(lock)
	if !held {
		return "", nil
	}
	journal, err := os.Open(path + "-journal")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer journal.Close()
	if isSpent(journal) {
		return "", nil
	}

	t.copy, err = os.MkdirTemp("", "attestlog-import-")
	if err != nil {
		return "", err
	}
	to := filepath.Join(t.copy, filepath.Base(path))
	err = copyFile(to, lock)
	if err != nil {
		return "", err
	}
	return to, copyFile(to+"-journal", journal)
}

// isSpent reports whether a journal's transaction was committed: its file is
// empty, or begins with a zero, which depends on the journal mode.
func isSpent(journal *os.File) bool {
	var first [1]byte
	n, err := journal.ReadAt(first[:], 0)
	return n == 0 && err == io.EOF || n == 1 && first[0] == 0
}

func copyFile(to string, from *os.File) error {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	err = errors.Join(err, out.Close())
	if err != nil {
		return fmt.Errorf("copy of %s: %w", from.Name(), err)
	}
	return nil
}
