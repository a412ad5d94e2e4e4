//go:build !unix

package durable

import "io/fs"

const (
	noFollow = 0
	nonBlock = 0
)

// renameNew gives a file a name that must be free.
func renameNew(from, to string) error { return renameReserved(from, to) }

// SyncDir does nothing here: folders cannot be synced. On Windows, NTFS keeps
// names in its own journal.
func SyncDir(string) error { return nil }

// checkSecret checks nothing here: who may read a file is not in its mode.
func checkSecret(fs.FileInfo) error { return nil }
