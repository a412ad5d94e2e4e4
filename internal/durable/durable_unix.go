//go:build unix

package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

const (
	noFollow = syscall.O_NOFOLLOW
	nonBlock = syscall.O_NONBLOCK // opening a named pipe must not wait
)

// renameNew gives a file a name that must be free.
func renameNew(from, to string) error {
	// A rename would replace what is there; a link never does. Some file systems,
	// such as exFAT, have no links (link(2): EPERM).
	err := os.Link(from, to)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, errors.ErrUnsupported) {
		return renameReserved(from, to)
	}
	if err != nil {
		return err
	}
	return os.Remove(from)
}

// SyncDir makes the names in a folder durable.
func SyncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func checkSecret(info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("its mode is %#o, so others can read or write it; chmod 600 it", mode)
	}

	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d, not to the user of this process (%d)", stat.Uid, os.Geteuid())
	}

	return nil
}
