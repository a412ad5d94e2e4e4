//go:build unix

package main

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// diskOf returns a function that tells the free and total bytes of the disk
// that holds a file.
func diskOf(path string) func() (free, total uint64, err error) {
	dir := filepath.Dir(path)
	return func() (free, total uint64, err error) {
		var st unix.Statfs_t
		err = unix.Statfs(dir, &st)
		if err != nil {
			return 0, 0, err
		}
		return uint64(st.Bavail) * uint64(st.Bsize), uint64(st.Blocks) * uint64(st.Bsize), nil
	}
}
