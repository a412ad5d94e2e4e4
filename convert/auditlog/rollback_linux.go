package auditlog

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// The bytes of a database file that SQLite locks. They are part of its format,
// see https://www.sqlite.org/src/file/src/os.h.
const (
	pendingByte  = 0x40000000
	reservedByte = pendingByte + 1
	sharedFirst  = pendingByte + 2
	sharedSize   = 510
)

// lockShared opens a database file and takes the lock that a reader takes, which
// keeps all others from writing to it, and from rolling back its journal. It
// reports whether it has the lock and no program is within a transaction.
//
// The lock is one of the open file description. A lock of the process would be
// lost, with those of SQLite in this process, when another file descriptor of the
// file is closed, and would not keep SQLite in this process out.
func lockShared(path string) (f *os.File, held bool, err error) {
	f, err = os.Open(path)
	if err != nil {
		return nil, false, err
	}
	held, err = lockAsReader(f)
	if err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	return f, held, nil
}

func lockAsReader(f *os.File) (held bool, err error) {
	// A program that waits to write has the pending byte, and lets no more readers in.
	for _, l := range []unix.Flock_t{
		{Type: unix.F_RDLCK, Start: pendingByte, Len: 1},
		{Type: unix.F_RDLCK, Start: sharedFirst, Len: sharedSize},
		{Type: unix.F_UNLCK, Start: pendingByte, Len: 1},
	} {
		err := fcntl(f, unix.F_OFD_SETLK, &l)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}

	reserved := unix.Flock_t{Type: unix.F_WRLCK, Start: reservedByte, Len: 1}
	err = fcntl(f, unix.F_OFD_GETLK, &reserved)
	return reserved.Type == unix.F_UNLCK, err
}

func fcntl(f *os.File, command int, l *unix.Flock_t) error {
	for {
		err := unix.FcntlFlock(f.Fd(), command, l)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
