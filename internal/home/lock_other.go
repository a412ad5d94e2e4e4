//go:build !unix

package home

import "os"

// lockFile does nothing here: on systems without flock, only one process may
// write a log at a time.
func lockFile(*os.File, bool) (taken bool, err error) { return true, nil }
