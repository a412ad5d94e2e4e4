package jsonl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
)

// ready takes the lock and opens the current file, unless that was done.
func (f *Follower) ready(ctx context.Context) error {
	if f.closed {
		return fmt.Errorf("follower: %w", os.ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.lock != nil && !isAt(f.path+lockSuffix, f.lock) {
		f.cfg.Logger.Warn("jsonl: the lock file was deleted or replaced by somebody else", "file", f.path+lockSuffix)
		f.drop()
		f.unlock()
		f.kept = mark{} // somebody else may have saved a position since
	}
	if f.lock == nil {
		lock, err := acquire(f.path + lockSuffix)
		if err != nil {
			return err
		}
		f.lock = lock
	}
	if f.file != nil {
		return nil
	}
	return f.open()
}

// acquire locks the file name. It returns attestlog.ErrFollowerHeld if another
// process, or another follower of this one, has the lock.
func acquire(name string) (*os.File, error) {
	for {
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(file); err != nil {
			file.Close()
			if errors.Is(err, attestlog.ErrFollowerHeld) {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return nil, &os.PathError{Op: "lock", Path: name, Err: err}
		}
		// A lock on a file that was deleted meanwhile excludes nobody.
		if isAt(name, file) {
			return file, nil
		}
		file.Close()
	}
}

// isAt reports whether name still leads to file.
func isAt(name string, file *os.File) bool {
	there, err := os.Stat(name)
	if err != nil {
		return false
	}
	own, err := file.Stat()
	return err == nil && os.SameFile(there, own)
}

func (f *Follower) unlock() {
	if f.lock != nil {
		f.lock.Close()
		f.lock = nil
	}
}

// drop closes the current file; ready opens it again.
func (f *Follower) drop() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// name returns the current file's path.
func (f *Follower) name() string { return filepath.Join(filepath.Dir(f.path), f.at.File) }

// open finds the follower's place: from the position, and from what the newest
// file holds beyond it.
func (f *Follower) open() error {
	if err := f.load(); err != nil {
		return err
	}
	files, err := Files(f.path)
	if err != nil {
		return err
	}
	newest := ""
	if len(files) > 0 {
		newest = files[len(files)-1]
	}
	if newest == "" || f.newer(f.at.File, strings.TrimSuffix(newest, gzipSuffix)) {
		if f.at.File != "" {
			f.alarm("deleted or moved")
		}
		return f.start(f.at.Next)
	}
	if strings.HasSuffix(newest, gzipSuffix) {
		return f.afterGzip(newest)
	}
	file, err := f.openAppend(newest, 0)
	if err != nil {
		return err
	}
	what, err := f.resume(file)
	if err != nil || what != "" {
		file.Close()
	}
	if err != nil || what == "" {
		return err
	}
	f.alarm(what)
	return f.start(f.at.Next)
}

func (f *Follower) openAppend(name string, flag int) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND|flag, f.perm)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// afterGzip starts a file behind a newest one that somebody compressed.
func (f *Follower) afterGzip(newest string) error {
	r, err := openFile(newest)
	if err != nil {
		return err
	}
	defer r.Close()
	s, err := readEnd(r, 0)
	if err != nil {
		return err
	}
	if f.at.File+gzipSuffix == filepath.Base(newest) {
		f.alarm("compressed")
	}
	return f.start(max(f.at.Next, s.next))
}

// resume carries on in a file that is there, unless it returns what somebody
// else did to it.
func (f *Follower) resume(file *os.File) (what string, err error) {
	from, what, err := f.meanwhile(file)
	if err != nil {
		return "", err
	}
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return "", err
	}
	s, err := readEnd(file, from)
	if err != nil {
		return "", err
	}
	next := max(f.at.Next, s.next)
	if first, ok := f.firstIndex(file.Name()); ok {
		next = max(next, first)
	}
	if what != "" {
		f.at.Next = next
		return what, nil
	}
	since := f.at.Since
	if f.at.File != filepath.Base(file.Name()) {
		since = f.cfg.Clock()
	}
	if f.at.File == "" && s.size > 0 {
		f.cfg.Logger.Warn("jsonl: there is no position; the file itself says where it ends", "file", file.Name(), "next", next)
	}
	if from > 0 {
		s.checkpoint = max(s.checkpoint, f.at.Checkpoint)
	}
	return "", f.adopt(file, s, next, since)
}

// meanwhile returns from where on the file is unknown to the follower, and
// what somebody else did to it since the position was saved, or "".
func (f *Follower) meanwhile(file *os.File) (from int64, what string, err error) {
	if filepath.Base(file.Name()) != f.at.File {
		return 0, "", nil
	}
	info, err := file.Stat()
	if err != nil {
		return 0, "", err
	}
	switch n := inode(info); {
	case n != f.at.Inode && n != 0 && f.at.Inode != 0:
		return 0, "replaced", nil
	case info.Size() < f.at.Offset:
		return 0, "truncated", nil
	case f.at.Offset == 0:
		return 0, "", nil
	}
	var last [1]byte
	if _, err := file.ReadAt(last[:], f.at.Offset-1); err != nil {
		return 0, "", err
	}
	if last[0] != '\n' {
		return 0, "changed", nil
	}
	return f.at.Offset, "", nil
}

// start opens a new file for the entries from next on. Should there be one of
// that name, its content stays.
func (f *Follower) start(next uint64) error {
	name := f.path
	if _, indexed := f.firstIndex(f.at.File); indexed || f.cfg.rotates() {
		name = f.indexed(next)
	}
	file, err := f.openAppend(name, os.O_CREATE)
	if err != nil {
		return err
	}
	err = syncDir(filepath.Dir(name))
	var s state
	if err == nil {
		s, err = readEnd(file, 0)
	}
	if err == nil {
		err = f.adopt(file, s, next, f.cfg.Clock())
	}
	if err != nil {
		file.Close()
	}
	return err
}

// adopt makes file, in that state, the current one. The position is saved before
// anything is written, so that a position never leads to another file than the
// one last written to but by somebody else's doing.
func (f *Follower) adopt(file *os.File, s state, next uint64, since time.Time) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	at := mark{
		File: filepath.Base(file.Name()), Inode: inode(info), Offset: s.whole,
		Next: next, Since: since.UTC(), Checkpoint: s.checkpoint, Note: f.at.Note,
	}
	owed := s.owed(at.Note)
	if owed == nil {
		at.Note = ""
	}
	if err := f.save(at); err != nil {
		return err
	}
	f.file, f.info, f.size, f.perm = file, info, s.size, info.Mode().Perm()
	f.at, f.kept, f.synced = at, at, f.cfg.Clock()
	f.end = ending{open: s.open, torn: s.torn, owed: owed}
	return nil
}

// aged reports whether the next entry belongs in a new file whatever the
// current one's size.
func (f *Follower) aged() bool {
	if !f.cfg.rotates() || !f.end.clean() {
		return false
	}
	if _, indexed := f.firstIndex(f.at.File); !indexed {
		return true
	}
	return f.cfg.MaxAge > 0 && f.size > 0 && !within(f.at.Since, f.cfg.Clock(), f.cfg.MaxAge)
}

// rotate ends the current file and starts the next.
func (f *Follower) rotate() error {
	if err := f.sync(); err != nil {
		return err
	}
	f.drop()
	return f.start(f.at.Next)
}

// within reports whether less than d has passed. A clock that was set back
// has passed it.
func within(from, now time.Time, d time.Duration) bool {
	passed := now.Sub(from)
	return passed >= 0 && passed < d
}
