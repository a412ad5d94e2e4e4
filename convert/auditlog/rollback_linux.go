package auditlog

import (
	"errors"
	"os"
	"sync"

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
// The lock is one of the open file description: a lock of the process would not
// keep SQLite in this process out.
func lockShared(path string) (f *os.File, held bool, err error) {
	f, err = os.Open(path)
	if err != nil {
		return nil, false, err
	}
	held, err = lockAsReader(f)
	if err != nil {
		release(f)
		return nil, false, err
	}
	return f, held, nil
}

// released are files that stay open: closing one would take the locks of SQLite in
// this process with it. They are as few as the transactions that crashes have left.
var (
	releasedMu sync.Mutex
	released   []*os.File
)

// release gives up the lock of lockShared.
func release(f *os.File) {
	fcntl(f, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK, Start: pendingByte, Len: 2 + sharedSize})

	releasedMu.Lock()
	defer releasedMu.Unlock()
	released = append(released, f)
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
