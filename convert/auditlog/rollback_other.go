//go:build !linux

package auditlog

import "os"

// lockShared is written for Linux only. The locks of other systems belong to the
// process: a program that embeds this package and SQLite would lose its own.
func lockShared(string) (f *os.File, held bool, err error) { return nil, false, errHot }
