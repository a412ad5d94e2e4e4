//go:build unix

package main

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// diskOf returns how the disk that holds a file is looked at.
func diskOf(path string) func() (free, total uint64, err error) {
	dir := filepath.Dir(path)
	return func() (free, total uint64, err error) {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return 0, 0, err
		}
		return uint64(st.Bavail) * uint64(st.Bsize), uint64(st.Blocks) * uint64(st.Bsize), nil
	}
}
