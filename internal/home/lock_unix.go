//go:build unix

package home

import (
	"os"
	"syscall"
)

// lockFile takes an exclusive lock, which closing the file releases. It waits
// for others, or reports that there are.
func lockFile(f *os.File, wait bool) (taken bool, err error) {
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for {
		switch err := syscall.Flock(int(f.Fd()), how); err {
		case syscall.EINTR:
		case syscall.EWOULDBLOCK:
			return false, nil
		default:
			return err == nil, err
		}
	}
}
