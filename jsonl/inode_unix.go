//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package jsonl

import (
	"io/fs"
	"syscall"
)

// inode returns the number that tells a file from others of its name, or 0 if
// it is unknown.
func inode(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Ino)
	}
	return 0
}
