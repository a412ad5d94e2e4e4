//go:build !unix

package durable

import (
	"io/fs"
	"os"
)

const (
	noFollow = 0
	nonBlock = 0
)

// renameNew gives a file a name that must be free.
func renameNew(from, to string) error {
	// O_EXCL takes the name; the rename then replaces the empty file. A crash
	// between the two leaves an empty file, which no reader takes for a whole one.
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = file.Close()
	if err != nil {
		return err
	}
	return os.Rename(from, to)
}

// SyncDir does nothing here: folders cannot be synced. On Windows, NTFS keeps
// names in its own journal.
func SyncDir(string) error { return nil }

// checkSecret checks nothing here: who may read a file is not in its mode.
func checkSecret(fs.FileInfo) error { return nil }
