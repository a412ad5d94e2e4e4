package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

var errMount = errors.New("mounting a file system is not permitted")

// NewSmall is New with the data directory, named data in the cluster's folder,
// on a file system of its own of so many bytes. It skips the test where
// mounting is not permitted.
func NewSmall(t testing.TB, bytes int64, settings ...string) *Cluster {
	t.Helper()
	c, err := start(func(c *Cluster) error {
		_, err := c.mount("data", bytes)
		return err
	}, settings)
	skipWithoutMounts(t, err)
	t.Cleanup(c.Remove)
	return c
}

// Mount mounts a file system of so many bytes in the cluster's folder, for its
// server's use, and returns its path. Remove ends it. Mount skips the test
// where mounting is not permitted.
func (c *Cluster) Mount(t testing.TB, name string, bytes int64) string {
	t.Helper()
	path, err := c.mount(name, bytes)
	skipWithoutMounts(t, err)
	return path
}

func skipWithoutMounts(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, errMount) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) mount(name string, bytes int64) (string, error) {
	path := filepath.Join(c.Dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		return "", err
	}
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", bytes)); err != nil {
		return "", fmt.Errorf("%w: %v", errMount, err)
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
