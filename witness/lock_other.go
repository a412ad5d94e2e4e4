//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package witness

import "os"

// tryLock does nothing here: without flock, one process may use a folder at a
// time.
func tryLock(*os.File) (bool, error) { return true, nil }
