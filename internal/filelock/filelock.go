// Package filelock keeps processes from writing one file at the same time.
//
// It locks a file that is open already, the one that is going to be written. A
// library that opens the path once more, as gofrs/flock does, may lock another
// file than that if the name was given to a new one in between.
package filelock

import "os"

// Lock takes the exclusive lock of a file, and waits while another process, or
// another opening of the file in this one, has it. Closing the file releases
// the lock, as does the end of the process, so a crash leaves none.
func Lock(f *os.File) error {
	_, err := lock(f, true)
	return err
}

// TryLock is Lock without waiting: it reports whether it has taken the lock.
func TryLock(f *os.File) (bool, error) { return lock(f, false) }
