//go:build !linux

package auditlog

import (
	"errors"
	"os"
)

// errHot is returned for a transaction that must be rolled back, where this
// cannot be done in a copy.
var errHot = errors.New("a program that crashed left a transaction, which SQLite must roll back before anything is read; " +
	"start the program once, or have the sqlite3 program read a table, and try again")

// lockShared is written for Linux only. The locks of other systems belong to the
// process: a program that embeds this package and SQLite would lose its own.
func lockShared(string) (f *os.File, held bool, err error) { return nil, false, errHot }

func release(*os.File) {}
