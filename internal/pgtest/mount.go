package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrMount is returned where a test may not mount file systems.
var ErrMount = errors.New("mounting a file system is not permitted")

// StartSmall is Start with the data directory, named data in the cluster's
// folder, on a file system of so many bytes of its own.
func StartSmall(bytes int64, settings ...string) (*Cluster, error) {
	return start(func(c *Cluster) error {
		_, err := c.Mount("data", bytes)
		return err
	}, settings)
}

// Mount mounts a file system of so many bytes in the cluster's folder, for its
// server's use, and returns its path. Remove ends it.
func (c *Cluster) Mount(name string, bytes int64) (string, error) {
	path := filepath.Join(c.Dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		return "", err
	}
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", bytes)); err != nil {
		return "", fmt.Errorf("%w: %v", ErrMount, err)
	}
	c.mounts = append(c.mounts, path)
	if c.cred == nil {
		return path, nil
	}
	return path, os.Chown(path, int(c.cred.Uid), int(c.cred.Gid))
}

func (c *Cluster) unmount() {
	for _, path := range c.mounts {
		syscall.Unmount(path, syscall.MNT_DETACH)
	}
	c.mounts = nil
}
