//go:build unix

package keep

import (
	"os"
	"syscall"
)

// lockFile waits for an exclusive lock, which closing the file releases.
func lockFile(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			return err
		}
	}
}
